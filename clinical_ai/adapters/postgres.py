"""A PostgreSQL database behind the port Database."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from threading import RLock
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from clinical_ai import names
from clinical_ai.adapters.postgres_address import parse
from clinical_ai.adapters.postgres_errors import translated, unreachable
from clinical_ai.errors import NeedsOperator

if TYPE_CHECKING:
    from psycopg2.extensions import connection, cursor


class PostgresDatabase:
    """One database, over one connection that is opened when first needed and made anew when the
    server restarted. Safe to share between threads, which then take turns.

    A parameter that is a dict is sent as JSON. With no parameters at all a `%` is just a `%`.
    """

    def __init__(
        self, url: SecretStr, *, application_name: str = names.PRODUCT, connect_seconds: int = 5
    ) -> None:
        """Nothing is connected yet; NeedsOperator when the URL cannot be read."""
        self._address = parse(url)
        self._application_name = application_name
        self._connect_seconds = connect_seconds
        self._connection: connection | None = None
        self._turn = RLock()

    def __repr__(self) -> str:
        return f"PostgresDatabase({self.address!r})"

    @property
    def address(self) -> str:
        """The URL without its password."""
        return str(self._address)

    def query(self, sql: str, parameters: Sequence[object] = ()) -> list[dict[str, Any]]:
        """Rows as dictionaries by column name."""
        with self._asking() as asking:
            asking.execute(sql, _adapted(parameters))
            columns = [column.name for column in asking.description or ()]
            return [dict(zip(columns, row, strict=True)) for row in asking] if columns else []

    def execute(self, sql: str, parameters: Sequence[object] = ()) -> int:
        """Run one statement in a transaction of its own; the number of rows touched."""
        with self._asking() as asking:
            asking.execute(sql, _adapted(parameters))
            return max(asking.rowcount, 0)

    def execute_all(self, statements: Sequence[tuple[str, Sequence[object]]]) -> None:
        """Run all statements in one transaction: all of them, or none.

        Transient when the connection breaks at the very end: then either may be true, so that
        statements of a step have to bear being run again.
        """
        with self._asking() as asking:
            asking.execute("begin")
            try:
                for sql, parameters in statements:
                    asking.execute(sql, _adapted(parameters))
                asking.execute("commit")
            except BaseException:
                with suppress(_errors()):
                    asking.execute("rollback")
                raise

    @contextmanager
    def lock(self, name: str) -> Iterator[bool]:
        """Hold the advisory lock of that name; gives False at once when somebody else holds it.

        It stands on a connection of its own and ends with it, also when this process dies.
        """
        own = self._opened()
        try:
            with self._translated(), own.cursor() as asking:
                asking.execute("select pg_try_advisory_lock(hashtextextended(%s, 0))", (name,))
                row = asking.fetchone()
            yield bool(row and row[0])
        finally:
            # Ended by the server, so that the lock is free when this returns.
            with suppress(_errors()), own.cursor() as asking:
                asking.execute("select pg_advisory_unlock_all()")
            own.close()

    def close(self) -> None:
        """Give the connection back; the next call opens another one."""
        with self._turn:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    @contextmanager
    def _asking(self) -> "Iterator[cursor]":
        with self._turn, self._translated(), self._answering().cursor() as asking:
            yield asking

    def _answering(self) -> "connection":
        """A connection that answered just now.

        Asking first costs one turn and makes healing safe: a statement is never sent twice.
        """
        if self._connection is not None and not _answers(self._connection):
            self.close()
        if self._connection is None:
            self._connection = self._opened()
        return self._connection

    def _opened(self) -> "connection":
        import psycopg2

        at = self._address
        wanted: dict[str, Any] = {
            "application_name": self._application_name,
            "connect_timeout": self._connect_seconds,
            "keepalives_idle": 30,
            "keepalives_interval": 10,
            "keepalives_count": 3,
            **at.options,
        }
        try:
            opened: connection = psycopg2.connect(
                **wanted,
                host=at.host,
                port=at.port,
                dbname=at.database,
                user=at.user,
                password=at.password.get_secret_value(),
                client_encoding="UTF8",
            )
        except psycopg2.Error as met:
            raise unreachable(met, at.place) from None
        opened.autocommit = True
        return opened

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Foreign errors end here, unchained: their texts hold statements and cells."""
        import psycopg2

        try:
            yield
        except psycopg2.Error as met:
            raise translated(met, self._address.place) from None
        except ValueError:  # the driver's, for NUL and lone surrogates; UnicodeError shows them
            raise NeedsOperator(
                "a parameter holds a character that PostgreSQL cannot keep",
                "remove NUL and broken characters from the value",
            ) from None


def _errors() -> type[Exception]:
    import psycopg2

    return psycopg2.Error


def _answers(opened: "connection") -> bool:
    try:
        with opened.cursor() as asking:
            asking.execute("select 1")
    except _errors():
        return False
    return True


def _adapted(parameters: Sequence[object]) -> tuple[object, ...] | None:
    from psycopg2.extras import Json

    return tuple(Json(it) if isinstance(it, dict) else it for it in parameters) or None
