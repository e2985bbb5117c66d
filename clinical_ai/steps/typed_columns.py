"""Texts as typed columns, without changing what they say: a value that does not fit is marked."""

from collections.abc import Iterable, Sequence
from decimal import Decimal, InvalidOperation
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from clinical_ai.ports_clinical import Kind
from clinical_ai.steps.json_text import is_json

if TYPE_CHECKING:
    import pyarrow as pa

# As JSON writes numbers. A leading zero or plus is a label's (an MRN's, a phone number's), not a
# number's; 18 digits always fit 64 bits, and a double keeps any 15 digits.
_WHOLE: Final = r"^(0|-?[1-9][0-9]{0,17})$"
_NUMBER: Final = r"^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$"
_SHORT: Final = r"^-?([0-9]\.?){1,15}$"
_TRUTH: Final = r"^(true|false)$"
_DAY: Final = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"
# What a column of texts is guessed to be, in this order; else it stays text.
GUESSES: Final = (Kind.BOOLEAN, Kind.BIGINT, Kind.DOUBLE, Kind.DATE)


@cache
def arrow_type(kind: Kind) -> "pa.DataType":
    """How a page holds such a column."""
    import pyarrow as pa

    match kind:
        case Kind.TEXT | Kind.JSON:
            return pa.large_string()
        case Kind.BIGINT:
            return pa.int64()
        case Kind.DOUBLE:
            return pa.float64()
        case Kind.BOOLEAN:
            return pa.bool_()
        case Kind.DATE:
            return pa.date32()


def texts(cells: Sequence[str], nulls: frozenset[str] = frozenset()) -> Any:
    """A column of texts; those that stand for a missing value become null."""
    import pyarrow as pa
    import pyarrow.compute as pc

    column = pa.array(cells, pa.large_string())
    if not nulls:
        return column
    missing = pc.is_in(column, value_set=pa.array(sorted(nulls), pa.large_string()))
    return pc.if_else(missing, None, column)


def typed(column: Any, kind: Kind) -> tuple[Any, Any]:
    """The texts as values of the kind, and a mask of those that do not fit (null in the first)."""
    import pyarrow.compute as pc

    if kind is Kind.TEXT:
        return column, pc.and_(pc.is_null(column), pc.is_valid(column))
    fits = _fitting(column, kind)
    good = pc.if_else(fits, column, None)
    values = _days(good) if kind is Kind.DATE else pc.cast(good, arrow_type(kind))
    return values, pc.and_(pc.is_valid(column), pc.is_null(values))


def guess(columns: Iterable[Any]) -> Kind:
    """The narrowest kind that every text of all these pieces of one column fits."""
    left = list(GUESSES)
    seen = False
    for column in columns:
        seen = seen or column.null_count < len(column)
        left = narrowed(left, column)
    return left[0] if left and seen else Kind.TEXT


def narrowed(left: Iterable[Kind], column: Any) -> list[Kind]:
    """Those of the kinds that every text of the column fits."""
    import pyarrow.compute as pc

    return [kind for kind in left if not pc.any(typed(column, kind)[1]).as_py()]


def _fitting(column: Any, kind: Kind) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    match kind:
        case Kind.BIGINT:
            return pc.match_substring_regex(column, _WHOLE)
        case Kind.BOOLEAN:
            return pc.match_substring_regex(column, _TRUTH)
        case Kind.DATE:
            return pc.match_substring_regex(column, _DAY)
        case Kind.JSON:
            return pa.array([text is not None and is_json(text) for text in column.to_pylist()])
        case _:
            return _numbers(column)


def _numbers(column: Any) -> Any:
    """Which texts are numbers that a double holds exactly as they are written."""
    import pyarrow as pa
    import pyarrow.compute as pc

    number = pc.match_substring_regex(column, _NUMBER)
    long = pc.and_(number, pc.invert(pc.match_substring_regex(column, _SHORT)))
    if not pc.any(long).as_py():
        return number
    exact = [
        bool(ok) and (not look or _exact(text))
        for ok, look, text in zip(
            number.to_pylist(), long.to_pylist(), column.to_pylist(), strict=True
        )
    ]
    return pa.array(exact, pa.bool_())


def _exact(text: str) -> bool:
    try:
        return Decimal(repr(float(text))) == Decimal(text)
    except (InvalidOperation, OverflowError):
        return False


def _days(column: Any) -> Any:
    """Dates of the calendar; the 31st of February becomes null."""
    import pyarrow as pa
    import pyarrow.compute as pc

    moments = pc.strptime(column, format="%Y-%m-%d", unit="s", error_is_null=True)
    days = pc.cast(moments, pa.date32())
    # strptime rolls some impossible days over instead of refusing them.
    same = pc.equal(pc.strftime(moments, format="%Y-%m-%d"), pc.cast(column, pa.string()))
    return pc.if_else(same, days, None)
