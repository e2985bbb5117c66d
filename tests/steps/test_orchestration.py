"""Work pools and the zombie automation are corrected where they differ, and nowhere else."""

from typing import Any, cast
from uuid import uuid4

import pytest

from clinical_ai import names
from clinical_ai.change import Did
from clinical_ai.errors import NeedsOperator
from clinical_ai.manifests.orchestration import zombie_automation
from clinical_ai.ports import PrefectApi
from clinical_ai.steps.orchestration import (
    ensure_automation,
    ensure_pools,
    find_workers,
    job_templates,
    put_back_templates,
)

Row = dict[str, Any]


@pytest.fixture
def wanted() -> Row:
    template = {
        "job_configuration": {"command": "{{ command }}"},
        "variables": {"type": "object", "properties": {"command": {"default": "a"}}},
    }
    return {
        "name": f"pool-{uuid4().hex[:8]}",
        "type": "process",
        "description": "ours",
        "concurrency_limit": 2,
        "base_job_template": template,
    }


def pool(api: PrefectApi, wanted: Row) -> Any:
    return api.get(f"/work_pools/{wanted['name']}")


def test_a_job_template_is_put_back_and_a_pool_that_has_its_own_is_not_written(
    api: PrefectApi, wanted: Row
) -> None:
    ensure_pools(api, [wanted])
    before = pool(api, wanted)
    good = job_templates(api, [wanted["name"], "no-such-pool"])
    assert good == {wanted["name"]: wanted["base_job_template"]}
    assert put_back_templates(api, good) == []
    assert pool(api, wanted)["updated"] == before["updated"]
    api.patch(
        f"/work_pools/{wanted['name']}",
        {
            "base_job_template": {
                **wanted["base_job_template"],
                "job_configuration": {"command": "x"},
            }
        },
    )
    assert put_back_templates(api, good) == [wanted["name"]]
    assert pool(api, wanted)["base_job_template"] == wanted["base_job_template"]


def test_a_template_that_cannot_be_put_back_is_told(
    api: PrefectApi, wanted: Row, caplog: pytest.LogCaptureFixture
) -> None:
    ensure_pools(api, [wanted])

    class Stopped:
        def get(self, path: str) -> Any:
            return {"base_job_template": {}}

        def patch(self, path: str, body: object) -> None:
            raise NeedsOperator("self-management is stopped: moving", "wait")

    assert put_back_templates(cast(PrefectApi, Stopped()), {wanted["name"]: {"a": 1}}) == []
    assert f"of pool {wanted['name']} is not put back: self-management is stopped" in caplog.text


def test_a_pool_is_made_once(api: PrefectApi, wanted: Row) -> None:
    assert ensure_pools(api, [wanted])[0].did is Did.CREATED
    before = pool(api, wanted)
    assert {key: before[key] for key in wanted} == wanted
    assert ensure_pools(api, [wanted])[0].did is Did.UNCHANGED
    assert pool(api, wanted) == before


def test_only_what_differs_is_corrected_and_a_paused_pool_stays_paused(
    api: PrefectApi, wanted: Row
) -> None:
    ensure_pools(api, [wanted])
    api.patch(f"/work_pools/{wanted['name']}", {"is_paused": True, "concurrency_limit": 50})
    change = ensure_pools(api, [wanted])[0]
    assert (change.did, change.detail) == (Did.UPDATED, "concurrency_limit")
    assert pool(api, wanted)["concurrency_limit"] == 2
    assert pool(api, wanted)["is_paused"] is True


def test_a_changed_job_template_is_corrected(api: PrefectApi, wanted: Row) -> None:
    ensure_pools(api, [wanted])
    properties = {"command": {"default": "b"}}
    template = {
        **wanted["base_job_template"],
        "variables": {"type": "object", "properties": properties},
    }
    change = ensure_pools(api, [{**wanted, "base_job_template": template}])[0]
    assert (change.did, change.detail) == (Did.UPDATED, "base_job_template")
    assert pool(api, wanted)["base_job_template"] == template


def test_report_only_makes_and_corrects_no_pool(api: PrefectApi, wanted: Row) -> None:
    assert ensure_pools(api, [wanted], write=False)[0].did is Did.CREATED
    assert pool(api, wanted) is None
    ensure_pools(api, [wanted])
    more = {**wanted, "concurrency_limit": 5}
    assert ensure_pools(api, [more], write=False)[0].did is Did.UPDATED
    assert pool(api, wanted)["concurrency_limit"] == 2


def test_a_pool_of_another_type_is_refused_and_untouched(api: PrefectApi, wanted: Row) -> None:
    ensure_pools(api, [wanted])
    before = pool(api, wanted)
    with pytest.raises(NeedsOperator, match=r"of type process, .* needs kubernetes.*rename"):
        ensure_pools(api, [{**wanted, "type": "kubernetes", "concurrency_limit": 7}])
    assert pool(api, wanted) == before


@pytest.fixture
def automation(api: PrefectApi) -> Row:
    """Ours, under a name of the test's own and switched off."""
    return {**zombie_automation(), "name": f"a-{uuid4().hex[:8]}", "enabled": False}


def found(api: PrefectApi, wanted: Row) -> list[Row]:
    rows: list[Row] = api.post(
        "/automations/filter", {"automations": {"name": {"any_": [wanted["name"]]}}}
    )
    return rows


def test_the_automation_is_made_once_whatever_defaults_the_server_adds(
    api: PrefectApi, automation: Row
) -> None:
    assert ensure_automation(api, automation).did is Did.CREATED
    before = found(api, automation)
    assert ensure_automation(api, automation).did is Did.UNCHANGED
    assert found(api, automation) == before
    assert len(before) == 1


def _edited(**fields: Any) -> Row:
    """The trigger, its first part another."""
    trigger = zombie_automation()["trigger"]
    first, *rest = trigger["triggers"]
    return {**trigger, "triggers": [{**first, **fields}, *rest]}


@pytest.mark.parametrize(
    "edit",
    [
        {"enabled": True},
        {"description": "another"},
        {"trigger": _edited(within=300)},
        {"trigger": _edited(expect=["prefect.flow-run.Failed"])},
        {"actions": [{**zombie_automation()["actions"][0], "state": "FAILED"}]},
        {"actions": [*zombie_automation()["actions"], {"type": "cancel-flow-run"}]},
    ],
    ids=["enabled", "description", "within", "expect", "state", "another action"],
)
def test_an_edited_automation_is_put_right(api: PrefectApi, automation: Row, edit: Row) -> None:
    ensure_automation(api, {**automation, **edit})
    assert ensure_automation(api, automation, write=False).detail == next(iter(edit))
    assert ensure_automation(api, automation).did is Did.UPDATED
    assert ensure_automation(api, automation).did is Did.UNCHANGED
    assert len(found(api, automation)) == 1


def test_of_two_that_were_made_at_the_same_moment_one_stays(
    api: PrefectApi, automation: Row
) -> None:
    for _ in range(2):
        api.post("/automations/", automation)
    assert ensure_automation(api, automation, write=False).detail == "1 more of that name removed"
    assert len(found(api, automation)) == 2
    assert ensure_automation(api, automation).did is Did.UPDATED
    assert len(found(api, automation)) == 1
    assert ensure_automation(api, automation).did is Did.UNCHANGED


def test_report_only_makes_no_automation(api: PrefectApi, automation: Row) -> None:
    assert ensure_automation(api, automation, write=False).did is Did.CREATED
    assert found(api, automation) == []


def test_workers_of_a_pool_are_found_and_ours_have_fixed_names(
    api: PrefectApi, wanted: Row
) -> None:
    ensure_pools(api, [wanted])
    assert find_workers(api, wanted["name"]) == []
    beat = {"name": names.WORKER, "heartbeat_interval_seconds": 30}
    api.post(f"/work_pools/{wanted['name']}/workers/heartbeat", beat)
    rows = find_workers(api, wanted["name"])
    assert [(row["name"], row["status"]) for row in rows] == [(names.WORKER, "ONLINE")]
    assert names.WORKERS[names.POOL] == names.WORKER
    assert names.WORKERS[names.PLATFORM_POOL] == names.PLATFORM_WORKER
