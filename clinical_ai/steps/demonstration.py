"""Demonstration rows and data: there on a fresh platform, never put over what an operator has."""

import json
from pathlib import Path
from typing import Any, Final

from clinical_ai import names
from clinical_ai.change import Change, Did
from clinical_ai.errors import NeedsOperator
from clinical_ai.ports import Database, ObjectStore
from clinical_ai.settings import Development, Production
from clinical_ai.steps.catalog import TABLES, Row, find_row

SOURCES: Final = (
    Row("demonstration-fhir", "files", names.DEMONSTRATION_BUCKET, "fhir-r4/", None, {}),
    Row(
        "demonstration-trial",
        "files",
        names.DEMONSTRATION_BUCKET,
        "trial/",
        None,
        {"format": "csv", "table": "trial", "key": "enrolment_id", "nulls": ["NA"]},
    ),
)
DESTINATION: Final = Row("demonstration", "postgresql", None, "demonstration", None, {})
_SUFFIXES: Final = (".ndjson", ".csv", ".gz")


def ensure_demonstration(
    database: Database, storage: ObjectStore, settings: Development | Production, folder: Path
) -> list[Change]:
    """The demonstration's rows and objects exist; rows and equal objects that exist are kept.

    `folder` holds a folder for each location of `SOURCES`.
    """
    changes = [storage.ensure_bucket(names.DEMONSTRATION_BUCKET)]
    changes += [_ensure_objects(storage, folder, str(source.location)) for source in SOURCES]
    rows = [("source", row) for row in SOURCES] + [("destination", DESTINATION)]
    return changes + [_ensure_row(database, settings, what, row) for what, row in rows]


def _ensure_objects(storage: ObjectStore, folder: Path, location: str) -> Change:
    """One change for all objects of a location."""
    there = {each.name: each.size for each in storage.list(names.DEMONSTRATION_BUCKET, location)}
    files = sorted(each for each in (folder / location).glob("*") if each.suffix in _SUFFIXES)
    if not files:
        raise NeedsOperator(
            f"{folder / location} holds no demonstration data", "get the whole release again"
        )
    new = [each for each in files if there.get(location + each.name) != each.stat().st_size]
    for each in new:
        storage.put(names.DEMONSTRATION_BUCKET, location + each.name, each.read_bytes())
    did = Did.UNCHANGED if not new else Did.UPDATED if there else Did.CREATED
    what = f"objects {names.DEMONSTRATION_BUCKET}/{location}"
    return Change(what, did, f"{len(new)} of {len(files)} written" if new else "")


def _ensure_row(
    database: Database, settings: Development | Production, what: str, row: Row
) -> Change:
    label = f"{what} {row.name}"
    if find_row(database, settings, what, row.name) is not None:
        return Change(label, Did.UNCHANGED)
    mapping = settings.sources_columns if what == "source" else settings.destinations_columns
    cells: dict[str, Any] = {
        "name": row.name,
        "kind": row.kind,
        "bucket_name": row.bucket_name,
        "location": row.location,
        "connection": row.connection,
        "options": json.dumps(row.options),
        "enabled": row.enabled,
    }
    listed = ", ".join(f'"{mapping.get(ours, ours)}"' for ours in cells)
    marks = ", ".join(["%s"] * len(cells))
    database.execute(
        f"insert into {TABLES[what]} ({listed}) values ({marks}) on conflict do nothing",
        list(cells.values()),
    )
    return Change(label, Did.CREATED)
