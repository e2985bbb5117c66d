"""Tables of the destination: what is there, and statements that make what is missing.

They are made here and not by dlt, so that the merge key is a primary key from the first row on and
JSON is jsonb (dlt's way through ADBC makes json, which can be neither compared nor indexed).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from clinical_ai.ports import Database
from clinical_ai.ports_clinical import Kind, Page


@dataclass
class Shape:
    """A table as the pages of a run want it."""

    key: tuple[str, ...]
    columns: dict[str, Kind] = field(default_factory=dict)

    def widen(self, page: Page) -> None:
        """Take up the columns of one more page."""
        self.columns |= page.columns


def existing(database: Database, schema: str) -> dict[str, dict[str, str]]:
    """SQL types of the schema's columns by table; empty when there is no such schema."""
    found = database.query(
        "select relname, attname, format_type(atttypid, atttypmod) as type"
        " from pg_class c join pg_namespace n on n.oid = c.relnamespace"
        " join pg_attribute a on a.attrelid = c.oid"
        " where nspname = %s and relkind in ('r', 'p') and attnum > 0 and not attisdropped",
        [schema],
    )
    tables: dict[str, dict[str, str]] = {}
    for each in found:
        tables.setdefault(str(each["relname"]), {})[str(each["attname"])] = str(each["type"])
    return tables


def missing(
    schema: str, shapes: Mapping[str, Shape], there: Mapping[str, Mapping[str, str]]
) -> tuple[list[str], list[str]]:
    """Statements that make what is missing, and a line for people about each."""
    statements, told = [f'create schema if not exists "{schema}"'], []
    for table, shape in sorted(shapes.items()):
        if table not in there:
            statements.append(_create(schema, table, shape))
            told.append(f"table {table} made")
            continue
        new = [name for name in [*shape.columns, "_dlt_load_id"] if name not in there[table]]
        for name in new:
            kind = shape.columns.get(name, Kind.TEXT)
            statements.append(f'alter table "{schema}"."{table}" add column "{name}" {kind}')
            told.append(f"column {table}.{name} added ({kind})")
    return statements, told


def _create(schema: str, table: str, shape: Shape) -> str:
    names = [*shape.key, *(name for name in shape.columns if name not in shape.key)]
    columns = [f'"{name}" {shape.columns[name]}' for name in names]
    key = ", ".join(f'"{name}"' for name in shape.key)
    listed = ", ".join([*columns, '"_dlt_load_id" text', f"primary key ({key})"])
    return f'create table "{schema}"."{table}" ({listed})'
