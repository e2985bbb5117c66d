"""One connector run: what is new in a source goes to a destination, and what it took is told."""

import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from clinical_ai.errors import NeedsOperator, PlatformError, Transient
from clinical_ai.ports import Database
from clinical_ai.ports_clinical import Loaded, Loader, RecordSource
from clinical_ai.steps.tally import Tally
from clinical_ai.whereabouts import whereabouts

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TableOutcome:
    """What became of the rows of one table: read = loaded + duplicates + set aside."""

    table: str
    read: int
    loaded: int
    duplicates: int
    set_aside: dict[str, int] = field(default_factory=dict)
    nul_bytes: int = 0


@dataclass(frozen=True)
class ColumnOutcome:
    """How full a column came in this run."""

    table: str
    column: str
    kind: str
    rows: int
    nulls: int


@dataclass(frozen=True)
class Outcome:
    """What a run did, without a single clinical value."""

    source: str
    destination: str
    seconds: float
    tables: list[TableOutcome]
    columns: list[ColumnOutcome]
    parts: dict[str, int]
    bytes_read: int
    load_ids: list[str]
    schema_changes: list[str]

    @property
    def set_aside(self) -> int:
        """Rows of all tables that were not loaded."""
        return sum(sum(table.set_aside.values()) for table in self.tables)

    def summary(self) -> dict[str, Any]:
        """What the run returns and its event tells."""
        return {
            "source": self.source,
            "destination": self.destination,
            "tables": len([table for table in self.tables if table.loaded]),
            "rows_read": sum(table.read for table in self.tables),
            "rows_loaded": sum(table.loaded for table in self.tables),
            "rows_set_aside": self.set_aside,
            "duplicates": sum(table.duplicates for table in self.tables),
            "seconds": self.seconds,
        }


@contextmanager
def only_run(database: Database, source: str, destination: str) -> Iterator[None]:
    """Nobody else runs this pair meanwhile. Raises Transient at once when somebody does."""
    with database.lock(f"connector:{source}:{destination}") as held:
        if not held:
            raise Transient(f"another run from {source} to {destination} is still going on")
        yield


def move(pair: tuple[str, str], source: RecordSource, tally: Tally, loader: Loader) -> Outcome:
    """Load what is new; safe to run again, also after a run that died anywhere.

    `pair`: names of source and destination. `tally` is the one that `source` counts in.
    """
    began = monotonic()
    loaded = _sealed(source, loader)
    seconds = round(monotonic() - began, 3)
    outcome = _outcome(pair, seconds, tally, loaded)
    log.info("%s to %s: %s", *pair, outcome.summary())
    return outcome


def _sealed(source: RecordSource, loader: Loader) -> Loaded:
    """The load, of which no foreign error comes out: their texts may hold rows."""
    try:
        return loader.load(source.pages(loader.known()))
    except PlatformError as ours:
        found: PlatformError = ours
    except MemoryError:
        found = NeedsOperator("memory ran out", "lower limit-bytes in the options of the source")
    except Exception as foreign:  # noqa: BLE001  (whatever it is, its text may hold rows)
        found = NeedsOperator(
            f"the run met a fault of its own: {whereabouts(foreign)}", "report it to the project"
        )
    raise found


def _outcome(pair: tuple[str, str], seconds: float, tally: Tally, loaded: Loaded) -> Outcome:
    tables = [_table(name, tally, loaded) for name in tally.tables()]
    columns = [
        ColumnOutcome(table, name, str(count.kind), count.rows, count.nulls)
        for table, by_name in sorted(tally.columns.items())
        for name, count in by_name.items()
    ]
    return Outcome(
        source=pair[0],
        destination=pair[1],
        seconds=seconds,
        tables=tables,
        columns=columns,
        parts={what: count for what, count in tally.parts.items() if count},
        bytes_read=tally.size,
        load_ids=list(loaded.load_ids),
        schema_changes=list(loaded.schema_changes),
    )


def _table(name: str, tally: Tally, loaded: Loaded) -> TableOutcome:
    aside = Counter(
        {reason: rows for (table, reason), rows in tally.aside.items() if table == name}
    )
    return TableOutcome(
        table=name,
        read=tally.read[name],
        loaded=loaded.rows.get(name, 0),
        duplicates=loaded.duplicates.get(name, 0),
        set_aside=dict(sorted(aside.items())),
        nul_bytes=tally.nul_bytes[name],
    )
