"""Work pools and the zombie automation are corrected where they differ, and nowhere else."""

from typing import Any, cast
from uuid import uuid4

import pytest

from clinical_ai import names
from clinical_ai.change import Did
from clinical_ai.errors import NeedsOperator
from clinical_ai.manifests.kubernetes import pools
from clinical_ai.manifests.orchestration import (
    hold_automation,
    process_template,
    zombie_automation,
)
from clinical_ai.ports import PrefectApi
from clinical_ai.settings import parse
from clinical_ai.steps.orchestration import (
    ensure_automation,
    ensure_pools,
    find_workers,
    job_templates,
    put_back_templates,
)
from tests.support.clock import Clock
from tests.support.fake_prefect import FakePrefect
from tests.support.kubernetes_examples import ALL, RELEASE, TEMPLATE, settings_of

Row = dict[str, Any]
CANARY = "hunter2-canary"


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


def test_an_outage_keeps_no_template_from_being_put_back(wanted: Row, clock: Clock) -> None:
    """No deploy/self would start from it, which could mend it."""
    api, name = FakePrefect(), wanted["name"]
    ensure_pools(api, [wanted])
    good = job_templates(api, [name])
    api.patch(f"/work_pools/{name}", {"base_job_template": {}})
    api.down = True
    clock.happens(lambda: None, lambda: setattr(api, "down", False))
    assert put_back_templates(api, good) == [name]
    assert api.pools[name]["base_job_template"] == good[name]


def test_a_pool_that_somebody_deleted_meanwhile_has_no_template_to_put_back(wanted: Row) -> None:
    assert put_back_templates(FakePrefect(), {wanted["name"]: wanted["base_job_template"]}) == []


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
    place = "base_job_template.variables.properties.command.default"
    assert (change.did, change.detail) == (Did.UPDATED, place)
    assert pool(api, wanted)["base_job_template"] == template


@pytest.mark.parametrize(
    ("add", "place"),
    [
        ({"hostNetwork": True}, ".hostNetwork"),
        ({"nodeSelector": {"a": "b"}}, ".nodeSelector"),
        ({"containers": [{"name": "a", "env": [{"name": "K", "value": CANARY}]}]}, ".containers"),
        ({"tolerations": [{"key": None}]}, ".tolerations"),
    ],
    ids=["a right", "a field", "a secret", "a null"],
)
def test_what_somebody_added_to_a_job_template_goes_and_no_value_is_told(
    api: PrefectApi, wanted: Row, add: Row, place: str
) -> None:
    def template(**more: Any) -> Row:
        configuration = {"command": "{{ command }}", "job_manifest": {"spec": {"a": 1, **more}}}
        return {**wanted["base_job_template"], "job_configuration": configuration}

    ours = {**wanted, "base_job_template": template()}
    ensure_pools(api, [{**ours, "base_job_template": template(**add)}])
    told = f"base_job_template.job_configuration.job_manifest.spec{place}"
    assert ensure_pools(api, [ours], write=False)[0].detail == told
    assert ensure_pools(api, [ours])[0].did is Did.UPDATED
    assert pool(api, ours)["base_job_template"] == ours["base_job_template"]


def test_of_many_differences_the_first_are_told(api: PrefectApi, wanted: Row) -> None:
    ensure_pools(api, [wanted])
    properties = {"command": {"default": "a"}, **{f"v{number}": {} for number in range(7)}}
    edited = {**wanted["base_job_template"], "variables": {"properties": properties}}
    api.patch(f"/work_pools/{wanted['name']}", {"base_job_template": edited})
    [change] = ensure_pools(api, [wanted], write=False)
    assert change.detail.startswith("base_job_template.variables.properties.v0, ")
    assert change.detail.endswith(", and 3 more fields")


@pytest.mark.parametrize("example", ALL)
def test_pools_of_a_cluster_are_as_wanted_once_they_were_made(
    api: PrefectApi, rendered: Row, example: str
) -> None:
    made = pools.pools(settings_of(example), RELEASE, rendered["job_template"])
    wanted = [{**each, "name": f"pool-{uuid4().hex[:8]}"} for each in made]
    ensure_pools(api, wanted)
    before = [pool(api, each) for each in wanted]
    assert [change.did for change in ensure_pools(api, wanted)] == [Did.UNCHANGED] * 2
    assert [pool(api, each) for each in wanted] == before


def test_pools_of_one_machine_are_as_wanted_once_they_were_made(
    api: PrefectApi, rendered: Row
) -> None:
    template = process_template(rendered["job_template"], "/srv/a b", '"/srv/a b/python"')
    name = f"pool-{uuid4().hex[:8]}"
    wanted: Row = {"name": name, "type": "process", "base_job_template": template}
    ensure_pools(api, [wanted])
    before = pool(api, wanted)
    assert ensure_pools(api, [wanted])[0].did is Did.UNCHANGED
    assert pool(api, wanted) == before


def test_a_removed_addition_to_jobs_leaves_the_job_template(api: PrefectApi) -> None:
    additions: Row = {
        "node-selector": {"pool": "gpu", "zone": "a"},
        "annotations": {"example.org/a": "1"},
        "priority-class": "high",
        "image-pull-secrets": ["x"],
        "tolerations": [{"key": "k", "operator": "Exists"}],
        "resources": {"limits": {"ephemeral-storage": "1Gi"}},
        "environment": {"A": "1"},
    }

    def ours(**jobs: Any) -> Row:
        settings = parse({"kubernetes": {"registry": "r", "components": {"jobs": jobs}}})
        return {**pools.pools(settings, RELEASE, TEMPLATE)[1], "name": name}

    name = f"pool-{uuid4().hex[:8]}"
    ensure_pools(api, [ours(**additions)])
    for gone in additions:
        fewer = ours(**{key: value for key, value in additions.items() if key != gone})
        assert ensure_pools(api, [fewer])[0].did is Did.UPDATED
        assert pool(api, fewer)["base_job_template"] == fewer["base_job_template"]


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
        {"trigger": _edited(match_related={"prefect.resource.name": "somebody"})},
        {"trigger": _edited(match={"prefect.resource.id": "prefect.flow-run.*", "a": ""})},
        {"trigger": _edited(for_each=["prefect.resource.id", "related:flow:prefect.resource.id"])},
        {"actions": [{**zombie_automation()["actions"][0], "force": True}]},
        {"actions_on_trigger": [{"type": "cancel-flow-run"}]},
    ],
    ids=[
        *("enabled", "description", "within", "expect", "state", "another action"),
        *("related", "label", "for each", "force", "on trigger"),
    ],
)
def test_an_edited_automation_is_put_right(api: PrefectApi, automation: Row, edit: Row) -> None:
    ensure_automation(api, {**automation, **edit})
    assert ensure_automation(api, automation, write=False).detail == next(iter(edit))
    assert ensure_automation(api, automation).did is Did.UPDATED
    assert ensure_automation(api, automation).did is Did.UNCHANGED
    assert len(found(api, automation)) == 1


def test_an_automation_that_leaves_out_defaults_is_as_wanted_once_it_was_made(
    api: PrefectApi, wanted: Row
) -> None:
    ensure_pools(api, [wanted])
    hold = hold_automation([pool(api, wanted)["id"]], str(uuid4()))
    ours = {**hold, "name": f"a-{uuid4().hex[:8]}"}
    ensure_automation(api, ours)
    before = found(api, ours)
    assert ensure_automation(api, ours).did is Did.UNCHANGED
    assert found(api, ours) == before
    edited = {**ours["trigger"], "match_related": {"prefect.resource.role": "somebody"}}
    api.put(f"/automations/{before[0]['id']}", {**ours, "trigger": edited})
    assert ensure_automation(api, ours).detail == "trigger"


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
