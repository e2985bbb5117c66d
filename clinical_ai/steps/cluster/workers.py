"""Workers of a cluster are named by their pods: those whose pod is gone are forgotten."""

from urllib.parse import quote

from clinical_ai import names
from clinical_ai.change import Change, Did
from clinical_ai.pod_amounts import has_ended
from clinical_ai.ports import PrefectApi
from clinical_ai.ports_cluster import Cluster, Object
from clinical_ai.steps.orchestration import find_workers


def pods_of(cluster: Cluster, name: str) -> list[Object]:
    """Pods with this `app` that are to run: neither being deleted, nor left of an eviction.

    An evicted pod, or one of a node that was shut down, stays Failed for days beside its successor.
    """
    pods = cluster.find_all("v1", "Pod", labels={"app": name})
    return [
        pod for pod in pods if not pod["metadata"].get("deletionTimestamp") and not has_ended(pod)
    ]


def lives(cluster: Cluster, worker: str) -> bool:
    """Whether the worker's pod is to run on; one that is not ours is taken to live."""
    for name in names.WORKERS.values():
        if worker.startswith(f"{name}-"):
            return worker in {pod["metadata"]["name"] for pod in pods_of(cluster, name)}
    return True


def forget_workers(cluster: Cluster, api: PrefectApi, *, write: bool) -> list[Change]:
    """Rows of offline workers whose pod is gone are removed; others' workers are left alone.

    Without `write` they are only told.
    """
    changes = []
    for pool, name in names.WORKERS.items():
        lost = [
            row["name"]
            for row in find_workers(api, pool)
            if row["status"] == "OFFLINE" and row["name"].startswith(f"{name}-")
        ]
        if not lost:
            continue
        there = {pod["metadata"]["name"] for pod in pods_of(cluster, name)}
        for worker in sorted(set(lost) - there):
            if write:
                api.delete(f"/work_pools/{pool}/workers/{quote(worker, safe='')}")
            did = Did.TIDIED if write else Did.LEFT_OVER
            changes.append(Change(f"worker {worker} of pool {pool}", did, "its pod is gone"))
    return changes
