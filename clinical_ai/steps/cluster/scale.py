"""Numbers of pods that whoever scales may choose, and with which the platform does not work."""

from collections.abc import Sequence

from clinical_ai import names
from clinical_ai.errors import NeedsOperator
from clinical_ai.ports_cluster import Cluster, Object, Ref


def check_scale(cluster: Cluster, workloads: Sequence[str]) -> None:
    """NeedsOperator when one of these that is there can't work with its number of pods.

    No write changes that: the number belongs to whoever scaled.
    """
    found = {name: cluster.find(Ref("apps/v1", "Deployment", name)) for name in workloads}
    wrong = {name: why for name, it in found.items() if it and (why := _fault(name, it))}
    if wrong:
        lines = [f"`kubectl scale deployment/{name} --replicas=1`" for name in wrong]
        raise NeedsOperator(
            "; ".join(wrong.values()),
            f"{', '.join(lines)}; an autoscaler that does this has to go",
        )


def _fault(name: str, found: Object) -> str:
    """Empty when there is none."""
    replicas = found["spec"].get("replicas", 1)
    if replicas == 0:
        return f"{name} is scaled to 0"
    if name == names.SERVER and replicas > 1:
        return (
            f"{name} is scaled to {replicas}: each pod keeps concurrency slots to itself, and"
            " Prefect cancels a run that begins by another one than gave it its slot"
        )
    return ""
