"""The guide's two tables: made when missing, never altered when there, read row by row."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from clinical_ai import names
from clinical_ai.change import Change, Did
from clinical_ai.errors import ManyFaults, NeedsOperator, nearest
from clinical_ai.ports import Database
from clinical_ai.settings import Development, Production
from clinical_ai.steps import row_options

TABLES: Final = {"source": names.SOURCES_TABLE, "destination": names.DESTINATIONS_TABLE}
KINDS: Final = {"source": ("files", "fhir-search"), "destination": ("postgresql",)}
# In the guide's list, and coming with a later release.
_LATER: Final = {"source": ("fhir-bulk", "sql", "hl7v2"), "destination": ("delta",)}

_CREATE: Final = """create table if not exists {table} (
    id          bigint generated always as identity primary key,
    name        text not null unique,
    kind        text not null,
    bucket_name text,
    location    text,
    connection  text,
    options     jsonb not null default '{{}}',
    enabled     boolean not null default true,
    updated_at  timestamptz not null default now())"""
_REQUIRED: Final = {
    "name": "text",
    "kind": "text",
    "bucket_name": "text",
    "location": "text",
    "connection": "text",
    "options": "jsonb not null default '{}'",
    "enabled": "boolean not null default true",
}


@dataclass(frozen=True)
class Row:
    """One row of either table, as its operator wrote it."""

    name: str
    kind: str
    bucket_name: str | None
    location: str | None
    connection: str | None
    options: Mapping[str, Any]
    enabled: bool = True


def ensure_catalog(database: Database, settings: Development | Production) -> list[Change]:
    """Both tables exist with all that is read from them.

    Raises ManyFaults with every column that an existing table lacks.
    """
    changes, faults = [], []
    for what, table in TABLES.items():
        there = _columns(database, table)
        if not there:
            database.execute(_CREATE.format(table=table))
        changes.append(Change(f"table {table}", Did.UNCHANGED if there else Did.CREATED))
        if there:
            faults += _missing(what, there, settings)
    if faults:
        raise ManyFaults(faults)
    return changes


def find_row(
    database: Database, settings: Development | Production, what: str, name: str
) -> Row | None:
    """The row of that name; `what` is source or destination. None only when there is no such row.

    Raises ManyFaults when the table lacks columns, NeedsOperator when it is not there.
    """
    _check(database, settings, what)
    theirs = _theirs(what, settings)
    listed = ", ".join(f'"{theirs[ours]}" as "{ours}"' for ours in _REQUIRED)
    found = database.query(
        f'select {listed} from {TABLES[what]} where "{theirs["name"]}" = %s', [name]
    )
    return _row(found[0]) if found else None


def get_row(database: Database, settings: Development | Production, what: str, name: str) -> Row:
    """The row of that name, fit to be used by this release. Raises NeedsOperator."""
    row = find_row(database, settings, what, name)
    if row is None:
        known = row_names(database, settings, what)
        offer = nearest(name, known)
        listed = f"; known are: {', '.join(known)}" if known and "known are" not in offer else ""
        raise NeedsOperator(
            f"no {what} is named {name!r:.80}", f"{offer}{listed} (table {TABLES[what]})"
        )
    _check_usable(row, what)
    return row


def row_names(database: Database, settings: Development | Production, what: str) -> list[str]:
    """Names of all rows, sorted."""
    column = _theirs(what, settings)["name"]
    found = database.query(f'select "{column}" as name from {TABLES[what]} order by 1')
    return [str(each["name"]) for each in found]


def options_of(row: Row, what: str) -> row_options.Options:
    """The row's options, parsed. Raises ManyFaults."""
    return row_options.parse(row.kind, row.options, f"{what} {row.name}")


def _check_usable(row: Row, what: str) -> None:
    if not row.enabled:
        raise NeedsOperator(
            f"{what} {row.name} is switched off",
            f"set enabled to true in {TABLES[what]} if it is to be used",
        )
    if row.kind in _LATER[what]:
        raise NeedsOperator(
            f"{what} {row.name} is of kind {row.kind}, which comes with a later release",
            f"use one of: {', '.join(KINDS[what])}",
        )
    if row.kind not in KINDS[what]:
        raise NeedsOperator(
            f"{what} {row.name} is of an unknown kind, {row.kind!r:.40}",
            nearest(row.kind, (*KINDS[what], *_LATER[what])),
        )


def _check(database: Database, settings: Development | Production, what: str) -> None:
    there = _columns(database, TABLES[what])
    if not there:
        raise NeedsOperator(
            f"table {TABLES[what]} is not there",
            f"run `make up`, in a cluster {names.DEPLOY_SELF}, which makes it",
        )
    if faults := _missing(what, there, settings):
        raise ManyFaults(faults)


def _missing(
    what: str, there: Mapping[str, str], settings: Development | Production
) -> list[NeedsOperator]:
    """A fault for each required column that is not there, and for each mapping of none of ours."""
    mapping = f"{what}s-columns"
    strange = _mapping(what, settings).keys() - _REQUIRED.keys()
    faults = [
        NeedsOperator(f"{mapping} maps {ours!r}, which is not a column", nearest(ours, _REQUIRED))
        for ours in sorted(strange)
    ]
    for ours, theirs in _theirs(what, settings).items():
        if theirs not in there:
            offer = nearest(theirs, there)
            faults.append(
                NeedsOperator(
                    f"table {TABLES[what]} has no column {theirs!r}",
                    f"{offer if 'did you mean' in offer else 'if it has another name,'} say so in"
                    f' setting {mapping}, as in {ours} = "..."; or run `alter table'
                    f' {TABLES[what]} add column "{theirs}" {_REQUIRED[ours]}`',
                )
            )
    return faults


def _columns(database: Database, table: str) -> dict[str, str]:
    """Columns of the table that this name means on the role's search path, with their types."""
    found = database.query(
        "select attname, format_type(atttypid, atttypmod) as type from pg_attribute"
        " where attrelid = to_regclass(%s) and attnum > 0 and not attisdropped",
        [table],
    )
    return {str(each["attname"]): str(each["type"]) for each in found}


def _mapping(what: str, settings: Development | Production) -> Mapping[str, str]:
    return settings.sources_columns if what == "source" else settings.destinations_columns


def _theirs(what: str, settings: Development | Production) -> dict[str, str]:
    """Our name of each column to theirs."""
    mapping = _mapping(what, settings)
    theirs = {ours: mapping.get(ours, ours) for ours in _REQUIRED}
    if any('"' in name or "%" in name for name in theirs.values()):
        raise NeedsOperator(
            f"{what}s-columns holds a quote or a percent sign", "give the table plain column names"
        )
    return theirs


def _row(found: Mapping[str, Any]) -> Row:
    options = found["options"]
    if isinstance(options, str):  # a text column of a table that was there before
        options = _decoded(options, str(found["name"]))
    if options is not None and not isinstance(options, dict):
        raise NeedsOperator(f"options of {found['name']} are not an object", 'write {"key": ...}')
    return Row(
        name=str(found["name"]),
        kind=str(found["kind"]),
        bucket_name=found["bucket_name"],
        location=found["location"],
        connection=found["connection"],
        options=options or {},
        enabled=found["enabled"] is not False,
    )


def _decoded(text: str, name: str) -> Any:
    try:
        return json.loads(text or "{}")
    except ValueError:
        raise NeedsOperator(f"options of {name} are not JSON", "correct them") from None
