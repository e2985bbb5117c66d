"""What every RecordSource promises, whether it reads files or asks a server."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from clinical_ai.adapters.fhir_search import Access, HttpFhirServer
from clinical_ai.ports_clinical import POSITION, Known, RecordSource
from clinical_ai.steps import marks
from clinical_ai.steps.catalog import Row
from clinical_ai.steps.fhir_source import FhirSource
from clinical_ai.steps.files_source import FilesSource
from clinical_ai.steps.row_options import FhirSearchOptions, FilesOptions
from clinical_ai.steps.tally import Tally
from tests.support.fakes import MemoryStore
from tests.support.fhir_server import FhirTestServer, fhir_server

__all__ = ["fhir_server"]


class World:
    """Resources that a source can be asked for."""

    def __init__(self, put: Callable[[list[str]], None], opened: Callable[[Tally], RecordSource]):
        self.put = put
        self._opened = opened

    def read(self, known: Known | None = None) -> tuple[dict[str, list[dict[str, Any]]], Tally]:
        """Rows by table, as a destination would see them arrive."""
        tally, tables = Tally(), dict[str, list[dict[str, Any]]]()
        for page in self._opened(tally).pages(known or Known()):
            assert set(page.rows.column_names) == set(page.columns)
            assert set(page.key) <= set(page.columns)
            tables.setdefault(page.table, []).extend(page.rows.to_pylist())
        return tables, tally


def known_after(tables: dict[str, list[dict[str, Any]]]) -> Known:
    return Known({row["part"]: row["mark"] for row in tables.get(marks.TABLE, [])})


def patient(ident: str, changed: str = "2024-01-01T00:00:00Z", **elements: Any) -> str:
    meta = {"lastUpdated": changed}
    return json.dumps({"resourceType": "Patient", "id": ident, "meta": meta} | elements)


@pytest.fixture(params=["files", "fhir-search"])
def world(request: pytest.FixtureRequest, fhir_server: FhirTestServer) -> Iterator[World]:
    if request.param == "files":
        store, number = MemoryStore(), iter(range(100))
        store.ensure_bucket("inbound")
        row = Row("s", "files", "inbound", "in/", None, {})
        yield World(
            lambda texts: store.put(
                "inbound", f"in/{next(number):03}.ndjson", "\n".join(texts).encode()
            ),
            lambda tally: FilesSource(store, row, FilesOptions(), tally),
        )
    else:
        row = Row("s", "fhir-search", None, fhir_server.base, "c", {})
        server = HttpFhirServer(Access(fhir_server.base, (fhir_server.base,)))
        options = FhirSearchOptions(resource_types=("Patient",), page_size=2)
        yield World(
            fhir_server.resources.extend, lambda tally: FhirSource(server, row, options, tally)
        )


def test_every_resource_comes_once_with_its_place(world: World) -> None:
    world.put([patient(f"p{number}") for number in range(5)])
    tables, tally = world.read()
    assert [row["id"] for row in tables["patient"]] == [f"p{number}" for number in range(5)]
    assert [row[POSITION] for row in tables["patient"]] == sorted(
        row[POSITION] for row in tables["patient"]
    )
    assert tally.read == {"patient": 5}


def test_with_the_marks_of_a_run_the_next_finds_nothing_new(world: World) -> None:
    world.put([patient(f"p{number}") for number in range(5)])
    tables, _ = world.read()
    again, tally = world.read(known_after(tables))
    assert again == {}
    assert not tally.read


def test_without_its_marks_everything_is_read_again(world: World) -> None:
    world.put([patient("p1")])
    assert world.read()[0]["patient"] == world.read()[0]["patient"]


def test_what_came_later_is_new(world: World) -> None:
    world.put([patient("p1"), patient("p2")])
    tables, _ = world.read()
    world.put([patient("p3", "2024-01-02T00:00:00Z")])
    again, _ = world.read(known_after(tables))
    assert [row["id"] for row in again["patient"]] == ["p3"]
    assert known_after(again) != known_after(tables)


def test_bad_resources_are_counted_and_the_good_ones_come(world: World) -> None:
    world.put([patient("p1"), patient("p2", birthDate=7), patient(""), patient("p3")])
    tables, tally = world.read()
    assert [row["id"] for row in tables["patient"]] == ["p1", "p3"]
    assert dict(tally.aside) == {
        ("patient", "wrong type in birth_date"): 1,
        ("patient", "missing key"): 1,
    }


def test_a_source_with_nothing_gives_nothing(world: World) -> None:
    if world.read()[0]:
        pytest.fail("pages from nowhere")


def test_marks_tell_nothing_of_what_they_mark(world: World) -> None:
    world.put([patient("Chalmers")])
    tables, _ = world.read()
    assert "Chalmers" not in json.dumps(tables[marks.TABLE])
    assert ".ndjson" not in json.dumps(tables[marks.TABLE])
