"""Columns of checked rows as pages; rows that do not fit are counted and left out."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from clinical_ai.errors import NeedsOperator
from clinical_ai.ports_clinical import POSITION, Kind, Page
from clinical_ai.steps.tally import Aside, Tally
from clinical_ai.steps.typed_columns import typed

# A page is full with so many rows or bytes, whichever comes first.
PAGE_ROWS: Final = 20_000
PAGE_BYTES: Final = 16 << 20

# What may stand in an existing table, and how it is written to.
_EXISTING: Final = {
    "text": Kind.TEXT,
    "character varying": Kind.TEXT,
    "bigint": Kind.BIGINT,
    "double precision": Kind.DOUBLE,
    "boolean": Kind.BOOLEAN,
    "date": Kind.DATE,
    "jsonb": Kind.JSON,
    "json": Kind.JSON,
}


@dataclass(frozen=True)
class Column:
    """A column of one page; unless `checked`, its values are texts still to be read as `kind`."""

    values: Any
    kind: Kind
    checked: bool = False


def fitted(table: str, name: str, column: Column, sql_types: Mapping[str, str]) -> Column:
    """The column as the existing table wants it; texts may still have to be read as its type.

    Raises NeedsOperator when the table's column cannot take such values at all.
    """
    sql_type = sql_types.get(name)
    if sql_type is None:
        return column
    kind = _EXISTING.get(sql_type)
    if kind is column.kind:
        return column
    if kind is not None and column.kind is Kind.TEXT:
        return Column(column.values, kind)
    raise NeedsOperator(
        f"column {name} of the existing table {table} is {sql_type}, the source has {column.kind}",
        f"change it with `alter table ... alter column {name} type ...`, or choose another table",
    )


def make_page(
    table: str, key: tuple[str, ...], columns: Mapping[str, Column], size: int, tally: Tally
) -> Page | None:
    """The page of those rows that fit and have a key; None when no row is left."""
    import pyarrow as pa

    rows = pa.table({name: column.values for name, column in columns.items()})
    kinds = {name: column.kind for name, column in columns.items()}
    rows = _typed_rows(table, rows, columns, tally)
    rows = _with_key(table, rows, key, tally)
    for name, kind in kinds.items():
        nulls = rows.column(name).null_count
        tally.column(table, name, kind, rows=len(rows), nulls=nulls)
    if not len(rows):
        return None
    places = pa.array(range(tally.position, tally.position + len(rows)), pa.int64())
    tally.position += len(rows)
    rows = rows.append_column(POSITION, places)
    return Page(table, key, {**kinds, POSITION: Kind.BIGINT}, rows, size)


def _typed_rows(table: str, rows: Any, columns: Mapping[str, Column], tally: Tally) -> Any:
    """Texts become values; a row is counted for the first column that does not fit."""
    import pyarrow as pa
    import pyarrow.compute as pc

    keep = pa.chunked_array([[True] * len(rows)])
    for at, (name, column) in enumerate(columns.items()):
        if column.checked or column.kind is Kind.TEXT:
            continue
        values, wrong = typed(column.values, column.kind)
        rows = rows.set_column(at, name, values)
        if pc.any(wrong).as_py():
            fresh = pc.sum(pc.and_(wrong, keep)).as_py()
            tally.set_aside(table, Aside.WRONG_TYPE, column=name, rows=fresh)
            keep = pc.and_(keep, pc.invert(wrong))
    return rows.filter(keep) if not pc.all(keep).as_py() else rows


def _with_key(table: str, rows: Any, key: tuple[str, ...], tally: Tally) -> Any:
    import pyarrow.compute as pc

    for name in key:
        present = pc.is_valid(rows.column(name))
        tally.set_aside(table, Aside.NO_KEY, rows=len(rows) - pc.sum(present).as_py())
        rows = rows.filter(present)
    return rows
