"""What has to hold of a platform in a cluster once it is healed."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from clinical_ai import names
from clinical_ai.errors import Transient
from clinical_ai.ports import PrefectApi
from clinical_ai.ports_cluster import Ref
from clinical_ai.steps.runs import FINAL, find_deployment, follow_run, get_deployment
from clinical_ai.steps.verify import POOLS
from clinical_ai.waiting import Sighting, wait_until
from tests.support.cluster_site import ClusterSite

_SILENCE: Final = 150  # until a run whose process is gone has ended
_PATIENCE: Final = 60  # until replaced pods are gone
_CHECK: Final = Ref("batch/v1", "Job", names.POD_CHECK)


@dataclass
class Patient:
    """A clinical run. `may_crash`: its pod, or what it needs, was taken away."""

    run_id: str
    deployment: str
    may_crash: bool = False


def find_wrong(site: ClusterSite, patient: Patient | None) -> str:
    """What does not hold, or nothing."""
    with site.reach() as api:
        _await_settled(api)
        found = [*_of_prefect(api), *(_of_patient(api, patient) if patient else [])]
    return "; ".join([*found, *_of_status(site), *_of_objects(site)])


def _await_settled(api: PrefectApi) -> None:
    """No run of deploy/self is under way; a killed one has Crashed."""
    wanted = {"deployment_id": {"any_": [get_deployment(api, names.DEPLOY_SELF)["id"]]}}

    def look() -> Sighting:
        try:
            rows = list(api.pages("/flow_runs/filter", {"flow_runs": wanted}))
        except Transient as error:  # the last of them may replace the server
            return Sighting(done=False, summary=str(error))
        left = [
            f"{row['name']} {row['state_type']}"
            for row in rows
            if row["state_type"] not in FINAL and not row["auto_scheduled"]
        ]
        return Sighting(not left, ", ".join(left))

    wait_until("the end of all runs of deploy/self", look, seconds=_SILENCE)


def _of_prefect(api: PrefectApi) -> Iterator[str]:
    ours = [names.ZOMBIE_AUTOMATION, names.HOLD_AUTOMATION]
    found = api.post("/automations/filter", {"automations": {"name": {"any_": ours}}})
    if (told := [row["name"] for row in found]) != ours[:1]:
        yield f"automations are {told}"
    if find_deployment(api, names.VERIFY) is None:
        yield f"{names.VERIFY} is not registered"
    for pool in POOLS:
        if api.get(f"/work_pools/{pool}")["is_paused"]:
            yield f"pool {pool} is paused"


def _of_patient(api: PrefectApi, patient: Patient) -> Iterator[str]:
    run = follow_run(api, patient.run_id, seconds=_SILENCE)
    begun = api.get(f"/flow_runs/{patient.run_id}")["run_count"]
    api.delete(f"/deployments/{patient.deployment}")
    allowed = {"COMPLETED", "CRASHED"} if patient.may_crash else {"COMPLETED"}
    if run.state not in allowed or begun != 1:
        yield f"clinical run {run.name} {run.state} after {begun} beginnings: {run.message}"


def _of_status(site: ClusterSite) -> Iterator[str]:
    seen = site.status()
    told = {**seen, "drift": seen["drift"].get("differing", seen["drift"])}
    for key, wanted in {"healthy": True, "drift": [], "lease": None, "break_glass": None}.items():
        if told[key] != wanted:
            yield f"{key} is {told[key]}"


def _of_objects(site: ClusterSite) -> Iterator[str]:
    if site.api.find(_CHECK) is not None:
        yield f"Job {names.POD_CHECK} was left behind"
    for name in names.WORKLOADS:

        def look(name: str = name) -> Sighting:
            sets = site.api.find_all("apps/v1", "ReplicaSet", labels={"app": name})
            living = [it["metadata"]["name"] for it in sets if it["status"].get("replicas")]
            return Sighting(len(living) == 1, ", ".join(living) or "none")

        wait_until(f"one revision of {name}", look, seconds=_PATIENCE)
