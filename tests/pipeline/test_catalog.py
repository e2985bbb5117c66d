"""The guide's two tables: made when missing, checked when there, never altered."""

from pathlib import Path

import pytest
from pydantic import SecretStr

from clinical_ai import names
from clinical_ai.adapters.postgres import PostgresDatabase
from clinical_ai.change import Did
from clinical_ai.errors import ManyFaults, NeedsOperator, PlatformError
from clinical_ai.settings import parse
from clinical_ai.steps.catalog import ensure_catalog, find_row, get_row, options_of
from clinical_ai.steps.demonstration import DESTINATION, SOURCES, ensure_demonstration
from tests.support.connector import Bench
from tests.support.fakes import MemoryStore

DEMONSTRATION = Path(__file__).parents[2] / "demonstration"
THEIRS = f"""create table {names.SOURCES_TABLE} (
    title text, kind text, bucket text, location text, connection text, options text,
    enabled boolean)"""


@pytest.fixture
def database(database_url: SecretStr) -> PostgresDatabase:
    return PostgresDatabase(database_url)


def test_the_tables_are_made_once(database: PostgresDatabase) -> None:
    settings = parse({})
    assert [change.did for change in ensure_catalog(database, settings)] == [Did.CREATED] * 2
    assert [change.did for change in ensure_catalog(database, settings)] == [Did.UNCHANGED] * 2


def test_a_table_that_is_not_there_is_told_with_what_makes_it(database: PostgresDatabase) -> None:
    with pytest.raises(NeedsOperator, match=f"{names.SOURCES_TABLE} is not there") as refused:
        get_row(database, parse({}), "source", "a")
    assert refused.value.remedy == "run `make up`, in a cluster deploy/self, which makes it"


def test_every_missing_column_of_an_existing_table_is_named_with_both_remedies(
    database: PostgresDatabase,
) -> None:
    database.execute(THEIRS)
    with pytest.raises(ManyFaults) as refused:
        ensure_catalog(database, parse({}))
    told = str(refused.value)
    assert "no column 'name'" in told
    assert "no column 'bucket_name'" in told
    assert "sources-columns" in told
    assert f'alter table {names.SOURCES_TABLE} add column "name" text' in told


def test_other_column_names_are_read_through_the_mapping(database: PostgresDatabase) -> None:
    database.execute(THEIRS)
    settings = parse({"sources-columns": {"name": "title", "bucket_name": "bucket"}})
    ensure_catalog(database, settings)
    database.execute(
        f"insert into {names.SOURCES_TABLE} values"
        """ ('a', 'files', 'b', 'c/', null, '{"key": "id"}', null)"""
    )
    row = get_row(database, settings, "source", "a")
    assert (row.name, row.bucket_name, row.location) == ("a", "b", "c/")
    assert row.options == {"key": "id"}
    assert find_row(database, settings, "source", "b") is None


def test_a_mapping_of_a_column_that_is_none_of_ours_is_refused(database: PostgresDatabase) -> None:
    ensure_catalog(database, parse({}))
    with pytest.raises(ManyFaults, match="did you mean 'bucket_name'"):
        ensure_catalog(database, parse({"sources-columns": {"bucket-name": "x"}}))


def test_an_unknown_name_is_refused_with_the_nearest_and_the_list(bench: Bench) -> None:
    bench.source("ward-a")
    bench.source("laboratory")
    with pytest.raises(NeedsOperator) as refused:
        bench.run("ward-b")
    told = str(refused.value)
    assert "no source is named 'ward-b'" in told
    assert "did you mean 'ward-a'?" in told
    assert "laboratory, ward-a" in told


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        ({"enabled": False}, "is switched off"),
        ({"kind": "hl7v2"}, "comes with a later release"),
        ({"kind": "fhir-bulk"}, "comes with a later release"),
        ({"kind": "fire-search"}, "did you mean 'fhir-search'"),
        ({"bucket_name": None}, "names no bucket"),
        ({"connection": "x"}, "leave the connection empty"),
        ({"bucket_name": "nowhere"}, "no bucket 'nowhere'"),
        ({"options": {"kye": "id"}}, "did you mean 'key'"),
        ({"options": {"table": "_cai_marks"}}, "is not a table's name"),
        ({"options": {"limit-bytes": "many"}}, "option limit-bytes"),
        ({"kind": "fhir-search"}, "option resource-types"),
        ({"kind": "fhir-search", "options": {"resource-types": "Patiend"}}, "'Patient'"),
        ({"kind": "fhir-search", "options": {"resource-types": "Patient"}}, "names no connection"),
    ],
)
def test_a_row_that_cannot_be_used_says_why(
    bench: Bench, cells: dict[str, object], said: str
) -> None:
    bench.source("a", **cells)  # type: ignore[arg-type]
    with pytest.raises(PlatformError) as refused:
        bench.run("a")
    assert said in str(refused.value)


def test_options_never_show_what_they_were_given(bench: Bench) -> None:
    bench.source("a", "fhir-search", options={"query": ["name=Chalmers"], "resource-types": "Q"})
    with pytest.raises(ManyFaults) as refused:
        bench.run("a")
    assert "Chalmers" not in str(refused.value)


@pytest.mark.parametrize(
    "location", [None, "", "prefect", "pg_x", 'a"b', "A", "information_schema"]
)
def test_a_destination_that_is_no_schema_of_its_own_is_refused(
    bench: Bench, location: str | None
) -> None:
    bench.source("a")
    bench.destination("bad", location=location)
    with pytest.raises(NeedsOperator, match="no schema"):
        bench.run("a", "bad")


def test_the_demonstration_is_there_once_and_an_operators_row_is_kept(bench: Bench) -> None:
    store = MemoryStore()
    bench.source(SOURCES[0].name, location="mine/")
    first = ensure_demonstration(bench.database, store, bench.settings, DEMONSTRATION)
    assert [change.did for change in first if change.what.startswith("objects")] == [
        Did.CREATED
    ] * 2
    second = ensure_demonstration(bench.database, store, bench.settings, DEMONSTRATION)
    assert not any(change.wrote for change in second)
    kept = get_row(bench.database, bench.settings, "source", SOURCES[0].name)
    assert kept.location == "mine/"
    for what, row in (("source", SOURCES[1]), ("destination", DESTINATION)):
        assert get_row(bench.database, bench.settings, what, row.name) == row
        options_of(row, what)


def test_a_demonstration_object_of_another_size_is_put_again(bench: Bench) -> None:
    store = MemoryStore()
    ensure_demonstration(bench.database, store, bench.settings, DEMONSTRATION)
    store.put(names.DEMONSTRATION_BUCKET, "fhir-r4/Patient.ndjson", b"torn")
    changes = ensure_demonstration(bench.database, store, bench.settings, DEMONSTRATION)
    assert [str(change) for change in changes if change.wrote] == [
        "objects demonstration/fhir-r4/: updated (1 of 121 written)"
    ]
