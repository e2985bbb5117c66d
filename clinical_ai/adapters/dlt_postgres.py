"""dlt's destination PostgreSQL, over ADBC connections that are used again.

Opening one costs 80 ms in a database with some hundred tables (the driver reads the catalogue),
and dlt opens one for each file: 10 s of a load of 121 small tables. Import it inside functions:
it imports dlt.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from queue import Empty, SimpleQueue
from typing import Any

from dlt.destinations.impl.postgres.factory import postgres
from dlt.destinations.impl.postgres.postgres import PostgresClient, PostgresParquetCopyJob


class Connections:
    """Open ADBC connections that nobody uses at the moment."""

    def __init__(self) -> None:
        self._idle: SimpleQueue[Any] = SimpleQueue()

    @contextmanager
    def lent(self, job: "_CopyJob") -> Iterator[Any]:
        """A connection for one job; it comes back unless the job failed."""
        try:
            connection = self._idle.get_nowait()
        except Empty:
            connection = job.opened()
        try:
            yield connection
        except BaseException:
            with suppress(Exception):
                connection.close()
            raise
        self._idle.put(connection)

    def close(self) -> None:
        """Close them all."""
        while not self._idle.empty():
            self._idle.get_nowait().close()


class _CopyJob(PostgresParquetCopyJob):
    def opened(self) -> Any:
        """A connection of its own."""
        return super()._connect()

    def _connect(self) -> Any:
        client: Any = self._job_client
        return client.connections.lent(self)


class _Client(PostgresClient):
    connections: Connections

    def create_load_job(self, table: Any, file_path: str, *rest: Any, **named: Any) -> Any:
        job = super().create_load_job(table, file_path, *rest, **named)
        return _CopyJob(file_path) if isinstance(job, PostgresParquetCopyJob) else job


class Postgres(postgres):
    """The destination; its connections are closed by whoever made them."""

    def __init__(self, connections: Connections, url: str, staging: str) -> None:
        """`staging`: the schema where rows wait to be merged."""
        super().__init__(
            credentials=url,
            create_indexes=False,
            destination_name="postgres",
            staging_dataset_name_layout=staging,
        )
        self._connections = connections

    @property
    def client_class(self) -> type[PostgresClient]:
        """dlt's client, with connections to lend."""
        return type("Client", (_Client,), {"connections": self._connections})
