"""No clinical value leaves a run other than into the destination: not in a log, not in an error."""

import json
import logging
import traceback
from collections.abc import Callable

import pytest
from pydantic import SecretStr

from clinical_ai.adapters import fhir_search
from clinical_ai.adapters.dlt_loader import DltLoader
from clinical_ai.errors import NeedsOperator, PlatformError, Transient
from clinical_ai.settings import parse
from clinical_ai.steps import run_report
from tests.support.connector import SCHEMA, Bench
from tests.support.fhir_server import Fault, FhirTestServer

CANARY = "Chalmers-canary"


def _told(met: BaseException) -> str:
    """All that a log could print of an error, and all that hangs on it."""
    seen: list[str] = ["".join(traceback.format_exception(met)), repr(met), repr(met.args)]
    behind: BaseException | None = met.__context__
    while behind is not None:
        seen.append(repr(behind))
        behind = behind.__context__
    return "\n".join(seen)


def _patient(ident: str) -> str:
    name = [{"family": CANARY}]
    return json.dumps({"resourceType": "Patient", "id": ident, "gender": CANARY, "name": name})


def _check_constraint(bench: Bench) -> None:
    bench.database.execute(f"alter table {SCHEMA}.patient add check (id <> '{CANARY}-2')")


def _not_null(bench: Bench) -> None:
    bench.database.execute(f"alter table {SCHEMA}.patient add column hospital text not null")


def _shorter(bench: Bench) -> None:
    bench.database.execute(f"alter table {SCHEMA}.patient alter column gender type varchar(3)")


def _trigger(bench: Bench) -> None:
    bench.database.execute_all(
        [
            (
                "create function refuse() returns trigger language plpgsql as $$ begin raise"
                " exception 'row % refused', new; end $$",
                (),
            ),
            (
                f"create trigger refuse before insert on {SCHEMA}.patient"
                " for each row execute function refuse()",
                (),
            ),
        ]
    )


@pytest.mark.parametrize("spoil", [_check_constraint, _not_null, _shorter, _trigger])
def test_a_load_that_the_database_refuses_tells_no_row(
    bench: Bench,
    spoil: Callable[[Bench], None],
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    bench.source("fhir")
    bench.database.execute_all(
        [
            (f"create schema {SCHEMA}", ()),
            (f"create table {SCHEMA}.patient (id text primary key, gender text, name jsonb)", ()),
        ]
    )
    spoil(bench)
    bench.put(f"{CANARY}.ndjson", _patient("1"), _patient(f"{CANARY}-2"))
    with pytest.raises(NeedsOperator) as refused:
        bench.run("fhir")
    output = capfd.readouterr()
    for where in (_told(refused.value), caplog.text, output.out, output.err):
        assert CANARY not in where
    assert "patient" in str(refused.value)
    assert refused.value.__context__ is None


def test_a_run_over_bad_rows_tells_no_row(
    bench: Bench, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    bench.put(
        f"{CANARY}.ndjson",
        _patient(CANARY),
        f"{CANARY} is not JSON",
        json.dumps({"resourceType": CANARY, "id": "1"}),
        json.dumps({"resourceType": "Patient", CANARY: 1, "id": "2"}),
        json.dumps({"resourceType": "Patient", "birthDate": {CANARY: 1}, "id": "3"}),
        b'{"resourceType": "Patient", "id": "' + CANARY.encode() + b'\xff"}',
    )
    bench.put(f"{CANARY}.csv", "id,age", f"{CANARY},41", f"2,{CANARY}", f"{CANARY}", f'"{CANARY}')
    options = {"key": "id", "table": "stays", "columns": {"age": "bigint"}}
    bench.source("all", options=options)
    outcome = bench.run("all")
    assert outcome.set_aside == 7
    output = capfd.readouterr()
    report = run_report.metadata(outcome) + json.dumps(run_report.quality(outcome))
    for where in (report, repr(outcome), caplog.text, output.out, output.err):
        assert CANARY not in where


@pytest.mark.parametrize("status", [400, 404, 500, 302])
def test_a_fhir_server_that_fails_tells_no_query_and_no_body(
    bench: Bench,
    fhir_server: FhirTestServer,
    status: int,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr(fhir_search, "_PATIENCE", fhir_search.Patience(tries=1))
    headers = {"Location": f"{fhir_server.base}/Patient?name={CANARY}"}
    fhir_server.faults = [Fault(status, headers, body=f"{CANARY} is unknown")]
    bench.settings = parse({"connections": {"ehr": {"addresses": [fhir_server.base]}}})
    options = {"resource-types": "Patient", "query": {"name": CANARY}}
    bench.source("ehr", "fhir-search", location=fhir_server.base, connection="ehr", options=options)
    with pytest.raises(PlatformError) as refused:
        bench.run("ehr")
    output = capfd.readouterr()
    for where in (str(refused.value), caplog.text, output.out, output.err):
        assert CANARY not in where


def test_a_destination_that_is_down_is_one_clear_sentence_without_a_password(bench: Bench) -> None:
    settings = {"addresses": ["127.0.0.1:1"], "credentials": "secret:wh/url"}
    bench.settings = parse({"connections": {"warehouse": settings}})
    bench.secrets.put("secret:wh/url", SecretStr(f"postgresql://u:{CANARY}@127.0.0.1:1/d"))
    bench.destination("far", connection="warehouse")
    bench.put("a.ndjson", _patient("1"))
    bench.source("fhir")
    with pytest.raises(Transient, match=r"127\.0\.0\.1:1/d cannot be reached") as refused:
        bench.run("fhir", "far")
    assert CANARY not in _told(refused.value)


def test_a_destination_that_goes_down_in_the_middle_is_transient(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def elsewhere(_: DltLoader) -> str:
        return f"postgresql://u:{CANARY}@127.0.0.1:1/d"

    bench.put("a.ndjson", _patient("1"))
    bench.source("fhir")
    with monkeypatch.context() as patched:
        patched.setattr(DltLoader, "_url_for_dlt", elsewhere)
        with pytest.raises(Transient) as met:
            bench.run("fhir")
    assert CANARY not in _told(met.value)
    assert bench.run("fhir").summary()["rows_loaded"] == 1


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://u:p@127.0.0.1:2/d", "not among its addresses"),
        ("postgresql://u:p@127.0.0.1:1/d?hostaddr=10.0.0.1", "not among its addresses"),
        ("postgresql://u:p@127.0.0.1:1/d?service=x", "not among its addresses"),
        ("not a url", "cannot be read"),
    ],
)
def test_credentials_that_lead_elsewhere_are_refused(bench: Bench, url: str, said: str) -> None:
    settings = {"addresses": ["127.0.0.1:1"], "credentials": "secret:wh/url"}
    bench.settings = parse({"connections": {"warehouse": settings}})
    bench.secrets.put("secret:wh/url", SecretStr(url))
    bench.destination("far", connection="warehouse")
    bench.source("fhir")
    with pytest.raises(NeedsOperator) as refused:
        bench.run("fhir", "far")
    assert said in str(refused.value).replace("a place that is ", "")


def test_the_users_own_dlt_files_and_variables_take_no_part(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DESTINATION__POSTGRES__CREDENTIALS", "postgresql://u:p@127.0.0.1:1/d")
    monkeypatch.setenv("CREDENTIALS", "postgresql://u:p@127.0.0.1:1/d")
    monkeypatch.setenv("NORMALIZE__PARQUET_NORMALIZER__ADD_DLT_LOAD_ID", "false")
    monkeypatch.setenv("DLT_DATA_DIR", "/nowhere")
    bench.put("a.ndjson", _patient("1"))
    bench.source("fhir")
    assert bench.run("fhir").summary()["rows_loaded"] == 1
    assert bench.run("fhir").summary()["rows_read"] == 0


def test_dlt_sends_nothing_home(bench: Bench) -> None:
    from dlt.common.runtime import anon_tracker

    bench.put("a.ndjson", _patient("1"))
    bench.source("fhir")
    bench.run("fhir")
    assert anon_tracker._ANON_TRACKER_ENDPOINT is None
