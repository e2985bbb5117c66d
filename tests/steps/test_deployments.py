"""Deployments are registered with the fewest writes; what an operator changed in the UI stays."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clinical_ai import names
from clinical_ai.adapters.prefect_rest import PrefectRest
from clinical_ai.change import Change, Did
from clinical_ai.deployment_plan import Wanted, from_rendered
from clinical_ai.errors import NeedsOperator
from clinical_ai.ports import PrefectApi
from clinical_ai.steps.registration import ensure_deployments
from clinical_ai.steps.runs import get_deployment
from tests.support.fake_prefect import FakePrefect
from tests.support.platform import CHECKOUT
from tests.support.prefect_server import PrefectServer

Row = dict[str, Any]
DAILY: Final[Row] = {"slug": "daily", "schedule": {"cron": "0 5 * * *", "timezone": "UTC"}}
WEEKLY: Final[Row] = {"slug": "weekly", "schedule": {"cron": "0 6 * * 1", "timezone": "UTC"}}


def example(pool: str) -> Row:
    return {
        "flow_name": f"flow-{pool}",
        "name": "one",
        "entrypoint": "flows/canary.py:canary",
        "path": None,
        "version": "1",
        "description": "first",
        "tags": ["owner:team", "a"],
        "parameters": {"n": 1},
        "parameter_openapi_schema": {"type": "object", "properties": {"n": {"type": "integer"}}},
        "enforce_parameter_schema": True,
        "pull_steps": [],
        "job_variables": {},
        "work_pool_name": pool,
        "work_queue_name": "default",
        "concurrency_limit": 1,
        "concurrency_options": {"collision_strategy": "ENQUEUE"},
        "schedules": [DAILY, WEEKLY],
    }


@pytest.fixture
def wanted(api: PrefectApi) -> Row:
    """A deployment for a pool of the test's own, not registered yet."""
    pool = f"pool-{uuid4().hex[:8]}"
    api.post("/work_pools/", {"name": pool, "type": "process"})
    return example(pool)


def as_wanted(row: Row) -> Wanted:
    """A file that names every field."""
    body = {key: value for key, value in row.items() if key != "flow_name"}
    return Wanted(f"{row['flow_name']}/{row['name']}", body, frozenset(body))


def ensure(api: PrefectApi, rows: Sequence[Row], *, write: bool = True) -> list[Change]:
    return ensure_deployments(api, [as_wanted(row) for row in rows], "a test", write=write)


def release(rendered: Row) -> list[Wanted]:
    return [from_rendered(raw, "prefect.yaml") for raw in rendered["deployments"]]


def registered(api: PrefectApi, wanted: Mapping[str, Any]) -> Row:
    return get_deployment(api, f"{wanted['flow_name']}/{wanted['name']}")


def schedules(api: PrefectApi, wanted: Mapping[str, Any]) -> dict[str | None, Row]:
    return {row["slug"]: row for row in registered(api, wanted)["schedules"]}


def ensured(api: PrefectApi, wanted: Mapping[str, Any]) -> tuple[Did, str]:
    change = ensure(api, [wanted])[0]
    return change.did, change.detail


def test_what_is_wanted_is_registered_in_full(api: PrefectApi, wanted: Row) -> None:
    assert ensured(api, wanted) == (Did.CREATED, "")
    found = registered(api, wanted)
    for field in ("entrypoint", "tags", "parameters", "work_pool_name", "description", "version"):
        assert found[field] == wanted[field]
    assert found["global_concurrency_limit"]["limit"] == 1
    assert schedules(api, wanted).keys() == {"daily", "weekly"}
    assert all(row["active"] for row in found["schedules"])


def test_an_unchanged_deployment_is_not_written(api: PrefectApi, wanted: Row) -> None:
    ensure(api, [wanted])
    before = registered(api, wanted)
    assert ensured(api, wanted) == (Did.UNCHANGED, "")
    assert registered(api, wanted) == before


def test_report_only_writes_nothing(api: PrefectApi, wanted: Row) -> None:
    assert ensure(api, [wanted], write=False)[0].did is Did.CREATED
    with pytest.raises(NeedsOperator, match="is not registered"):
        registered(api, wanted)
    ensure(api, [wanted])
    before = registered(api, wanted)
    change = ensure(api, [{**wanted, "description": "second"}], write=False)[0]
    assert (change.did, change.detail) == (Did.UPDATED, "description")
    assert registered(api, wanted) == before


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("description", "second"),
        ("entrypoint", "flows/deploy.py:deploy"),
        ("tags", ["owner:team", "a", "b"]),
        ("parameters", {"n": 2}),
        ("job_variables", {"env": {"A": "b"}}),
        ("pull_steps", [{"prefect.deployments.steps.set_working_directory": {"directory": "."}}]),
        ("concurrency_limit", 3),
        ("concurrency_options", {"collision_strategy": "CANCEL_NEW"}),
    ],
)
def test_only_the_field_that_changed_is_written(
    api: PrefectApi, wanted: Row, field: str, value: Any
) -> None:
    ensure(api, [wanted])
    before = registered(api, wanted)
    other = {**wanted, field: value}
    did, detail = ensured(api, other)
    assert did is Did.UPDATED
    assert field in detail
    after = registered(api, wanted)
    different = {key for key in after if after[key] != before.get(key)}
    assert different <= {field, "global_concurrency_limit", "updated", "concurrency_options"}
    assert ensured(api, other) == (Did.UNCHANGED, "")


def test_a_concurrency_limit_is_taken_away_and_given_back(api: PrefectApi, wanted: Row) -> None:
    ensure(api, [wanted])
    none = {**wanted, "concurrency_limit": None, "concurrency_options": None}
    assert ensured(api, none)[0] is Did.UPDATED
    assert registered(api, wanted)["global_concurrency_limit"] is None
    assert ensured(api, none) == (Did.UNCHANGED, "")
    assert ensured(api, wanted)[0] is Did.UPDATED
    assert registered(api, wanted)["global_concurrency_limit"]["limit"] == 1


def test_a_schedule_switched_off_in_the_ui_stays_off(api: PrefectApi, wanted: Row) -> None:
    ensure(api, [wanted])
    found, daily = registered(api, wanted), schedules(api, wanted)["daily"]
    api.patch(f"/deployments/{found['id']}/schedules/{daily['id']}", {"active": False})
    assert ensured(api, wanted) == (Did.UNCHANGED, "")
    later = {"slug": "weekly", "schedule": {"cron": "0 7 * * 1", "timezone": "UTC"}}
    assert ensured(api, {**wanted, "schedules": [DAILY, later]}) == (Did.UPDATED, "schedules")
    after = schedules(api, wanted)
    assert after["daily"]["active"] is False
    assert after["weekly"]["schedule"]["cron"] == "0 7 * * 1"


def test_a_schedule_that_the_file_switches_off_is_off(api: PrefectApi, wanted: Row) -> None:
    ensure(api, [wanted])
    off = {**wanted, "schedules": [{**DAILY, "active": False}, WEEKLY]}
    assert ensured(api, off) == (Did.UPDATED, "schedules")
    assert [schedules(api, wanted)[slug]["active"] for slug in ("daily", "weekly")] == [False, True]
    assert ensured(api, off) == (Did.UNCHANGED, "")


def test_a_schedule_added_in_the_ui_is_kept(api: PrefectApi, wanted: Row) -> None:
    ensure(api, [wanted])
    path = f"/deployments/{registered(api, wanted)['id']}/schedules"
    by_hand = {"slug": "by-hand", "schedule": {"interval": 3600}, "active": True}
    api.post(path, [by_hand])
    assert ensured(api, wanted) == (Did.UNCHANGED, "")
    extra = {"slug": "extra", "schedule": {"cron": "1 1 * * *", "timezone": "UTC"}}
    more = {**wanted, "schedules": [DAILY, WEEKLY, extra]}
    assert ensured(api, more) == (Did.UPDATED, "schedules")
    assert schedules(api, wanted).keys() == {"daily", "weekly", "extra", "by-hand"}
    assert schedules(api, wanted)["by-hand"]["schedule"]["interval"] == 3600
    assert ensured(api, more) == (Did.UNCHANGED, "")


def test_schedules_added_in_the_ui_without_a_slug_are_all_kept(
    api: PrefectApi, wanted: Row
) -> None:
    ensure(api, [wanted])
    path = f"/deployments/{registered(api, wanted)['id']}/schedules"
    for seconds in (3600, 7200):
        api.post(path, [{"schedule": {"interval": seconds}, "active": True}])
    extra = {"slug": "extra", "schedule": {"cron": "1 1 * * *", "timezone": "UTC"}}
    ensure(api, [{**wanted, "schedules": [DAILY, WEEKLY, extra]}])
    found = registered(api, wanted)["schedules"]
    assert sorted(row["schedule"].get("interval", 0) for row in found) == [0, 0, 0, 3600, 7200]


def test_a_deployment_of_somebody_else_is_left_alone(api: PrefectApi, wanted: Row) -> None:
    theirs = {**wanted, "name": "theirs"}
    ensure(api, [theirs])
    before = registered(api, theirs)
    ensure(api, [wanted])
    assert registered(api, theirs) == before


_CRON = st.sampled_from(["0 5 * * *", "0 6 * * *"])
_FILE = st.dictionaries(
    st.sampled_from("abc"), st.tuples(_CRON, st.sampled_from([None, True, False])), max_size=3
)
_UI = st.dictionaries(st.sampled_from("abcd"), st.tuples(_CRON, st.booleans()), max_size=4)
_FIELD = st.sampled_from(["x", "y"])


@settings(deadline=None, max_examples=200)
@given(first=_FILE, ui=_UI, then=_FILE, before=_FIELD, after=_FIELD)
def test_whatever_was_there_registering_brings_the_file_and_keeps_the_operators_part(
    first: Mapping[str, Any],
    ui: Mapping[str, Any],
    then: Mapping[str, Any],
    before: str,
    after: str,
) -> None:
    """The model: the file rules timing and what it says about active; all else is as it was."""
    api = FakePrefect()
    api.post("/work_pools/", {"name": "p", "type": "process"})
    wanted = {**example("p"), "description": before, "schedules": _as_file(first)}
    ensure(api, [wanted])
    row = next(iter(api.deployments.values()))
    for slug, (cron, active) in ui.items():
        known = {schedule["slug"]: schedule for schedule in row["schedules"]}
        body = {"schedule": {"cron": cron, "timezone": "UTC"}, "active": active}
        if slug in known:
            api.patch(f"/deployments/{row['id']}/schedules/{known[slug]['id']}", body)
        else:
            api.post(f"/deployments/{row['id']}/schedules", [{**body, "slug": slug}])
    there = {s["slug"]: (s["schedule"]["cron"], s["active"]) for s in row["schedules"]}
    stamps = [row["updated"], *(schedule["updated"] for schedule in row["schedules"])]
    wanted = {**wanted, "description": after, "schedules": _as_file(then)}
    change = ensure(api, [wanted])[0]

    model = dict(there)
    for slug, (cron, active) in then.items():
        was = there.get(slug, (cron, True))[1]
        model[slug] = (cron, was if active is None else active)
    assert {s["slug"]: (s["schedule"]["cron"], s["active"]) for s in row["schedules"]} == model
    assert row["description"] == after
    assert change.wrote == (model != there or before != after)
    after = [row["updated"], *(schedule["updated"] for schedule in row["schedules"])]
    assert (after != stamps) == change.wrote
    assert not ensure(api, [wanted])[0].wrote


def _as_file(schedules: Mapping[str, Any]) -> list[Row]:
    return [
        {"slug": slug, "schedule": {"cron": cron, "timezone": "UTC"}}
        | ({} if active is None else {"active": active})
        for slug, (cron, active) in schedules.items()
    ]


def test_prefects_own_deploy_and_ours_register_the_same(
    prefect_server: PrefectServer, rendered: Row
) -> None:
    api = prefect_server.open()
    for name in (names.POOL, names.PLATFORM_POOL):
        if api.get(f"/work_pools/{name}") is None:
            api.post("/work_pools/", {"name": name, "type": "process"})
    _deploy_all(prefect_server)
    theirs = [_fields(api, raw) for raw in rendered["deployments"]]
    assert {change.did for change in ensure_deployments(api, release(rendered), "a test")} == {
        Did.UNCHANGED
    }
    _delete_all(api, rendered)
    ensure_deployments(api, release(rendered), "a test")
    assert [_fields(api, raw) for raw in rendered["deployments"]] == theirs
    _delete_all(api, rendered)


def _deploy_all(server: PrefectServer) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"],
        cwd=CHECKOUT,
        env={
            "PATH": "/usr/bin:/bin",
            "HOME": str(server.folder),
            "PREFECT_HOME": str(server.folder),
            "PREFECT_API_URL": server.url,
            "PREFECT_API_AUTH_STRING": server.auth.get_secret_value(),
            "DO_NOT_TRACK": "1",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def _fields(api: PrefectApi, raw: Row) -> Row:
    """What both tools decide; ids and times aside."""
    found = get_deployment(api, f"{raw['flow_name']}/{raw['body']['name']}")
    kept = {
        key: found[key]
        for key in raw["body"]
        if key in found and key not in {"schedules", "concurrency_limit"}
    }
    kept["limit"] = (found["global_concurrency_limit"] or {}).get("limit")
    kept["schedules"] = [
        {key: row[key] for key in ("slug", "schedule", "active", "parameters")}
        for row in found["schedules"]
    ]
    return json.loads(json.dumps(kept))  # type: ignore[no-any-return]


def _delete_all(api: PrefectRest, rendered: Row) -> None:
    for wanted in release(rendered):
        api.delete(f"/deployments/{get_deployment(api, wanted.full_name)['id']}")
