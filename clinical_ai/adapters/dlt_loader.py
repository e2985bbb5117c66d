"""Rows into a schema of PostgreSQL, with dlt: staged, then merged, then the marks of how far."""

from collections.abc import Iterable, Iterator
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlencode

from pydantic import SecretStr

from clinical_ai.adapters.dlt_errors import told
from clinical_ai.adapters.dlt_seal import sealed_dlt
from clinical_ai.adapters.postgres import PostgresDatabase
from clinical_ai.adapters.postgres_address import parse
from clinical_ai.adapters.table_shapes import Shape, existing, missing
from clinical_ai.adapters.work_folder import work_folder
from clinical_ai.ports_clinical import POSITION, Kind, Known, Loaded, Page

if TYPE_CHECKING:
    from clinical_ai.adapters.dlt_postgres import Connections

_DLT_TYPES: Final = {
    Kind.TEXT: "text",
    Kind.BIGINT: "bigint",
    Kind.DOUBLE: "double",
    Kind.BOOLEAN: "bool",
    Kind.DATE: "date",
    Kind.JSON: "json",
}
_MARKS: Final = "_cai_marks"
_LOADS: Final = "_dlt_loads"


class DltLoader:
    """A Loader: one schema, for one pair of source and destination.

    Each run begins with an empty work folder and empty staging tables: what a run that died left
    is thrown away, and its rows are read again, because marks count only when their load has been
    committed as a whole (`_dlt_loads`). The caller sees to it that a pair runs once at a time.
    """

    def __init__(
        self, url: SecretStr, schema: str, pair: tuple[str, str], *, folder: Path | None = None
    ) -> None:
        """`pair`: names of source and destination. `folder`: where rows wait on their way."""
        self._address = parse(url)
        self._database = PostgresDatabase(url)
        self._url = url
        self._schema = schema
        self._source = pair[0]
        self._folder = folder
        digest = sha256("\0".join(pair).encode()).hexdigest()
        self._name = f"cai_{digest[:16]}"
        self._staging = f"{self._name}_staging"

    def known(self) -> Known:
        """What committed loads left."""
        tables = existing(self._database, self._schema)
        if _MARKS not in tables or _LOADS not in tables:
            return Known({}, tables)
        found = self._database.query(
            f'select part, mark from "{self._schema}"."{_MARKS}" where source = %s'
            f' and _dlt_load_id in (select load_id from "{self._schema}"."{_LOADS}"'
            " where status = 0)",
            [self._source],
        )
        return Known({str(each["part"]): str(each["mark"]) for each in found}, tables)

    def load(self, pages: Iterable[Page]) -> Loaded:
        """Merge all pages; nothing is written before the last page has come."""
        try:
            with work_folder(self._folder) as folder, sealed_dlt(folder):
                return self._load(pages, folder)
        except Exception as met:  # noqa: BLE001  (whatever it is, its text may hold rows)
            found = told(met, self._address.place)
        # Outside of the handler: what was met holds rows, and nothing is to lead back to it.
        raise found

    def close(self) -> None:
        """Give the connection back."""
        self._database.close()

    def _load(self, pages: Iterable[Page], folder: Path) -> Loaded:
        from clinical_ai.adapters.dlt_postgres import Connections

        with closing(Connections()) as connections:
            return self._through(self._pipeline(folder, connections), pages)

    def _through(self, pipeline: Any, pages: Iterable[Page]) -> Loaded:
        shapes: dict[str, Shape] = {}
        counted = _Counted(pages, shapes)
        pipeline.extract(self._as_source(counted), loader_file_format="parquet")
        if not shapes:
            return Loaded()
        pipeline.normalize()
        self._drop_staging()
        changes = self._make_tables(shapes)
        info = pipeline.load()
        rows, duplicates = self._merged(shapes)
        self._drop_staging()
        return Loaded(rows, duplicates, tuple(info.loads_ids), tuple(changes), counted.size)

    def _pipeline(self, folder: Path, connections: "Connections") -> Any:
        import dlt

        from clinical_ai.adapters.dlt_postgres import Postgres

        pipeline = dlt.pipeline(
            self._name,
            pipelines_dir=str(folder),
            destination=Postgres(connections, self._url_for_dlt(), self._staging),
            dataset_name=self._schema,
        )
        pipeline.config.restore_from_destination = False
        return pipeline

    def _as_source(self, pages: "_Counted") -> Any:
        import dlt

        resource = dlt.resource(pages.hinted(), name=self._name)
        return dlt.source(lambda: resource, name=self._name)()

    def _url_for_dlt(self) -> str:
        """Written anew from its parts, in the one form that both psycopg2 and ADBC read."""
        at = self._address
        user = f"{quote(at.user, safe='')}:{quote(at.password.get_secret_value(), safe='')}"
        host = f"[{at.host}]" if ":" in at.host else at.host
        query = {"connect_timeout": "10", **at.options}
        return f"postgresql://{user}@{host}:{at.port}/{quote(at.database)}?{urlencode(query)}"

    def _make_tables(self, shapes: dict[str, Shape]) -> list[str]:
        there = existing(self._database, self._schema)
        statements, changes = missing(self._schema, shapes, there)
        self._database.execute_all([(statement, ()) for statement in statements])
        return [change for change in changes if _MARKS not in change]

    def _merged(self, shapes: dict[str, Shape]) -> tuple[dict[str, int], dict[str, int]]:
        """Distinct keys and rows beyond them, from the staging tables that were merged."""
        rows, duplicates = {}, {}
        for table, shape in shapes.items():
            if table != _MARKS:
                key = ", ".join(f'"{name}"' for name in shape.key)
                [found] = self._database.query(
                    f"select count(*) as all, count(distinct ({key})) as keys"
                    f' from "{self._staging}"."{table}"'
                )
                rows[table] = int(found["keys"])
                duplicates[table] = int(found["all"]) - int(found["keys"])
        return rows, duplicates

    def _drop_staging(self) -> None:
        """Rows of patients are kept once, where they belong."""
        self._database.execute(f'drop schema if exists "{self._staging}" cascade')


class _Counted:
    """Pages on their way into dlt, with the hints it needs; takes down the tables they want."""

    def __init__(self, pages: Iterable[Page], shapes: dict[str, Shape]) -> None:
        self._pages = pages
        self._shapes = shapes
        self.size = 0

    def hinted(self) -> Iterator[Any]:
        """Each page's rows, told apart by table."""
        import dlt

        for page in self._pages:
            self.size += page.size
            self._shapes.setdefault(page.table, Shape(page.key)).widen(page)
            yield dlt.mark.with_hints(page.rows, _hints(page), create_table_variant=True)


def _hints(page: Page) -> Any:
    import dlt

    columns: dict[str, dict[str, Any]] = {
        name: {"name": name, "data_type": _DLT_TYPES[kind], "nullable": name not in page.key}
        for name, kind in page.columns.items()
    }
    columns[POSITION]["dedup_sort"] = "desc"
    return dlt.mark.make_hints(
        table_name=page.table,
        primary_key=list(page.key),
        write_disposition="merge",
        columns=columns,  # type: ignore[arg-type]
    )
