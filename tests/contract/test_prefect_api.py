"""What steps rely on from Prefect's API, on the fake and on a real server."""

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import pytest
from pydantic import SecretStr

from clinical_ai.adapters.prefect_rest import PrefectRest
from clinical_ai.errors import NeedsOperator, Transient
from clinical_ai.ports import PrefectApi
from tests.support.fake_prefect import FakePrefect
from tests.support.prefect_server import PrefectServer


@pytest.fixture
def pool(api: PrefectApi) -> str:
    """A pool of the test's own."""
    name = f"pool-{uuid4().hex[:8]}"
    api.post("/work_pools/", {"name": name, "type": "process", "concurrency_limit": 4})
    return name


@pytest.fixture
def deployment(api: PrefectApi, pool: str) -> dict[str, Any]:
    """A deployment of the test's own, as the server gives it."""
    flow = api.post("/flows/", {"name": f"flow-{pool}"})
    body = {"name": "one", "flow_id": flow["id"], "work_pool_name": pool, "entrypoint": "a:b"}
    api.post("/deployments/", body)
    found: dict[str, Any] = api.get(f"/deployments/name/flow-{pool}/one")
    return found


def again(api: PrefectApi, deployment: dict[str, Any]) -> Any:
    return api.get(f"/deployments/name/{deployment_name(deployment)}")


def deployment_name(deployment: dict[str, Any]) -> str:
    return f"flow-{deployment['work_pool_name']}/{deployment['name']}"


@pytest.mark.parametrize(
    "path",
    [
        "/work_pools/nowhere",
        "/work_pools/nowhere/queues/default",
        "/deployments/name/nothing/never",
        "/flow_runs/00000000-0000-4000-8000-000000000000",
        "/block_types/slug/nothing",
        "/block_schemas/checksum/sha256:0",
        "/block_types/slug/nothing/block_documents/name/never",
    ],
)
def test_what_is_absent_is_none(api: PrefectApi, path: str) -> None:
    assert api.get(path) is None


@pytest.mark.parametrize("path", ["/health", "/ready", "/admin/version"])
def test_a_living_server_answers(api: PrefectApi, path: str) -> None:
    assert api.get(path)


def test_a_change_of_what_is_absent_is_refused(api: PrefectApi) -> None:
    with pytest.raises(NeedsOperator, match="does not exist any more"):
        api.patch("/work_pools/nowhere", {"is_paused": True})
    with pytest.raises(NeedsOperator, match="does not exist any more"):
        api.put(f"/automations/{uuid4()}", {"name": "a", **_automation()})
    with pytest.raises(NeedsOperator, match="knows nothing at /nowhere"):
        api.post("/nowhere/")
    assert not api.delete("/work_pools/nowhere")


def test_a_patch_changes_what_it_names_and_nothing_else(api: PrefectApi, pool: str) -> None:
    before = api.get(f"/work_pools/{pool}")
    api.patch(f"/work_pools/{pool}", {"is_paused": True})
    after = api.get(f"/work_pools/{pool}")
    assert (before["is_paused"], after["is_paused"]) == (False, True)
    assert after["concurrency_limit"] == before["concurrency_limit"] == 4
    assert after["updated"] > before["updated"]


def test_a_pool_comes_with_an_open_queue_and_goes_when_deleted(api: PrefectApi, pool: str) -> None:
    queue = api.get(f"/work_pools/{pool}/queues/default")
    assert (queue["is_paused"], queue["priority"]) == (False, 1)
    assert api.delete(f"/work_pools/{pool}")
    assert api.get(f"/work_pools/{pool}") is None


def test_a_refusal_names_the_field_and_never_the_value(api: PrefectApi) -> None:
    with pytest.raises(NeedsOperator) as refused:
        api.post("/work_pools/", {"name": "x", "type": "process", "concurrency_limit": "s3cret"})
    assert "concurrency_limit" in str(refused.value)
    assert "s3cret" not in str(refused.value)
    with pytest.raises(NeedsOperator, match=r"body\.name: Field required"):
        api.post("/flows/", {})


def test_a_pool_that_exists_is_not_made_twice(api: PrefectApi, pool: str) -> None:
    with pytest.raises(NeedsOperator, match=r"409.*already exists"):
        api.post("/work_pools/", {"name": pool, "type": "process"})


def test_a_worker_that_beat_is_online(api: PrefectApi, pool: str) -> None:
    beat = {"name": "w", "heartbeat_interval_seconds": 30}
    assert api.post(f"/work_pools/{pool}/workers/heartbeat", beat) is None
    rows = list(api.pages(f"/work_pools/{pool}/workers/filter"))
    assert [(row["name"], row["status"]) for row in rows] == [("w", "ONLINE")]


def test_a_worker_is_deleted_once_whatever_it_is_called(api: PrefectApi, pool: str) -> None:
    for name in ("w", "odd name%"):
        beat = {"name": name, "heartbeat_interval_seconds": 30}
        api.post(f"/work_pools/{pool}/workers/heartbeat", beat)
    path = f"/work_pools/{pool}/workers/{quote('odd name%', safe='')}"
    assert (api.delete(path), api.delete(path)) == (True, False)
    assert [row["name"] for row in api.pages(f"/work_pools/{pool}/workers/filter")] == ["w"]


def test_workers_of_no_pool_are_refused(api: PrefectApi) -> None:
    with pytest.raises(NeedsOperator, match="knows nothing at"):
        list(api.pages("/work_pools/nowhere/workers/filter"))


def test_more_rows_than_a_page_holds_come_each_once(
    api: PrefectApi, deployment: dict[str, Any]
) -> None:
    body = {"state": {"type": "SCHEDULED"}}
    run = api.post(f"/deployments/{deployment['id']}/create_flow_run", body)["id"]
    line = {"level": 20, "flow_run_id": run, "name": "many"}
    start = datetime.now(UTC)
    moments = [(start + timedelta(seconds=number)).isoformat() for number in range(401)]
    for half in (moments[:200], moments[200:]):
        api.post("/logs/", [{**line, "message": it, "timestamp": it} for it in half])
    wanted = {"logs": {"flow_run_id": {"any_": [run]}}, "sort": "TIMESTAMP_ASC"}
    assert [row["message"] for row in api.pages("/logs/filter", wanted)] == moments
    assert len(api.post("/logs/filter", wanted)) == 200
    assert len(api.post("/logs/filter", {**wanted, "limit": 5, "offset": 399})) == 2
    with pytest.raises(NeedsOperator, match="less than or equal to 200"):
        api.post("/logs/filter", {**wanted, "limit": 201})


def test_a_run_is_filtered_by_state_tag_and_pool(
    api: PrefectApi, deployment: dict[str, Any], pool: str
) -> None:
    body = {"state": {"type": "SCHEDULED"}, "tags": ["t"], "parameters": {"a": 1}}
    run = api.post(f"/deployments/{deployment['id']}/create_flow_run", body)
    assert (run["state_type"], run["start_time"], run["parameters"]) == (
        "SCHEDULED",
        None,
        {"a": 1},
    )
    moved = {"state": {"type": "RUNNING", "message": "off"}, "force": True}
    api.post(f"/flow_runs/{run['id']}/set_state", moved)
    for flow_runs, pools, there in (
        ({"state": {"type": {"any_": ["RUNNING"]}}}, pool, True),
        ({"state": {"type": {"any_": ["SCHEDULED"]}}}, pool, False),
        ({"state": {"type": {"any_": ["RUNNING"]}, "name": {"any_": ["Late"]}}}, pool, False),
        (
            {
                "state": {
                    "operator": "or_",
                    "type": {"any_": ["RUNNING"]},
                    "name": {"any_": ["Late"]},
                }
            },
            pool,
            True,
        ),
        ({"start_time": {"is_null_": False}}, pool, True),
        ({"tags": {"all_": ["t"]}}, pool, True),
        ({"tags": {"all_": ["t", "u"]}}, pool, False),
        ({}, "nowhere", False),
    ):
        wanted = {"flow_runs": flow_runs, "work_pools": {"name": {"any_": [pools]}}}
        found = [row["id"] for row in api.post("/flow_runs/filter", wanted)]
        assert (run["id"] in found) is there
    found = api.get(f"/flow_runs/{run['id']}")
    assert (found["state_name"], found["state"]["message"]) == ("Running", "off")
    assert found["start_time"] is not None


def test_runs_by_start_begin_with_those_that_are_due_later(
    api: PrefectApi, deployment: dict[str, Any]
) -> None:
    path, later = f"/deployments/{deployment['id']}/create_flow_run", datetime.now(UTC)
    begun = api.post(path, {"state": {"type": "SCHEDULED"}})["id"]
    api.post(f"/flow_runs/{begun}/set_state", {"state": {"type": "RUNNING"}, "force": True})
    later += timedelta(days=400)
    state = {"type": "SCHEDULED", "state_details": {"scheduled_time": later.isoformat()}}
    waiting = api.post(path, {"state": state})["id"]
    of_ours = {"flow_runs": {"deployment_id": {"any_": [deployment["id"]]}}}
    rows = api.post("/flow_runs/filter", {**of_ours, "sort": "START_TIME_DESC"})
    assert [row["id"] for row in rows] == [waiting, begun]
    assert rows[0]["start_time"] is None


def test_runs_that_began_before_a_moment_are_found_waiting_ones_by_when_they_are_due(
    api: PrefectApi, deployment: dict[str, Any]
) -> None:
    path = f"/deployments/{deployment['id']}/create_flow_run"
    begun = api.post(path, {"state": {"type": "SCHEDULED"}})["id"]
    api.post(f"/flow_runs/{begun}/set_state", {"state": {"type": "RUNNING"}, "force": True})
    submitted = api.post(path, {"state": {"type": "SCHEDULED"}})["id"]
    api.post(f"/flow_runs/{submitted}/set_state", {"state": {"type": "PENDING"}, "force": True})
    assert api.get(f"/flow_runs/{submitted}")["start_time"] is None
    for moment, there in (("2020-01-01", set()), ("2099-01-01", {begun, submitted})):
        wanted = {
            "deployment_id": {"any_": [deployment["id"]]},
            "state": {"type": {"any_": ["RUNNING", "PENDING"]}},
            "start_time": {"before_": f"{moment}T00:00:00+00:00"},
        }
        rows = api.post("/flow_runs/filter", {"flow_runs": wanted, "limit": 9})
        assert {row["id"] for row in rows} == there


def test_labels_are_added_to_those_that_are_there(
    api: PrefectApi, deployment: dict[str, Any]
) -> None:
    body = {"state": {"type": "SCHEDULED"}}
    run = api.post(f"/deployments/{deployment['id']}/create_flow_run", body)
    api.patch(f"/flow_runs/{run['id']}/labels", {"prefect.worker.name": "w"})
    labels = api.get(f"/flow_runs/{run['id']}")["labels"]
    assert labels["prefect.worker.name"] == "w"
    assert labels["prefect.deployment.id"] == deployment["id"]


def schedule(slug: str | None, cron: str = "0 5 * * *", **rest: Any) -> dict[str, Any]:
    return {"slug": slug, "schedule": {"cron": cron, "timezone": "UTC"}, **rest}


def test_schedules_sent_with_slugs_change_and_add_but_take_nothing_away(
    api: PrefectApi, deployment: dict[str, Any]
) -> None:
    path = f"/deployments/{deployment['id']}"
    api.patch(path, {"schedules": [schedule("a"), schedule("b")]})
    before = {row["slug"]: row["id"] for row in again(api, deployment)["schedules"]}
    api.patch(path, {"schedules": [schedule("b", "0 6 * * *"), schedule("c", active=False)]})
    rows = {row["slug"]: row for row in again(api, deployment)["schedules"]}
    assert rows.keys() == {"a", "b", "c"}
    assert (rows["b"]["id"], rows["b"]["schedule"]["cron"]) == (before["b"], "0 6 * * *")
    assert (rows["a"]["active"], rows["c"]["active"]) == (True, False)
    api.patch(path, {"schedules": []})
    assert len(again(api, deployment)["schedules"]) == 3
    with pytest.raises(NeedsOperator, match="provide a slug for each schedule"):
        api.patch(path, {"schedules": [schedule(None)]})


def test_a_schedule_without_a_slug_makes_the_next_list_replace_all(
    api: PrefectApi, deployment: dict[str, Any]
) -> None:
    path = f"/deployments/{deployment['id']}"
    api.patch(path, {"schedules": [schedule("a")]})
    api.post(f"{path}/schedules", [schedule(None, active=True)])
    api.patch(path, {"schedules": [schedule("c")]})
    assert [row["slug"] for row in again(api, deployment)["schedules"]] == ["c"]


def test_one_schedule_is_switched_off_or_deleted(
    api: PrefectApi, deployment: dict[str, Any]
) -> None:
    path = f"/deployments/{deployment['id']}"
    api.patch(path, {"schedules": [schedule("a"), schedule("b")]})
    ids = {row["slug"]: row["id"] for row in again(api, deployment)["schedules"]}
    api.patch(f"{path}/schedules/{ids['a']}", {"active": False})
    assert api.delete(f"{path}/schedules/{ids['b']}")
    assert not api.delete(f"{path}/schedules/{ids['b']}")
    rows = again(api, deployment)["schedules"]
    assert [(row["slug"], row["active"]) for row in rows] == [("a", False)]


def test_registering_a_deployment_again_keeps_its_id_and_brings_its_schedules_anew(
    api: PrefectApi, deployment: dict[str, Any]
) -> None:
    path = f"/deployments/{deployment['id']}"
    api.patch(path, {"schedules": [schedule("a", active=False), schedule("b")]})
    flow = api.post("/flows/", {"name": f"flow-{deployment['work_pool_name']}"})
    body = {key: deployment[key] for key in ("name", "work_pool_name", "entrypoint")}
    api.post("/deployments/", {**body, "flow_id": flow["id"], "schedules": [schedule("a")]})
    found = again(api, deployment)
    assert found["id"] == deployment["id"]
    assert [(row["slug"], row["active"]) for row in found["schedules"]] == [("a", True)]


def test_a_concurrency_limit_is_read_from_its_global_limit(
    api: PrefectApi, deployment: dict[str, Any]
) -> None:
    path = f"/deployments/{deployment['id']}"
    options = {"collision_strategy": "ENQUEUE"}
    api.patch(path, {"concurrency_limit": 2, "concurrency_options": options})
    found = again(api, deployment)
    assert found["concurrency_limit"] is None
    assert found["global_concurrency_limit"]["limit"] == 2
    assert found["concurrency_options"]["collision_strategy"] == "ENQUEUE"
    assert found["concurrency_options"]["grace_period_seconds"] is None
    api.patch(path, {"concurrency_limit": None})
    assert again(api, deployment)["global_concurrency_limit"] is None


def test_a_deployment_for_a_pool_that_is_not_there_is_refused(
    api: PrefectApi, deployment: dict[str, Any]
) -> None:
    flow = api.post("/flows/", {"name": f"flow-{deployment['work_pool_name']}"})
    body = {"name": "two", "flow_id": flow["id"], "work_pool_name": "nowhere"}
    with pytest.raises(NeedsOperator, match="knows nothing at /deployments/"):
        api.post("/deployments/", body)


def test_logs_come_by_time_and_after_the_offset(
    api: PrefectApi, deployment: dict[str, Any]
) -> None:
    body = {"state": {"type": "SCHEDULED"}}
    run = api.post(f"/deployments/{deployment['id']}/create_flow_run", body)["id"]
    start = datetime.now(UTC)
    line = {"level": 20, "flow_run_id": run, "name": "prefect.flow_runs"}
    lines = [
        {**line, "message": str(late), "timestamp": (start + timedelta(seconds=late)).isoformat()}
        for late in (2, 1)
    ]
    api.post("/logs/", lines)
    wanted = {"logs": {"flow_run_id": {"any_": [run]}}, "sort": "TIMESTAMP_ASC"}
    assert [row["message"] for row in api.post("/logs/filter", wanted)] == ["1", "2"]
    late = api.post("/logs/filter", {**wanted, "offset": 1})
    assert [row["message"] for row in late] == ["2"]


def test_an_artifact_is_found_by_its_run_and_key(
    api: PrefectApi, deployment: dict[str, Any]
) -> None:
    body = {"state": {"type": "SCHEDULED"}}
    run = api.post(f"/deployments/{deployment['id']}/create_flow_run", body)["id"]
    api.post("/artifacts/", {"key": "k", "data": "x", "flow_run_id": run})
    for key, there in (("k", ["x"]), ("other", [])):
        wanted = {"artifacts": {"flow_run_id": {"any_": [run]}, "key": {"any_": [key]}}}
        assert [row["data"] for row in api.post("/artifacts/filter", wanted)] == there


def test_an_artifact_is_changed_and_the_newest_comes_first(
    api: PrefectApi, deployment: dict[str, Any]
) -> None:
    path = f"/deployments/{deployment['id']}/create_flow_run"
    run = api.post(path, {"state": {"type": "SCHEDULED"}})["id"]
    body = {"key": "k", "type": "progress", "flow_run_id": run}
    first = api.post("/artifacts/", {**body, "data": 0.0, "description": "begun"})["id"]
    api.post("/artifacts/", {**body, "data": 1.0})
    api.patch(f"/artifacts/{first}", {"data": 50.0, "description": "half"})
    wanted = {"flow_run_id": {"any_": [run]}, "key": {"any_": ["k"]}}
    rows = api.post("/artifacts/filter", {"artifacts": wanted, "sort": "CREATED_DESC"})
    assert [(row["data"], row["description"]) for row in rows] == [(1.0, None), (50.0, "half")]
    with pytest.raises(NeedsOperator, match="does not exist any more"):
        api.patch(f"/artifacts/{uuid4()}", {"data": 1.0})


def test_a_limit_is_listed_and_freed_and_every_slot_taken_shows_as_a_later_change(
    api: PrefectApi,
) -> None:
    name, limits = f"limit-{uuid4().hex[:8]}", "/v2/concurrency_limits"
    api.post(f"{limits}/", {"name": name, "limit": 2, "active_slots": 0})
    seen = [api.get(f"{limits}/{name}")["updated"]]
    take = {"names": [name], "slots": 1, "mode": "concurrency", "lease_duration": 60}
    lease = api.post(f"{limits}/increment-with-lease", take)["lease_id"]
    [row] = [row for row in api.pages(f"{limits}/filter") if row["name"] == name]
    assert row["active_slots"] == 1
    seen.append(row["updated"])
    api.post(f"{limits}/decrement-with-lease", {"lease_id": lease})
    seen.append(api.get(f"{limits}/{row['id']}")["updated"])
    assert seen == sorted(set(seen))
    api.post(f"{limits}/increment-with-lease", take)
    api.patch(f"{limits}/{row['id']}", {"active_slots": 0})
    assert api.get(f"{limits}/{name}")["active_slots"] == 0
    with pytest.raises(NeedsOperator, match="does not exist any more"):
        api.patch(f"{limits}/{uuid4()}", {"active_slots": 0})


def test_an_automation_is_replaced_whole_and_deleted(api: PrefectApi) -> None:
    ours = {"name": f"a-{uuid4().hex[:8]}", **_automation()}
    made = api.post("/automations/", ours)
    api.put(f"/automations/{made['id']}", {**ours, "enabled": False, "description": "new"})
    wanted = {"automations": {"name": {"any_": [ours["name"]]}}}
    found = api.post("/automations/filter", wanted)
    assert [(row["id"], row["enabled"]) for row in found] == [(made["id"], False)]
    assert api.delete(f"/automations/{made['id']}")
    assert api.post("/automations/filter", wanted) == []


def _automation() -> dict[str, Any]:
    from clinical_ai.manifests.orchestration import zombie_automation

    return {**zombie_automation(), "enabled": False} | {"name": f"a-{uuid4().hex[:8]}"}


@pytest.mark.parametrize("merge", [True, False])
def test_a_block_document_is_merged_or_replaced(api: PrefectApi, merge: bool) -> None:
    slug = f"type-{uuid4().hex[:8]}"
    kind = api.post("/block_types/", {"name": slug, "slug": slug})
    fields = {"title": slug, "type": "object", "properties": {}, "block_type_slug": slug}
    schema = api.post("/block_schemas/", {"fields": fields, "block_type_id": kind["id"]})
    found = api.get(f"/block_schemas/checksum/{schema['checksum']}")
    assert (found["id"], found["block_type_id"]) == (schema["id"], kind["id"])
    body = {"block_type_id": kind["id"], "block_schema_id": schema["id"]}
    made = api.post("/block_documents/", {**body, "name": "one", "data": {"a": 1, "b": 2}})
    change = {"data": {"a": 3}, "merge_existing_data": merge, "block_schema_id": schema["id"]}
    api.patch(f"/block_documents/{made['id']}", change)
    row = api.get(f"/block_types/slug/{slug}/block_documents/name/one")
    assert row["data"] == ({"a": 3, "b": 2} if merge else {"a": 3})


def test_an_unreachable_server_is_worth_another_try() -> None:
    down = FakePrefect()
    down.down = True
    nobody = PrefectRest("http://127.0.0.1:9/api", None)
    for api in (down, nobody):
        with pytest.raises(Transient, match="no answer"):
            api.get("/health")
        with pytest.raises(Transient, match="no answer"):
            list(api.pages("/work_pools/filter"))


def test_a_wrong_password_needs_an_operator(prefect_server: PrefectServer) -> None:
    for wrong in (SecretStr("admin:wrong"), SecretStr("nonsense")):
        with pytest.raises(NeedsOperator, match="refused the password") as refused:
            prefect_server.open(wrong).get("/work_pools/filter")
        assert wrong.get_secret_value() not in str(refused.value)
