"""run_connector_pipeline as Prefect runs it: what it returns, leaves behind and never tells."""

import json
import logging
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from pydantic import SecretStr

import flows.dlt_pipeline_flow as module
from clinical_ai.settings import parse
from tests.support.connector import Bench, bench

__all__ = ["bench"]
CANARY = "Chalmers-canary"


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    seen: list[dict[str, Any]] = []
    monkeypatch.setattr(
        module, "emit_event", lambda event, **told: seen.append({"event": event, **told})
    )
    return seen


@pytest.fixture(autouse=True)
def platform(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setattr(module, "open_here", lambda: bench)
    for task in ("get_row", "move", "publish"):
        patient = getattr(module, task).with_options(retry_delay_seconds=0)
        monkeypatch.setattr(module, task, patient)
    return bench


def run(source: str, destination: str = "out") -> State[dict[str, Any]]:
    return module.run_connector_pipeline(source, destination, return_state=True)


def artifacts() -> dict[str, str]:
    """The newest artifact of each key."""
    with get_client(sync_client=True) as client:
        found = client.request("POST", "/artifacts/latest/filter", json={}).json()
    return {str(each["key"]): str(each["data"]) for each in found}


def patient(ident: str, **elements: Any) -> str:
    return json.dumps({"resourceType": "Patient", "id": ident, "gender": CANARY} | elements)


def test_the_flow_has_the_name_that_the_guide_fixes() -> None:
    assert module.run_connector_pipeline.name == "run-connector-pipeline"
    assert list(module.run_connector_pipeline.parameters.properties) == ["source", "destination"]


def test_a_run_leaves_a_summary_two_artifacts_and_an_event_without_a_clinical_value(
    platform: Bench,
    events: list[dict[str, Any]],
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    platform.put(f"{CANARY}.ndjson", patient(CANARY), patient("2", birthDate=7), CANARY)
    platform.source("Ward A")
    state = run("Ward A")
    assert state.is_completed()
    told = state.result()
    assert {key: told[key] for key in ("rows_read", "rows_loaded", "rows_set_aside")} == {
        "rows_read": 3,
        "rows_loaded": 1,
        "rows_set_aside": 2,
    }
    left = artifacts()
    assert "1 of 3 rows loaded, **2 set aside**" in left["ward-a-to-out"]
    assert "wrong type in birth_date" in left["ward-a-to-out-quality"]
    [event] = events
    assert event["event"] == "clinical-ai.pipeline.finished"
    assert event["payload"] == told
    output = capfd.readouterr()
    for where in (json.dumps(left), repr(events), caplog.text, output.out, output.err):
        assert CANARY not in where


def test_an_unknown_source_fails_with_one_sentence(platform: Bench) -> None:
    platform.source("ward-a")
    state = run("ward-b")
    assert state.is_failed()
    assert "no source is named 'ward-b'. did you mean 'ward-a'?" in str(state.message)


def test_a_load_that_is_refused_fails_without_a_clinical_value(
    platform: Bench, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    platform.put("a.ndjson", patient(CANARY))
    platform.source("a")
    platform.database.execute_all(
        [
            ("create schema ward", ()),
            ("create table ward.patient (id text primary key check (length(id) < 3))", ()),
        ]
    )
    state = run("a")
    assert state.is_failed()
    assert "23514 check_violation" in str(state.message)
    output = capfd.readouterr()
    for where in (str(state.message), caplog.text, output.out, output.err):
        assert CANARY not in where


def test_a_destination_that_is_down_is_tried_again_and_then_failed(
    platform: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    wiring = {"addresses": ["127.0.0.1:1"], "credentials": "secret:wh/url"}
    platform.settings = parse({"connections": {"warehouse": wiring}})
    platform.secrets.put("secret:wh/url", SecretStr("postgresql://u:p@127.0.0.1:1/d"))
    platform.destination("far", connection="warehouse")
    platform.source("a")
    state = run("a", "far")
    assert state.is_failed()
    assert "PostgreSQL at 127.0.0.1:1/d cannot be reached" in str(state.message)
    assert caplog.text.count("Retry 3/3") == 1


def test_the_second_of_two_runs_at_once_says_so_and_does_not_wait(platform: Bench) -> None:
    platform.source("a")
    with platform.database.lock("connector:a:out"):
        state = run("a")
    assert state.is_failed()
    assert "another run from a to out is still going on" in str(state.message)
