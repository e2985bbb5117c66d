"""Steps against the Prefect server of a real platform."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from pydantic import SecretStr

from clinical_ai import names
from clinical_ai.adapters.prefect_rest import PrefectRest
from clinical_ai.change import Did
from clinical_ai.errors import ManyFaults, NeedsOperator, Transient
from clinical_ai.ports import PrefectApi
from clinical_ai.settings import Development, Production
from clinical_ai.steps.orchestration import ensure_automation, ensure_pools
from clinical_ai.steps.registration import ensure_deployments
from clinical_ai.steps.runs import (
    find_tagged_run,
    follow_run,
    get_deployment,
    get_run,
    runs_in,
    settle_lost_runs,
    start_run,
)
from clinical_ai.steps.settings_block import (
    find_settings,
    get_settings,
    save_settings,
)
from clinical_ai.waiting import Sighting, wait_until
from tests.support.platform import Site

pytestmark = pytest.mark.platform


@pytest.fixture
def api(site: Site) -> PrefectApi:
    return site.platform.api


@pytest.fixture
def pool(api: PrefectApi) -> Iterator[str]:
    """A pool that no worker serves, so that its runs stay as a test puts them."""
    name = f"test-{uuid4().hex[:8]}"
    api.post("/work_pools/", {"name": name, "type": "process", "base_job_template": {}})
    yield name
    api.delete(f"/work_pools/{name}")


@pytest.fixture
def wanted(api: PrefectApi, pool: str) -> Iterator[dict[str, Any]]:
    """A deployment to that pool, gone afterwards if a test registers it."""
    yield _wanted(pool)
    found = api.get(f"/deployments/name/flow-{pool}/one")
    if found:
        api.delete(f"/deployments/{found['id']}")


def _wanted(pool: str) -> dict[str, Any]:
    return {
        "flow_name": f"flow-{pool}",
        "name": "one",
        "entrypoint": "flows/canary.py:canary",
        "path": None,
        "version": "1",
        "description": "first",
        "tags": ["a"],
        "parameters": {},
        "parameter_openapi_schema": {"type": "object", "properties": {}},
        "enforce_parameter_schema": True,
        "pull_steps": [],
        "job_variables": {},
        "work_pool_name": pool,
        "work_queue_name": "default",
        "concurrency_limit": 1,
        "concurrency_options": {"collision_strategy": "ENQUEUE"},
        "schedules": [
            {"slug": "daily", "schedule": {"cron": "0 5 * * *", "timezone": "UTC"}},
            {"slug": "weekly", "schedule": {"cron": "0 6 * * 1", "timezone": "UTC"}},
        ],
    }


def registered(api: PrefectApi, wanted: dict[str, Any]) -> dict[str, Any]:
    return get_deployment(api, f"{wanted['flow_name']}/{wanted['name']}")


def test_an_unchanged_deployment_is_not_written(api: PrefectApi, wanted: dict[str, Any]) -> None:
    assert ensure_deployments(api, [wanted])[0].did is Did.CREATED
    before = registered(api, wanted)
    assert ensure_deployments(api, [wanted])[0].did is Did.UNCHANGED
    assert registered(api, wanted)["updated"] == before["updated"]


def test_report_only_writes_nothing(api: PrefectApi, wanted: dict[str, Any]) -> None:
    assert ensure_deployments(api, [wanted], write=False)[0].did is Did.CREATED
    with pytest.raises(NeedsOperator, match="is not registered"):
        registered(api, wanted)
    ensure_deployments(api, [wanted])
    changed = {**wanted, "description": "second"}
    assert ensure_deployments(api, [changed], write=False)[0].detail == "description"
    assert registered(api, wanted)["description"] == "first"


def test_only_the_field_that_changed_is_written_and_schedules_keep_their_ids(
    api: PrefectApi, wanted: dict[str, Any]
) -> None:
    ensure_deployments(api, [wanted])
    before = registered(api, wanted)
    change = ensure_deployments(api, [{**wanted, "description": "second"}])[0]
    after = registered(api, wanted)
    assert (change.did, change.detail) == (Did.UPDATED, "description")
    assert after["description"] == "second"
    assert {s["id"] for s in after["schedules"]} == {s["id"] for s in before["schedules"]}


def test_a_schedule_switched_off_stays_off_and_one_added_by_hand_is_kept(
    api: PrefectApi, wanted: dict[str, Any]
) -> None:
    ensure_deployments(api, [wanted])
    found = registered(api, wanted)
    daily = next(s for s in found["schedules"] if s["slug"] == "daily")
    path = f"/deployments/{found['id']}/schedules"
    api.patch(f"{path}/{daily['id']}", {"active": False})
    by_hand = {"slug": "by-hand", "schedule": {"interval": 3600}, "active": True}
    api.post(path, [by_hand])
    moved = {
        **wanted,
        "schedules": [
            wanted["schedules"][0],
            {"slug": "weekly", "schedule": {"cron": "0 7 * * 1", "timezone": "UTC"}},
        ],
    }
    assert ensure_deployments(api, [moved])[0].detail == "schedules"
    schedules = {s["slug"]: s for s in registered(api, wanted)["schedules"]}
    assert schedules["daily"]["active"] is False
    assert schedules["weekly"]["schedule"]["cron"] == "0 7 * * 1"
    assert schedules["by-hand"]["active"] is True
    assert ensure_deployments(api, [moved])[0].did is Did.UNCHANGED


def test_a_schedule_that_the_file_switches_off_is_switched_off(
    api: PrefectApi, wanted: dict[str, Any]
) -> None:
    ensure_deployments(api, [wanted])
    off = {**wanted, "schedules": [{**wanted["schedules"][0], "active": False}]}
    ensure_deployments(api, [off])
    schedules = {s["slug"]: s["active"] for s in registered(api, wanted)["schedules"]}
    assert schedules["daily"] is False


def test_a_concurrency_limit_is_changed_and_taken_away(
    api: PrefectApi, wanted: dict[str, Any]
) -> None:
    ensure_deployments(api, [wanted])
    ensure_deployments(api, [{**wanted, "concurrency_limit": 3}])
    assert registered(api, wanted)["global_concurrency_limit"]["limit"] == 3
    none = {**wanted, "concurrency_limit": None, "concurrency_options": None}
    ensure_deployments(api, [none])
    assert registered(api, wanted)["global_concurrency_limit"] is None
    assert ensure_deployments(api, [none])[0].did is Did.UNCHANGED


def test_a_pool_is_made_then_changed_only_where_it_differs(api: PrefectApi) -> None:
    name = f"made-{uuid4().hex[:8]}"
    ours = {"name": name, "type": "process", "concurrency_limit": 2, "base_job_template": {}}
    assert ensure_pools(api, [ours], write=False)[0].did is Did.CREATED
    assert api.get(f"/work_pools/{name}") is None
    assert ensure_pools(api, [ours])[0].did is Did.CREATED
    api.patch(f"/work_pools/{name}", {"is_paused": True})
    assert ensure_pools(api, [ours])[0].did is Did.UNCHANGED
    more = {**ours, "concurrency_limit": 5}
    assert ensure_pools(api, [more], write=False)[0].detail == "concurrency_limit"
    assert ensure_pools(api, [more])[0].did is Did.UPDATED
    found = api.get(f"/work_pools/{name}")
    assert (found["concurrency_limit"], found["is_paused"]) == (5, True)
    with pytest.raises(NeedsOperator, match="is of type process"):
        ensure_pools(api, [{**ours, "type": "kubernetes"}])
    assert api.delete(f"/work_pools/{name}")
    assert not api.delete(f"/work_pools/{name}")


def test_an_automation_is_made_once_and_corrected(api: PrefectApi) -> None:
    from clinical_ai.manifests.orchestration import zombie_automation

    ours = {**zombie_automation(), "name": f"test-{uuid4().hex[:8]}", "enabled": False}
    assert ensure_automation(api, ours, write=False).did is Did.CREATED
    assert ensure_automation(api, ours).did is Did.CREATED
    assert ensure_automation(api, ours).did is Did.UNCHANGED
    other = {**ours, "description": "another"}
    assert ensure_automation(api, other, write=False).detail == "description"
    assert ensure_automation(api, other).did is Did.UPDATED
    found = api.post("/automations/filter", {"automations": {"name": {"any_": [ours["name"]]}}})
    assert [row["description"] for row in found] == ["another"]
    api.delete(f"/automations/{found[0]['id']}")


def test_settings_come_back_from_the_block_as_they_were_saved(site: Site, api: PrefectApi) -> None:
    before, checksum = get_settings(api), site.platform.rendered["block"]["checksum"]
    assert save_settings(api, before, checksum).did is Did.UNCHANGED
    for other in (Production(aws_region="eu-central-1"), Development(worker_concurrency=9)):
        assert save_settings(api, other, checksum).did is Did.UPDATED
        assert find_settings(api) == other
    save_settings(api, before, checksum)
    assert get_settings(api) == before


def test_a_block_edited_wrongly_is_told_with_its_name(site: Site, api: PrefectApi) -> None:
    before, checksum = get_settings(api), site.platform.rendered["block"]["checksum"]
    path = f"/block_types/slug/{names.SETTINGS_BLOCK_TYPE}/block_documents/name"
    row = api.get(f"{path}/{names.SETTINGS_BLOCK}")
    wrong = {**row["data"], "log_level": "LOUD"}
    api.patch(f"/block_documents/{row['id']}", {"data": wrong, "merge_existing_data": False})
    with pytest.raises(ManyFaults, match=r"block .* log-level"):
        get_settings(api)
    cleared = {**row["data"], "log_level": None, "connections": {}, "minio_endpoint": ""}
    api.patch(f"/block_documents/{row['id']}", {"data": cleared, "merge_existing_data": False})
    assert get_settings(api).log_level == "INFO"
    save_settings(api, before, checksum)


def test_runs_without_a_process_are_settled_by_how_far_they_came(
    api: PrefectApi, wanted: dict[str, Any], pool: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(_workers(), pool, "this-worker")
    ensure_deployments(api, [{**wanted, "concurrency_limit": None, "concurrency_options": None}])
    full_name = f"{wanted['flow_name']}/{wanted['name']}"
    runs = {
        state: start_run(api, full_name, {})
        for state in ("PENDING", "RUNNING", "CANCELLING", "living", "foreign")
    }
    for state, run in runs.items():
        kind = state if state.isupper() else "RUNNING"
        body = {"state": {"type": kind}, "force": True}
        api.post(f"/flow_runs/{run}/set_state", body)
    api.patch(f"/flow_runs/{runs['foreign']}/labels", {"prefect.worker.name": "elsewhere"})
    settle_lost_runs(api, pool, {runs["living"]})
    assert {state: get_run(api, run).state for state, run in runs.items()} == {
        "PENDING": "SCHEDULED",
        "RUNNING": "CRASHED",
        "CANCELLING": "CANCELLED",
        "living": "RUNNING",
        "foreign": "RUNNING",
    }
    assert {row["id"] for row in runs_in(api, pool)} == {runs["living"], runs["foreign"]}


def _workers() -> dict[str, str]:
    from clinical_ai.steps import runs

    return runs._WORKERS


def test_a_tagged_run_is_found_completed_first_then_under_way(
    api: PrefectApi, wanted: dict[str, Any]
) -> None:
    ensure_deployments(api, [wanted])
    full_name = f"{wanted['flow_name']}/{wanted['name']}"
    assert find_tagged_run(api, full_name, "t") is None
    waiting = start_run(api, full_name, {}, tags=["t"])
    found = find_tagged_run(api, full_name, "t")
    assert found is not None
    assert (found.id, found.state) == (waiting, "SCHEDULED")
    done = start_run(api, full_name, {}, tags=["t"])
    api.post(f"/flow_runs/{done}/set_state", {"state": {"type": "COMPLETED"}, "force": True})
    found = find_tagged_run(api, full_name, "t")
    assert found is not None
    assert (found.id, found.completed) == (done, True)


def test_following_a_run_tells_what_its_flow_logs(api: PrefectApi, wanted: dict[str, Any]) -> None:
    ensure_deployments(api, [wanted])
    run = start_run(api, f"{wanted['flow_name']}/{wanted['name']}", {})
    line = {"level": 20, "timestamp": datetime.now(UTC).isoformat(), "flow_run_id": run}
    api.post(
        "/logs/",
        [
            {**line, "name": "prefect.flow_runs", "message": "from the flow"},
            {**line, "name": "prefect.task_runs", "message": "from a task"},
        ],
    )
    logs = {"logs": {"flow_run_id": {"any_": [run]}}}
    wait_until(
        "the log",
        lambda: Sighting(len(api.post("/logs/filter", logs)) == 2, "not there yet"),
        seconds=30,
    )
    state = {"type": "FAILED", "message": "no luck"}
    api.post(f"/flow_runs/{run}/set_state", {"state": state, "force": True})
    heard: list[str] = []
    ended = follow_run(api, run, seconds=30, tell=heard.append)
    assert (ended.state, ended.message, ended.completed) == ("FAILED", "no luck", False)
    assert heard == ["from the flow"]


def test_a_run_that_does_not_exist_is_told(api: PrefectApi) -> None:
    with pytest.raises(NeedsOperator, match="does not exist any more"):
        get_run(api, str(uuid4()))


def test_a_refusal_names_the_field_and_never_the_value(api: PrefectApi) -> None:
    with pytest.raises(NeedsOperator) as refused:
        api.post("/work_pools/", {"name": "x", "type": "process", "concurrency_limit": "s3cret"})
    assert "concurrency_limit" in str(refused.value)
    assert "s3cret" not in str(refused.value)


def test_absent_is_none_and_a_change_of_what_is_absent_is_told(api: PrefectApi) -> None:
    assert api.get("/work_pools/nowhere") is None
    with pytest.raises(NeedsOperator, match="does not exist any more"):
        api.patch("/work_pools/nowhere", {"is_paused": True})
    with pytest.raises(NeedsOperator, match="Prefect knows nothing at"):
        api.post("/nowhere/")


def test_a_wrong_password_and_a_closed_port_are_told_apart(site: Site) -> None:
    url = site.platform.instance.api_url
    with pytest.raises(NeedsOperator, match="refused the password"):
        PrefectRest(url, SecretStr("admin:wrong")).get("/work_pools/default")
    with pytest.raises(Transient, match="no answer"):
        PrefectRest("http://127.0.0.1:9/api", None).get("/health")


def test_all_pages_are_read(api: PrefectApi, wanted: dict[str, Any]) -> None:
    ensure_deployments(api, [wanted])
    found = registered(api, wanted)
    later = (datetime.now(UTC) + timedelta(days=400)).isoformat()
    for number in range(201):
        state = {"type": "SCHEDULED", "state_details": {"scheduled_time": later}}
        body = {"state": state, "tags": ["many"], "name": f"many-{number}"}
        api.post(f"/deployments/{found['id']}/create_flow_run", body)
    many = api.pages("/flow_runs/filter", {"flow_runs": {"tags": {"all_": ["many"]}}})
    assert len({row["id"] for row in many}) == 201
