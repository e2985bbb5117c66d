"""Texts as typed columns: a value says the same afterwards, or is marked."""

from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as some

from clinical_ai.ports_clinical import Kind
from clinical_ai.steps.typed_columns import guess, texts, typed

_cells = some.one_of(
    some.text(max_size=12),
    some.integers().map(str),
    some.floats().map(repr),
    some.decimals(allow_nan=False, allow_infinity=False).map(str),
    some.dates().map(str),
    some.sampled_from(["007", "+1", "-0", "1e3", "1.50", "true", "True", "2023-02-30", " 1", "NA"]),
)


@given(some.lists(_cells, min_size=1), some.sampled_from(list(Kind)))
def test_a_value_says_the_same_or_is_marked(cells: list[str], kind: Kind) -> None:
    values, wrong = typed(texts(cells), kind)
    for cell, value, bad in zip(cells, values.to_pylist(), wrong.to_pylist(), strict=True):
        assert bad == (value is None)
        if value is not None:
            assert _says(value, kind) == (Decimal(cell) if kind is Kind.DOUBLE else cell)


def _says(value: object, kind: Kind) -> object:
    match kind:
        case Kind.DOUBLE:
            return Decimal(repr(value))
        case Kind.BOOLEAN:
            return str(value).lower()
        case _:
            return str(value)


@given(some.lists(some.lists(_cells, max_size=5), max_size=4))
def test_a_guess_fits_every_value(pieces: list[list[str]]) -> None:
    columns = [texts(cells, frozenset({"", "NA"})) for cells in pieces]
    kind = guess(columns)
    assert not any(bad for column in columns for bad in typed(column, kind)[1].to_pylist())


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        (["1", "-2", ""], Kind.BIGINT),
        (["1", "2.5"], Kind.DOUBLE),
        (["0.30000000000000004"], Kind.DOUBLE),
        (["true", "false"], Kind.BOOLEAN),
        (["2024-02-29", "0001-01-01"], Kind.DATE),
        (["2024-02-29", "2024-02-30"], Kind.TEXT),
        (["0012"], Kind.TEXT),
        (["12345678901234567890123"], Kind.TEXT),
        (["", ""], Kind.TEXT),
        ([], Kind.TEXT),
    ],
)
def test_guesses(cells: list[str], kind: Kind) -> None:
    assert guess([texts(cells, frozenset({""}))]) is kind


def test_missing_values_are_null_and_never_wrong() -> None:
    values, wrong = typed(texts(["NA", "", "3"], frozenset({"NA", ""})), Kind.BIGINT)
    assert values.to_pylist() == [None, None, 3]
    assert wrong.to_pylist() == [False, False, False]


def test_a_day_is_a_day() -> None:
    values, _ = typed(texts(["2024-02-29"]), Kind.DATE)
    assert values.to_pylist() == [date(2024, 2, 29)]
