"""What a connector run needs, on a real PostgreSQL and a storage of the test's own."""

import gzip
from dataclasses import dataclass, field
from typing import Any

import pytest
from pydantic import SecretStr

from clinical_ai import names
from clinical_ai.adapters.postgres import PostgresDatabase
from clinical_ai.ports import ObjectStore
from clinical_ai.settings import Development, Production, parse
from clinical_ai.steps import catalog, pipeline
from clinical_ai.steps.tally import Tally
from clinical_ai.wiring_connector import open_loader, open_source
from tests.support.fakes import MemorySecrets, MemoryStore

BUCKET = "inbound"
SCHEMA = "ward"


@dataclass
class Bench:
    """A platform as far as a connector run sees it."""

    url: SecretStr
    storage: ObjectStore = field(default_factory=MemoryStore)
    settings: Development | Production = field(default_factory=lambda: parse({}))

    def __post_init__(self) -> None:
        self.database = PostgresDatabase(self.url)
        self.secrets = MemorySecrets({names.DATABASE_URL: self.url.get_secret_value()})
        self.storage.ensure_bucket(BUCKET)
        catalog.ensure_catalog(self.database, self.settings)

    def put(self, name: str, *lines: str | bytes) -> None:
        """An object of these lines; compressed when its name says so."""
        data = b"".join((x if isinstance(x, bytes) else x.encode()) + b"\n" for x in lines)
        self.storage.put(BUCKET, name, gzip.compress(data) if name.endswith(".gz") else data)

    def source(self, name: str, kind: str = "files", **cells: Any) -> None:
        """A row of cai_defined_sources."""
        row = {"bucket_name": BUCKET, "location": "", "connection": None, "options": {}} | cells
        self._row(names.SOURCES_TABLE, {"name": name, "kind": kind} | row)

    def destination(self, name: str = "out", kind: str = "postgresql", **cells: Any) -> None:
        """A row of cai_defined_destinations."""
        row = {"location": SCHEMA, "connection": None, "options": {}} | cells
        self._row(names.DESTINATIONS_TABLE, {"name": name, "kind": kind} | row)

    def run(self, source: str, destination: str = "out") -> pipeline.Outcome:
        """One run, as the flow makes it."""
        reading = catalog.get_row(self.database, self.settings, "source", source)
        writing = catalog.get_row(self.database, self.settings, "destination", destination)
        tally, pair = Tally(), (source, destination)
        with pipeline.only_run(self.database, *pair):
            records = open_source(self, reading, tally)
            return pipeline.move(pair, records, tally, open_loader(self, writing, pair))

    def rows(self, table: str, order: str = "1") -> list[dict[str, Any]]:
        """What the destination holds."""
        return self.database.query(f'select * from {SCHEMA}."{table}" order by {order}')

    def schemas(self) -> set[str]:
        """Schemas that are not PostgreSQL's own."""
        found = self.database.query(
            "select nspname from pg_namespace where nspname !~ '^(pg_|information_schema)'"
        )
        return {str(each["nspname"]) for each in found}

    def _row(self, table: str, cells: dict[str, Any]) -> None:
        listed = ", ".join(cells)
        marks = ", ".join(["%s"] * len(cells))
        self.database.execute(
            f"insert into {table} ({listed}) values ({marks})", list(cells.values())
        )


@pytest.fixture
def bench(database_url: SecretStr) -> Bench:
    """A bench with one destination row, `out`."""
    made = Bench(database_url)
    made.destination()
    return made
