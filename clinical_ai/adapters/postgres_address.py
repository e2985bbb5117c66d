"""Where a PostgreSQL database is, parsed from its URL without ever showing the password."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from pydantic import SecretStr

from clinical_ai.errors import NeedsOperator

_SCHEMES: Final = ("postgresql", "postgres", "postgresql+asyncpg", "postgresql+psycopg2")
_SAID_BEFORE: Final = {"host", "port", "dbname", "user", "password", "client_encoding"}


@dataclass(frozen=True)
class Address:
    """Host, port, database and who asks; `options` are libpq's, such as sslmode."""

    host: str
    port: int
    database: str
    user: str
    password: SecretStr
    options: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    def __str__(self) -> str:
        return f"postgresql://{self.user}@{self._netloc}/{self.database}"

    @property
    def place(self) -> str:
        """Host, port and database, for error texts."""
        return f"{self._netloc}/{self.database}"

    @property
    def _netloc(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def parse(url: SecretStr) -> Address:
    """The address behind `postgresql://user:password@host:port/database`.

    An asyncpg URL gives the same: SQLAlchemy's driver suffix is dropped. Raises NeedsOperator
    without any part of the URL: a stray character makes a piece of the password look like a host.
    """
    try:
        return _address(urlsplit(url.get_secret_value()))
    except ValueError:
        raise NeedsOperator(
            "the database URL cannot be read",
            "write postgresql://user:password@host:port/database"
            ", special characters of the password as %XX",
        ) from None


def _address(parts: SplitResult) -> Address:
    database = unquote(parts.path.removeprefix("/"))
    odd = {"@", "/", ":"} & set(database) or parts.fragment or "@" in parts.query
    if parts.scheme not in _SCHEMES or not parts.hostname or not database or odd:
        raise ValueError
    options = dict(parse_qsl(parts.query, strict_parsing=True)) if parts.query else {}
    if "ssl" in options:  # asyncpg's word
        options["sslmode"] = options.pop("ssl")
    if _SAID_BEFORE & options.keys():
        raise ValueError
    return Address(
        host=parts.hostname,
        port=parts.port or 5432,
        database=database,
        user=unquote(parts.username or ""),
        password=SecretStr(unquote(parts.password or "")),
        options=MappingProxyType(options),
    )
