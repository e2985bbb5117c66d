"""Rows of the guide's tables to the ports of a connector run; as `wiring`, knows both sides."""

import re
from typing import TYPE_CHECKING, Final, Protocol

from pydantic import SecretStr

from clinical_ai import names
from clinical_ai.addresses import within
from clinical_ai.errors import NeedsOperator, nearest
from clinical_ai.ports import Database, ObjectStore, SecretStore
from clinical_ai.ports_clinical import Loader, RecordSource
from clinical_ai.settings import Connection, Development, Production
from clinical_ai.steps.catalog import Row, options_of
from clinical_ai.steps.row_options import FhirSearchOptions, FilesOptions
from clinical_ai.steps.tally import Tally

if TYPE_CHECKING:
    from clinical_ai.adapters.postgres_address import Address

_SCHEMA: Final = re.compile(r"[a-z_][a-z0-9_]{0,62}")
_TAKEN: Final = {names.PREFECT_SCHEMA, "information_schema"}
# What may stand behind the `?` of a destination's URL: nothing that names another host or a file.
_URL_OPTIONS: Final = {"sslmode", "connect_timeout", "application_name"}


class Parts(Protocol):
    """What of a platform a connector run needs."""

    @property
    def settings(self) -> Development | Production:
        """Its settings."""

    @property
    def secrets(self) -> SecretStore:
        """Its secrets."""

    @property
    def storage(self) -> ObjectStore:
        """Its storage."""

    @property
    def database(self) -> Database:
        """`cai_data`."""


def open_source(platform: Parts, row: Row, tally: Tally) -> RecordSource:
    """The source of this row, which counts in `tally`. Raises NeedsOperator or ManyFaults."""
    options = options_of(row, "source")
    match options:
        case FilesOptions():
            return _files(platform, row, options, tally)
        case FhirSearchOptions():
            return _fhir(platform, row, options, tally)
        case _:
            raise NeedsOperator(
                f"{row.name} is a destination, not a source", "name a row of cai_defined_sources"
            )


def open_loader(platform: Parts, row: Row, pair: tuple[str, str]) -> Loader:
    """The destination of this row, for the pair of that source's and this row's names."""
    from clinical_ai.adapters.dlt_loader import DltLoader

    options_of(row, "destination")
    schema = row.location or ""
    if not _SCHEMA.fullmatch(schema) or schema in _TAKEN or schema.startswith("pg_"):
        raise NeedsOperator(
            f"destination {row.name} names no schema that can be loaded into",
            "write a schema of your own as its location: lower-case letters, digits, underscores",
        )
    return DltLoader(_destination_url(platform, row), schema, pair)


def _files(platform: Parts, row: Row, options: FilesOptions, tally: Tally) -> RecordSource:
    from clinical_ai.steps.files_source import FilesSource

    if row.connection:
        raise NeedsOperator(
            f"source {row.name} names connection {row.connection!r:.80}; files are read from the"
            " platform's own storage",
            "leave the connection empty",
        )
    if not row.bucket_name:
        raise NeedsOperator(f"source {row.name} names no bucket", "set bucket_name")
    return FilesSource(platform.storage, row, options, tally)


def _fhir(platform: Parts, row: Row, options: FhirSearchOptions, tally: Tally) -> RecordSource:
    from clinical_ai.adapters.fhir_search import Access, HttpFhirServer
    from clinical_ai.steps.fhir_source import FhirSource

    connection = _connection(platform, row, "source")
    base = row.location or ""
    if not within(base, connection.addresses):
        raise NeedsOperator(
            f"the location of source {row.name} is not among the addresses of connection"
            f" {row.connection}",
            f"add it to connections.{row.connection}.addresses in the settings, or correct it",
        )
    settings = platform.settings
    access = Access(
        base=base,
        allowed=connection.addresses,
        credentials=_credentials(platform, connection),
        ca_bundle=connection.ca_bundle or settings.ca_bundle,
        http_proxy=settings.http_proxy,
        https_proxy=settings.https_proxy,
        no_proxy=settings.no_proxy,
    )
    return FhirSource(HttpFhirServer(access), row, options, tally)


def _destination_url(platform: Parts, row: Row) -> SecretStr:
    """The URL to load into: the platform's own, or that behind the row's connection."""
    from clinical_ai.adapters.postgres_address import parse

    if not row.connection:
        return platform.secrets.get(names.DATABASE_URL)
    connection = _connection(platform, row, "destination")
    url = _credentials(platform, connection)
    if url is None:
        raise NeedsOperator(
            f"connection {row.connection} has no credentials",
            f"let connections.{row.connection}.credentials refer to a PostgreSQL URL",
        )
    at = parse(url)
    if f"{at.host}:{at.port}" not in connection.addresses or at.options.keys() - _URL_OPTIONS:
        raise NeedsOperator(
            f"the URL behind connection {row.connection} leads to a place that is not among its"
            " addresses, or has options that may",
            f"write its host:port into connections.{row.connection}.addresses; allowed options"
            f" are {', '.join(sorted(_URL_OPTIONS))}",
        )
    return _trusting(url, at, connection.ca_bundle or platform.settings.ca_bundle)


def _trusting(url: SecretStr, at: "Address", ca_bundle: str | None) -> SecretStr:
    """The URL, with the authority that its server's certificate has to come from."""
    from urllib.parse import urlencode

    if ca_bundle is None or at.options.get("sslmode") in {None, "disable", "allow", "prefer"}:
        return url
    text = url.get_secret_value()
    return SecretStr(f"{text}&{urlencode({'sslrootcert': ca_bundle})}")


def _connection(platform: Parts, row: Row, what: str) -> Connection:
    known = platform.settings.connections
    if not row.connection:
        raise NeedsOperator(
            f"{what} {row.name} names no connection",
            "set its column connection to one of the settings; " + nearest("", known),
        )
    found = known.get(row.connection)
    if found is None:
        raise NeedsOperator(
            f"{what} {row.name} names connection {row.connection!r:.80}, which is not in the"
            " settings",
            nearest(row.connection, known),
        )
    return found


def _credentials(platform: Parts, connection: Connection) -> SecretStr | None:
    return platform.secrets.get(connection.credentials) if connection.credentials else None
