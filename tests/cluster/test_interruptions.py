"""A run of deploy/self outlives the pods that it depends on, and the next one a run that is killed.

The tests of this file stand in order: the first goes on where the killed run ended.
"""

import os
import random
from typing import Any, Final

import pytest

from clinical_ai import names
from clinical_ai.ports import PrefectApi
from clinical_ai.ports_cluster import Ref
from clinical_ai.steps.runs import FINAL, follow_run, get_deployment, get_run, start_run
from clinical_ai.waiting import Sighting, wait_until
from tests.support.cluster_site import ClusterSite
from tests.support.production_site import ProductionSite

pytestmark = [pytest.mark.cluster, pytest.mark.parts, pytest.mark.timeout(900)]

SEED: Final = int(os.environ.get("E2E_SEED", "1"))
CRASHED_SECONDS: Final = 150  # 90, and what a busy node adds
# All but the container's first process, and itself.
_KILL: Final = "import os, signal; os.kill(-1, signal.SIGKILL)"
# In the order in which deploy/self makes them; no run needs any of them to start.
LOST: Final = (
    *(Ref("policy/v1", "PodDisruptionBudget", name) for name in names.WORKLOADS),
    Ref("apps/v1", "Deployment", names.WORKER),
)
HELD: Final = f"pool {names.PLATFORM_POOL}"
MOMENTS: Final = (LOST[0], HELD, *LOST[1:])


@pytest.fixture(scope="module")
def site(production: ProductionSite) -> ClusterSite:
    """Any platform would do; the other one has more to do."""
    return production


def runs_of(api: PrefectApi, full_name: str) -> dict[str, Any]:
    """States of all runs of a deployment, by id."""
    wanted = {"deployment_id": {"any_": [get_deployment(api, full_name)["id"]]}}
    rows = api.pages("/flow_runs/filter", {"flow_runs": wanted})
    return {row["id"]: row["state_type"] for row in rows}


def await_write(site: ClusterSite, api: PrefectApi, what: Ref | str) -> None:
    """The object was made, or the pool is held; no run of the platform begins in it then."""

    def look() -> Sighting:
        if isinstance(what, str):
            return Sighting(
                api.get(f"/work_pools/{names.PLATFORM_POOL}")["is_paused"], "it is open"
            )
        return Sighting(site.api.find(what) is not None, "it is not there")

    wait_until(str(what), look, seconds=180, every=0.1)


def kill(site: ClusterSite, run_name: str) -> None:
    """What carries the run out is gone, with no time to clean up; a deleted pod is given some."""
    pods = site.api.find_all("v1", "Pod", labels={"app": names.PLATFORM_JOB})
    [pod] = [it for each in pods if (it := each["metadata"]["name"]).startswith(run_name)]
    site.kubectl("exec", pod, "--", "python3", "-c", _KILL)


@pytest.fixture(scope="module")
def killed(site: ClusterSite) -> str:
    """A run of deploy/self that was killed as soon as one of its writes was seen; its id.

    The last thing that it has to make comes up for some seconds, so it can't have been faster.
    """
    for ref in LOST:
        site.kubectl("delete", ref.kind, ref.name)
    site.add_to("platform-worker", annotations={"example.org/e2e": "another"})
    with site.reach() as api:
        run = get_run(api, start_run(api, names.DEPLOY_SELF, {}))
        await_write(site, api, random.Random(SEED).choice(MOMENTS))
        kill(site, run.name)
    site.add_to("platform-worker")
    return run.id


def test_the_next_run_completes_a_killed_one_while_server_and_platform_worker_are_deleted(
    site: ClusterSite, killed: str
) -> None:
    site.kubectl("delete", LOST[0].kind, LOST[0].name, "--ignore-not-found")
    with site.reach() as api:
        before = runs_of(api, names.DEPLOY_SELF)
        run_id = start_run(api, names.DEPLOY_SELF, {})
        run_name = get_run(api, run_id).name
        # The killed run's lease lasts for another minute, and a pool that it held for 90 seconds.
        site.await_holder(run_name, seconds=240)
        for name in (names.SERVER, names.PLATFORM_WORKER):
            site.kubectl("delete", "pod", "-l", f"app={name}", "--wait=false")
        run = follow_run(api, run_id, seconds=600)
        assert run.completed, run.message
        after = runs_of(api, names.DEPLOY_SELF)
        assert after.keys() - before.keys() == {run_id}
        assert {state for it, state in after.items() if it != killed} <= set(FINAL)
    assert [ref for ref in LOST if site.api.find(ref) is None] == []
    jobs = site.api.find_all("batch/v1", "Job", labels={"app": names.PLATFORM_JOB})
    assert sum(run.name in job["metadata"]["name"] for job in jobs) == 1
    seen = site.status()
    assert (seen["drift"]["differing"], seen["held"]) == ([], None)


def test_the_killed_run_is_told_as_crashed(site: ClusterSite, killed: str) -> None:
    with site.reach() as api:
        assert follow_run(api, killed, seconds=CRASHED_SECONDS).state == "CRASHED"
