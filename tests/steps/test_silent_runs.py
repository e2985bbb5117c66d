"""What the automation does with runs that give no sign, on a real server, with shorter waits."""

from collections.abc import Iterator
from typing import Any, Final
from uuid import uuid4

import pytest

from clinical_ai import names
from clinical_ai.manifests.orchestration import zombie_automation
from clinical_ai.ports import PrefectApi
from clinical_ai.steps.runs import get_run
from clinical_ai.waiting import Sighting, wait_until
from tests.support.prefect_server import PrefectServer, ensure_pool

WAIT: Final = 10  # seconds, the least that Prefect takes
ELSEWHERE: Final = "a-team's"


@pytest.fixture
def api(prefect_server: PrefectServer) -> Iterator[PrefectApi]:
    api = prefect_server.open()
    for pool in (names.POOL, names.PLATFORM_POOL, ELSEWHERE):
        ensure_pool(api, pool)
    wanted = zombie_automation()
    for each in wanted["trigger"]["triggers"]:
        each["within"] = WAIT
    made = api.post("/automations/", {**wanted, "name": f"a-{uuid4().hex[:8]}"})
    yield api
    api.delete(f"/automations/{made['id']}")


def begin(api: PrefectApi, pool: str | None, *states: Any) -> str:
    """The id of a run that goes through these states, each a type or a type and a name."""
    flow = api.post("/flows/", {"name": f"f-{uuid4().hex[:8]}"})["id"]
    path, body = "/flow_runs/", {"flow_id": flow}
    if pool is not None:
        given = {"name": "one", "flow_id": flow, "work_pool_name": pool}
        made = api.post("/deployments/", given)
        path, body = f"/deployments/{made['id']}/create_flow_run", {}
    first, *rest = ({"type": each} if isinstance(each, str) else each for each in states)
    run_id = str(api.post(path, {**body, "state": first})["id"])
    for each in rest:
        api.post(f"/flow_runs/{run_id}/set_state", {"state": each, "force": True})
    return run_id


def test_runs_whose_process_gave_no_sign_are_crashed_and_no_others(api: PrefectApi) -> None:
    waits = {"type": "SCHEDULED", "name": "AwaitingConcurrencySlot"}
    submitting = {"type": "PENDING", "name": "Submitting"}
    pod_waits = {"type": "PENDING", "name": "InfrastructurePending"}
    gone = [
        begin(api, names.POOL, "RUNNING"),
        begin(api, names.PLATFORM_POOL, "RUNNING"),
        begin(api, names.POOL, "PENDING"),
        begin(api, names.POOL, "PENDING", waits, "PENDING"),
        begin(api, names.PLATFORM_POOL, "PENDING", submitting),  # no Job was made
    ]
    there = {
        begin(api, None, "RUNNING"): "RUNNING",  # from somebody's laptop
        begin(api, ELSEWHERE, "RUNNING"): "RUNNING",
        # A node may have to come first.
        begin(api, names.PLATFORM_POOL, "PENDING", submitting, pod_waits): "PENDING",
        begin(api, names.POOL, "PENDING", waits): "SCHEDULED",
        begin(api, names.POOL, "RUNNING", "COMPLETED"): "COMPLETED",
        begin(api, names.POOL, "RUNNING", "PAUSED"): "PAUSED",
    }
    last = begin(api, names.POOL, "RUNNING")  # when it is Crashed, all others could be

    def look() -> Sighting:
        left = [each for each in (*gone, last) if get_run(api, each).state != "CRASHED"]
        return Sighting(not left, f"{len(left)} are not Crashed")

    wait_until("the runs to be Crashed", look, seconds=60)
    assert {each: get_run(api, each).state for each in there} == there
