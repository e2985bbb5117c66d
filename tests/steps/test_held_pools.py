"""What Prefect does with a held pool when the run that holds it ends, on a real server."""

from collections.abc import Iterator
from typing import Final

import pytest

from clinical_ai import names
from clinical_ai.manifests.orchestration import hold_automation
from clinical_ai.ports import PrefectApi
from clinical_ai.steps.cluster.hold import find_open, finish_hold, is_held
from clinical_ai.steps.cluster.records import Records
from clinical_ai.steps.orchestration import ensure_automation, has_acted, remove_automation
from clinical_ai.steps.roll import hold, lift, new_journal
from clinical_ai.waiting import Sighting, wait_until
from tests.support.fake_cluster import FakeCluster
from tests.support.prefect_server import PrefectServer, ensure_pool

POOLS: Final = [names.POOL, names.PLATFORM_POOL]


@pytest.fixture
def api(prefect_server: PrefectServer) -> Iterator[PrefectApi]:
    api = prefect_server.open()
    for pool in POOLS:
        ensure_pool(api, pool)
    yield api
    remove_automation(api, names.HOLD_AUTOMATION)
    lift(api, POOLS)


def begin(api: PrefectApi) -> str:
    flow = api.post("/flows/", {"name": "deploy"})["id"]
    return str(api.post("/flow_runs/", {"flow_id": flow, "state": {"type": "RUNNING"}})["id"])


def end(api: PrefectApi, run: str, how: str) -> None:
    api.post(f"/flow_runs/{run}/set_state", {"state": {"type": how}, "force": True})


def held(api: PrefectApi) -> list[str]:
    return [pool for pool in POOLS if api.get(f"/work_pools/{pool}")["is_paused"]]


@pytest.mark.parametrize("how", ["COMPLETED", "FAILED", "CANCELLED", "CRASHED"])
def test_it_is_opened_however_that_run_ends_and_no_other_pool_is(api: PrefectApi, how: str) -> None:
    run, other = begin(api), begin(api)
    pool = api.get(f"/work_pools/{names.PLATFORM_POOL}")["id"]
    ensure_automation(api, hold_automation([pool], run))
    hold(api, POOLS)
    end(api, other, how)
    api.post(f"/flow_runs/{run}/set_state", {"state": {"type": "RUNNING", "name": "Retrying"}})
    assert held(api) == POOLS
    end(api, run, how)

    def look() -> Sighting:
        left = held(api)
        return Sighting(names.PLATFORM_POOL not in left, f"{left} are held")

    wait_until("the pool to be opened", look, seconds=60)
    assert held(api) == [names.POOL]


def test_the_pause_of_a_person_who_came_after_prefect_is_left_alone(api: PrefectApi) -> None:
    run, records = begin(api), Records(FakeCluster().open())
    pool = api.get(f"/work_pools/{names.PLATFORM_POOL}")["id"]
    for paused_by_hand in (False, True):
        journal = new_journal("a worker is replaced").held({names.PLATFORM_POOL: False})
        records.write_journal(journal)
        ensure_automation(api, hold_automation([pool], run))
        hold(api, [names.PLATFORM_POOL])
        assert is_held(api, journal)
        if paused_by_hand:
            end(api, run, "CRASHED")
            wait_until("Prefect to act", lambda: _acted(api), seconds=60)
            assert held(api) == []
            hold(api, [names.PLATFORM_POOL])
        finish_hold(records, api)
        assert (held(api) == [names.PLATFORM_POOL]) is paused_by_hand
        assert find_open(records) is None


def _acted(api: PrefectApi) -> Sighting:
    return Sighting(has_acted(api, names.HOLD_AUTOMATION), f"{held(api)} are held")


def test_nothing_of_it_is_left_once_it_is_removed(api: PrefectApi) -> None:
    run = begin(api)
    pool = api.get(f"/work_pools/{names.PLATFORM_POOL}")["id"]
    ensure_automation(api, hold_automation([pool], run))
    remove_automation(api, names.HOLD_AUTOMATION)
    wanted = {"automations": {"name": {"any_": [names.HOLD_AUTOMATION]}}}
    assert api.post("/automations/filter", wanted) == []
