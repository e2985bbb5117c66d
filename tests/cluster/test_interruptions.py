"""A run of deploy/self outlives the pods that it depends on."""

from typing import Any

import pytest

from clinical_ai import names
from clinical_ai.ports import PrefectApi
from clinical_ai.ports_cluster import Ref
from clinical_ai.steps.runs import FINAL, follow_run, get_deployment, get_run, start_run
from clinical_ai.waiting import Sighting, wait_until
from tests.support.cluster_site import ClusterSite

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]


def runs_of(api: PrefectApi, full_name: str) -> dict[str, Any]:
    """States of all runs of a deployment, by id."""
    wanted = {"deployment_id": {"any_": [get_deployment(api, full_name)["id"]]}}
    rows = api.pages("/flow_runs/filter", {"flow_runs": wanted})
    return {row["id"]: row["state_type"] for row in rows}


def test_a_run_completes_when_server_and_platform_worker_are_deleted_in_its_middle(
    site: ClusterSite,
) -> None:
    budget = Ref("policy/v1", "PodDisruptionBudget", names.WORKER)
    site.kubectl("delete", budget.kind, budget.name)
    with site.reach() as api:
        before = runs_of(api, names.DEPLOY_SELF)
        run_id = start_run(api, names.DEPLOY_SELF, {})

        def look() -> Sighting:
            run = get_run(api, run_id)
            return Sighting(run.state == "RUNNING", f"it is {run.state}")

        wait_until("the run to begin", look, seconds=180)
        for name in (names.SERVER, names.PLATFORM_WORKER):
            site.kubectl("delete", "pod", "-l", f"app={name}", "--wait=false")
        run = follow_run(api, run_id, seconds=600)
        assert run.completed, run.message
        after = runs_of(api, names.DEPLOY_SELF)
        assert after.keys() - before.keys() == {run_id}
        assert set(after.values()) <= set(FINAL)
    assert site.api.find(budget) is not None
    jobs = site.api.find_all("batch/v1", "Job", labels={"app": names.PLATFORM_JOB})
    assert sum(run.name in job["metadata"]["name"] for job in jobs) == 1
    assert site.status()["drift"]["differing"] == []
