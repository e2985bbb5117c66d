"""From files in the storage to PostgreSQL: complete, once, and nothing silently changed."""

import json
from datetime import date
from typing import Any

import pytest

from clinical_ai.errors import NeedsOperator, Transient
from clinical_ai.steps import pipeline
from clinical_ai.steps.tally import UNREADABLE
from tests.support.connector import SCHEMA, Bench

CSV = {"key": "mrn", "table": "stays"}


def patient(ident: str, **elements: Any) -> str:
    return json.dumps({"resourceType": "Patient", "id": ident} | elements)


def outcome_of(outcome: pipeline.Outcome, table: str) -> pipeline.TableOutcome:
    return next(each for each in outcome.tables if each.table == table)


def test_fhir_resources_go_to_a_table_for_each_type(bench: Bench) -> None:
    bench.put(
        "in/all.ndjson",
        patient("p1", birthDate="1970-03", active=True, name=[{"family": "Chalmers"}]),
        '{"resourceType": "Observation", "id": "o1", "valueQuantity": {"value": 1.50}}',
        "",
    )
    bench.source("fhir", location="in/")
    outcome = bench.run("fhir")
    assert (outcome.summary()["rows_loaded"], outcome.set_aside) == (2, 0)
    [row] = bench.rows("patient")
    assert (row["id"], row["birth_date"], row["active"]) == ("p1", "1970-03", True)
    assert row["name"] == [{"family": "Chalmers"}]
    [found] = bench.database.query(
        f"select value_quantity->>'value' as value from {SCHEMA}.observation"
    )
    assert found["value"] == "1.50"


def test_csv_columns_get_types_that_all_rows_fit(bench: Bench) -> None:
    bench.put("a.csv", "MRN,Age,Weight kg,Admitted,Ward", "007,41,80,2024-02-29,3")
    bench.put("b.csv.gz", "MRN,Age,Weight kg,Admitted,Ward", "008,NA,80.5,2024-03-01,3b")
    bench.put("notes.txt", "ignored")
    bench.source("csv", options=CSV | {"nulls": "NA"})
    outcome = bench.run("csv")
    first, second = bench.rows("stays")
    assert (first["mrn"], first["age"], first["weight_kg"]) == ("007", 41, 80.0)
    assert (first["admitted"], first["ward"]) == (date(2024, 2, 29), "3")
    assert (second["age"], second["ward"]) == (None, "3b")
    assert outcome.parts == {"objects new or changed": 2, "objects ignored (no known format)": 1}


def test_the_merge_key_is_a_primary_key_and_json_is_jsonb(bench: Bench) -> None:
    bench.put("a.ndjson", patient("p1", name=[]))
    bench.source("fhir")
    bench.run("fhir")
    found = bench.database.query(
        "select a.attname, format_type(a.atttypid, null) as type, i.indisprimary as key"
        " from pg_attribute a left join pg_index i"
        " on i.indrelid = a.attrelid and a.attnum = any (i.indkey)"
        f" where a.attrelid = '{SCHEMA}.patient'::regclass and a.attname in ('id', 'name')"
        " order by 1"
    )
    assert [tuple(each.values()) for each in found] == [
        ("id", "text", True),
        ("name", "jsonb", None),
    ]


def test_a_second_run_loads_nothing_and_a_changed_object_is_loaded_again(bench: Bench) -> None:
    bench.put("a.ndjson", patient("p1", gender="male"), patient("p2"))
    bench.source("fhir")
    assert bench.run("fhir").summary()["rows_loaded"] == 2
    again = bench.run("fhir")
    assert again.summary()["rows_read"] == 0
    assert again.load_ids == []
    bench.put("a.ndjson", patient("p1", birthDate="1970"), patient("p3"))
    assert bench.run("fhir").summary()["rows_loaded"] == 2
    rows = {row["id"]: row for row in bench.rows("patient")}
    assert set(rows) == {"p1", "p2", "p3"}
    assert (rows["p1"]["gender"], rows["p1"]["birth_date"]) == (None, "1970")


def test_other_options_read_the_same_objects_again(bench: Bench) -> None:
    bench.put("a.csv", "mrn,x", "1,NA")
    bench.source("csv", options=CSV)
    bench.run("csv")
    bench.database.execute(
        'update cai_defined_sources set options = options || \'{"nulls": "NA"}\''
    )
    assert bench.run("csv").summary()["rows_loaded"] == 1
    assert bench.rows("stays")[0]["x"] is None


def test_of_equal_keys_the_last_wins_and_the_others_are_counted(bench: Bench) -> None:
    bench.put(
        "a.ndjson", *(patient("p1", gender=f"g{number}") for number in range(5)), patient("p2")
    )
    bench.put("b.ndjson", patient("p1", gender="last"))
    bench.source("fhir")
    outcome = outcome_of(bench.run("fhir"), "patient")
    assert (outcome.read, outcome.loaded, outcome.duplicates) == (7, 2, 5)
    assert bench.rows("patient")[0]["gender"] == "last"


def test_bad_resources_are_set_aside_and_counted_by_reason(bench: Bench) -> None:
    bench.put(
        "a.ndjson",
        patient("p1"),
        "not json",
        "[1, 2]",
        '{"resourceType": "Patient"}',
        patient("p2", birthDate=1970),
        patient("p3", birthDate=["x"]),
        b'{"resourceType": "Patient", "id": "\xff"}',
        patient("p4", birthDate="1\0" + "97\0" + "0"),
    )
    bench.source("fhir")
    outcome = bench.run("fhir")
    told = outcome_of(outcome, "patient")
    assert told.set_aside == {"missing key": 1, "wrong type in birth_date": 2}
    assert told.nul_bytes == 2
    assert outcome_of(outcome, UNREADABLE).set_aside == {
        "not a JSON object": 1,
        "not valid JSON": 1,
        "not valid UTF-8": 1,
    }
    assert [(row["id"], row["birth_date"]) for row in bench.rows("patient")] == [
        ("p1", None),
        ("p4", "1970"),
    ]
    assert outcome.summary()["rows_read"] == 8 == outcome.set_aside + 2


def test_a_value_of_another_type_than_the_column_has_is_set_aside(bench: Bench) -> None:
    bench.put("a.csv", "mrn,age", "1,41", "2,42")
    bench.source("csv", options=CSV)
    bench.run("csv")
    bench.put("b.csv", "mrn,age", "3,old", "4,44", ",45", "5,46.5")
    told = outcome_of(bench.run("csv"), "stays")
    assert told.set_aside == {"wrong type in age": 2, "missing key": 1}
    assert [(row["mrn"], row["age"]) for row in bench.rows("stays")] == [
        ("1", 41),
        ("2", 42),
        ("4", 44),
    ]


def test_a_declared_type_goes_before_a_guess(bench: Bench) -> None:
    bench.put("a.csv", "mrn,code,extra", '1,12,"{""a"": 1}"', "2,13,no")
    bench.source("csv", options=CSV | {"columns": {"code": "text", "extra": "jsonb"}})
    told = outcome_of(bench.run("csv"), "stays")
    assert told.set_aside == {"wrong type in extra": 1}
    assert [(row["code"], row["extra"]) for row in bench.rows("stays")] == [("12", {"a": 1})]


def test_a_cell_of_ten_megabytes_is_loaded_or_set_aside_above_the_limit(bench: Bench) -> None:
    big = "x" * 10_000_000
    bench.put("a.csv", "mrn,note", f"1,{big}", "2,small")
    bench.put("a.ndjson", patient("p1", gender=big), patient("p2"))
    bench.source("all", options=CSV)
    assert bench.run("all").set_aside == 0
    [size] = bench.database.query(f"select max(length(note)) as size from {SCHEMA}.stays")
    assert size["size"] == len(big)
    bench.source("less", options=CSV | {"limit-bytes": 1_000_000})
    outcome = bench.run("less")
    assert outcome_of(outcome, "stays").set_aside == {"above the size limit": 1}
    assert outcome_of(outcome, UNREADABLE).set_aside == {"above the size limit": 1}


def test_a_new_column_is_added_and_told(bench: Bench) -> None:
    bench.put("a.csv", "mrn,age", "1,41")
    bench.source("csv", options=CSV)
    assert bench.run("csv").schema_changes == ["table stays made"]
    bench.put("b.csv", "mrn,age,ward", "2,42,north")
    assert bench.run("csv").schema_changes == ["column stays.ward added (text)"]
    assert [row["ward"] for row in bench.rows("stays", "mrn")] == [None, "north"]


def test_two_sources_may_fill_one_table(bench: Bench) -> None:
    bench.put("a/x.csv", "mrn,age", "1,41")
    bench.put("b/x.csv", "mrn,age", "2,42")
    for name in "ab":
        bench.source(name, location=f"{name}/", options=CSV)
        bench.run(name)
    assert len(bench.rows("stays")) == 2
    assert [bench.run(name).summary()["rows_read"] for name in "ab"] == [0, 0]


def test_without_a_table_csv_goes_where_the_operators_words_say(bench: Bench) -> None:
    bench.put("drops/Chalmers_Peter.csv", "mrn,age", "1,41")
    bench.source("Daily Drops", location="drops/", options={"key": "mrn"})
    assert [each.table for each in bench.run("Daily Drops").tables] == ["drops"]


@pytest.mark.parametrize(
    ("options", "said"),
    [({"table": "t"}, "options.key is not set"), ({"table": "t", "key": "nhs"}, "no column nhs")],
)
def test_a_file_without_its_key_is_refused_without_its_header(
    bench: Bench, options: dict[str, str], said: str
) -> None:
    bench.put("a.csv", "Chalmers,1970-01-01", "x,y")
    bench.source("csv", options=options)
    with pytest.raises(NeedsOperator, match=said) as refused:
        bench.run("csv")
    assert "halmers" not in str(refused.value)


def test_a_torn_object_is_counted_and_read_again_when_it_is_whole(bench: Bench) -> None:
    bench.put("a.ndjson.gz", *(patient(f"p{number}") for number in range(50)))
    whole = b"".join(bench.storage.open("inbound", "a.ndjson.gz"))
    bench.storage.put("inbound", "a.ndjson.gz", whole[:-30])
    bench.put("b.ndjson", patient("q"))
    bench.source("fhir")
    assert outcome_of(bench.run("fhir"), UNREADABLE).set_aside == {
        "object damaged: its rest was not read": 1
    }
    bench.storage.put("inbound", "a.ndjson.gz", whole)
    bench.run("fhir")
    assert len(bench.rows("patient")) == 51


def test_nothing_of_a_run_stays_behind(bench: Bench) -> None:
    bench.put("a.ndjson", patient("p1"))
    bench.source("fhir")
    bench.run("fhir")
    assert bench.schemas() == {"public", SCHEMA}


def test_a_table_that_cannot_take_the_values_is_named(bench: Bench) -> None:
    bench.database.execute_all(
        [
            (f"create schema {SCHEMA}", ()),
            (f"create table {SCHEMA}.patient (id text primary key, active inet)", ()),
        ]
    )
    bench.put("a.ndjson", patient("p1", active=True))
    bench.source("fhir")
    with pytest.raises(NeedsOperator, match="column active of the existing table patient is inet"):
        bench.run("fhir")


def test_an_existing_table_of_texts_and_dates_is_filled(bench: Bench) -> None:
    bench.database.execute_all(
        [
            (f"create schema {SCHEMA}", ()),
            (f"create table {SCHEMA}.patient (id text primary key, birth_date date)", ()),
        ]
    )
    bench.put("a.ndjson", patient("p1", birthDate="1970-03-01"), patient("p2", birthDate="1970-03"))
    bench.source("fhir")
    assert outcome_of(bench.run("fhir"), "patient").set_aside == {"wrong type in birth_date": 1}
    assert bench.rows("patient")[0]["birth_date"] == date(1970, 3, 1)


def test_two_runs_of_a_pair_at_once_are_one_too_many(bench: Bench) -> None:
    bench.source("fhir")
    with (
        bench.database.lock("connector:fhir:out"),
        pytest.raises(Transient, match="another run from fhir to out is still going on"),
    ):
        bench.run("fhir")
    bench.run("fhir")


def test_a_source_without_objects_is_a_run_that_loads_nothing(bench: Bench) -> None:
    bench.source("fhir", location="nothing/")
    outcome = bench.run("fhir")
    assert (outcome.tables, outcome.load_ids) == ([], [])
    assert SCHEMA not in bench.schemas()
