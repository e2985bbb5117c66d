"""The source `fhir-search`: resource types of a FHIR R4 server, what changed since the last run."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from clinical_ai.errors import Transient
from clinical_ai.ports_clinical import FhirServer, Known, Page
from clinical_ai.steps import marks
from clinical_ai.steps.catalog import Row
from clinical_ai.steps.fhir_pages import FhirPages, each_page
from clinical_ai.steps.json_text import UnfitError, elements, members
from clinical_ai.steps.row_options import FhirSearchOptions
from clinical_ai.steps.tally import Aside, Tally

# So many versions within the lag are remembered; more are read again, which merges to the same.
_REMEMBERED: Final = 5000
_BEGINNING: Final = datetime.min.replace(tzinfo=UTC)


@dataclass
class Cursor:
    """How far one resource type was read: the newest change, and the versions just before it.

    A search asks for what changed since the newest change minus the lag; versions it saw there
    already are passed over. Changes are compared as instants, whatever zone they are written in.
    """

    newest: datetime = _BEGINNING
    seen: dict[str, datetime] = field(default_factory=dict)

    @classmethod
    def parse(cls, mark: str | None) -> "Cursor":
        """From a mark; from none, the beginning."""
        if mark is None:
            return cls()
        found = json.loads(mark)
        newest = datetime.fromisoformat(found["newest"])
        return cls(newest, dict.fromkeys(found["seen"], newest))

    def mark(self, lag: timedelta) -> str:
        """What the next run continues from."""
        recent = sorted(each for each, at in self.seen.items() if at >= self.newest - lag)
        kept = recent if len(recent) <= _REMEMBERED else []
        return json.dumps({"newest": self.newest.isoformat(), "seen": kept})

    def since(self, lag: timedelta) -> str | None:
        """The value of _lastUpdated to search from."""
        if self.newest == _BEGINNING:
            return None
        return (self.newest - lag).isoformat(timespec="milliseconds")

    def is_new(self, version: str, changed: datetime) -> bool:
        """Whether this version was not met before; remembers it."""
        if version in self.seen:
            return False
        self.seen[version] = changed
        self.newest = max(self.newest, changed)
        return True


class FhirSource:
    """What the searches of one row of the guide's table give."""

    def __init__(
        self, server: FhirServer, row: Row, options: FhirSearchOptions, tally: Tally
    ) -> None:
        self._server = server
        self._row = row
        self._options = options
        self._tally = tally
        self._lag = timedelta(seconds=options.lag_seconds)

    def pages(self, known: Known) -> Iterator[Page]:
        """All resource types, one after the other."""
        pages = FhirPages(known.tables, self._tally)
        done: dict[str, str] = {}
        for resource_type in self._options.resource_types:
            part = self._part(resource_type)
            before = known.marks.get(part)
            cursor = Cursor.parse(before)
            yield from each_page(self._texts(resource_type, cursor), pages)
            after = cursor.mark(self._lag)
            if after != before and cursor.newest != _BEGINNING:
                done[part] = after
            self._tally.parts["resource types searched"] += 1
        yield from pages.pages()
        if done:
            yield marks.page(self._row.name, done, self._tally)

    def _part(self, resource_type: str) -> str:
        """Another address or query is another search, which begins at its own beginning."""
        query = json.dumps(self._options.query, sort_keys=True)
        return marks.digest(str(self._row.location), resource_type, query)

    def _texts(self, resource_type: str, cursor: Cursor) -> Iterator[str | Aside]:
        for bundle in self._server.search(resource_type, self._query(cursor)):
            self._tally.size += len(bundle)
            for text in _resources(bundle):
                if len(text) > self._options.limit_bytes:
                    yield Aside.TOO_LARGE
                elif self._is_new(text, resource_type, cursor):
                    yield text

    def _query(self, cursor: Cursor) -> dict[str, str]:
        query = {"_count": str(self._options.page_size), **self._options.query}
        since = cursor.since(self._lag)
        return query if since is None else {**query, "_lastUpdated": f"ge{since}"}

    def _is_new(self, text: str, resource_type: str, cursor: Cursor) -> bool:
        """Included resources of other types are always taken: their own search has their cursor."""
        version = _version(text)
        if version is None or version.resource_type != resource_type:
            return True
        new = cursor.is_new(version.key, version.changed)
        if not new:
            self._tally.parts["resources loaded before"] += 1
        return new


@dataclass(frozen=True)
class _Version:
    resource_type: str
    key: str
    changed: datetime


def _version(text: str) -> _Version | None:
    """None for a resource that does not tell when it changed, or is no resource at all."""
    try:
        found = {name: value for name, value, _ in members(text)}
        meta: dict[str, Any] = found["meta"]
        changed = datetime.fromisoformat(meta["lastUpdated"])
        told = (found["id"], meta.get("versionId", ""), meta["lastUpdated"])
        key = marks.digest(*map(str, told))[:16]
        return _Version(str(found["resourceType"]), key, changed.astimezone(UTC))
    except (UnfitError, KeyError, TypeError, ValueError, OverflowError):
        return None


def _resources(bundle: str) -> Iterator[str]:
    """Own texts of the resources that a bundle holds; what the server says beside them is not."""
    try:
        found = {name: (value, raw) for name, value, raw in members(bundle)}
        kind, _ = found.get("resourceType", ("", ""))
        if kind != "Bundle":
            raise UnfitError
        _, raw = found.get("entry", ([], "[]"))
        for entry in elements(raw):
            inside: Mapping[str, tuple[Any, str]] = {
                name: (value, text) for name, value, text in members(entry)
            }
            if "resource" in inside and _mode(inside) != "outcome":
                yield inside["resource"][1]
    except UnfitError:
        raise Transient("the FHIR server answered something that is not a bundle") from None


def _mode(entry: Mapping[str, tuple[Any, str]]) -> str:
    search, _ = entry.get("search", ({}, ""))
    return str(search.get("mode", "")) if isinstance(search, dict) else ""
