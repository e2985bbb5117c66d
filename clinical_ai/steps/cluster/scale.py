"""Workloads that somebody has scaled to nothing, and servers beside each other."""

from collections.abc import Sequence

from clinical_ai import names
from clinical_ai.errors import NeedsOperator
from clinical_ai.ports_cluster import Cluster, Object, Ref


def check_scale(cluster: Cluster, workloads: Sequence[str]) -> None:
    """NeedsOperator when one of these that is there is scaled to 0.

    No write changes that: the number belongs to whoever scaled.
    """
    found = {name: cluster.find(Ref("apps/v1", "Deployment", name)) for name in workloads}
    off = [name for name, it in found.items() if it and replicas(it) == 0]
    if off:
        lines = [f"`kubectl scale deployment/{name} --replicas=1`" for name in off]
        raise NeedsOperator(
            "; ".join(f"{name} is scaled to 0" for name in off),
            f"{', '.join(lines)}; an autoscaler that does this has to go",
        )


def warning(found: Object) -> str:
    """What does not work with as many servers; empty when all does."""
    if found["metadata"]["name"] != names.SERVER or replicas(found) < 2:
        return ""
    return (
        "each keeps events and, without lease-claim, concurrency slots to itself, and Prefect"
        " cancels a run that begins by another one than gave it its slot: scale it to 1"
    )


def replicas(found: Object) -> int:
    """How many pods are wanted."""
    wanted: int = found["spec"].get("replicas", 1)
    return wanted
