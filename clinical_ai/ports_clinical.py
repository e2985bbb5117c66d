"""What the clinical pipeline needs from outside, beside the ports of the platform."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol


class Kind(StrEnum):
    """What a column holds; each value is the name of its SQL type."""

    TEXT = "text"
    BIGINT = "bigint"
    DOUBLE = "double precision"
    BOOLEAN = "boolean"
    DATE = "date"
    JSON = "jsonb"


@dataclass(frozen=True)
class Page:
    """Rows of one table, checked and typed, ready to be merged on `key`.

    `rows` is a pyarrow.Table with the columns of `columns`. Among rows with equal keys the one
    with the highest `POSITION` wins. `size` in bytes.
    """

    table: str
    key: tuple[str, ...]
    columns: Mapping[str, Kind]
    rows: Any
    size: int


# Every table has it: the place of the row among all rows of its run, so that the last wins.
POSITION = "_cai_position"


@dataclass(frozen=True)
class Known:
    """What earlier runs left in the destination.

    `marks`: how far each part of the source was read, by the part's key. `tables`: SQL types of
    existing tables, by table and column.
    """

    marks: Mapping[str, str] = field(default_factory=dict)
    tables: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Loaded:
    """What a load wrote. `rows`: by table, without duplicates; `size` in bytes."""

    rows: Mapping[str, int] = field(default_factory=dict)
    duplicates: Mapping[str, int] = field(default_factory=dict)
    load_ids: tuple[str, ...] = ()
    schema_changes: tuple[str, ...] = ()
    size: int = 0


class Loader(Protocol):
    """One schema of one database, for one pair of source and destination.

    No error tells a statement, a row or a value. Raises Transient when the database cannot be
    reached, NeedsOperator when it refuses.
    """

    def known(self) -> Known:
        """What committed loads left; marks of a load that died are not among it."""

    def load(self, pages: Iterable[Page]) -> Loaded:
        """Merge all pages, their marks last; errors of the pages pass through unchanged."""


class RecordSource(Protocol):
    """Where rows come from. It keeps count, in a tally of its own, of what it met."""

    def pages(self, known: Known) -> Iterator[Page]:
        """Rows that `known.marks` does not cover, then the new marks, as a page of their own."""


class FhirServer(Protocol):
    """A FHIR R4 server that is searched.

    No error tells an address below the server's, a query, an id or a body. Raises Transient for an
    outage that outlasted the retries, NeedsOperator when the server refuses.
    """

    def search(self, resource_type: str, query: Mapping[str, str]) -> Iterator[str]:
        """The bundles of one search, as JSON texts, following its next links."""
