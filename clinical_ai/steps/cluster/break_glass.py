"""One switch that stops all self-management at once: read before every write."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from clinical_ai import names
from clinical_ai.change import Change, Did
from clinical_ai.errors import NeedsOperator
from clinical_ai.ports_cluster import Cluster, Ref

# A ConfigMap of its own: nobody applies it, so nobody puts it back.
_REF: Final = Ref("v1", "ConfigMap", names.BREAK_GLASS)
_KEY: Final = "stop"


class Stopped(NeedsOperator):
    """Somebody has stopped self-management; nothing may be written."""


def find_stop(cluster: Cluster) -> str | None:
    """Why self-management is stopped, or None when it is not. An empty reason stops it too."""
    data = (cluster.find(_REF) or {}).get("data") or {}
    return str(data[_KEY]) or "no reason given" if _KEY in data else None


def refuse_when_stopped(cluster: Cluster) -> None:
    """Stopped, with the reason and the command that ends it. An unreadable switch is an error."""
    reason = find_stop(cluster)
    if reason is not None:
        raise Stopped(
            f"self-management is stopped: {reason}",
            f"when it may go on: `kubectl delete configmap {names.BREAK_GLASS} "
            f"-n {cluster.namespace}`",
        )


def guarded(cluster: Cluster, *more: Callable[[], None]) -> Callable[[], None]:
    """The guard of a write: the switch, then the others, as a lease's `renew`."""

    def guard() -> None:
        refuse_when_stopped(cluster)
        for each in more:
            each()

    return guard


def stop(cluster: Cluster, who: str, reason: str) -> Change:
    """Nothing is written from now on by whoever reads the switch. One that is on stays as it is."""
    told = f"{reason or 'no reason given'} ({who}, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC)"
    if find_stop(cluster) is not None:
        return Change(_what(cluster), Did.UNCHANGED, "it was stopped before")
    about = {"name": _REF.name, "labels": {"app.kubernetes.io/part-of": names.PRODUCT}}
    switch = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": about, "data": {_KEY: told}}
    if cluster.create(switch) is None:
        cluster.patch(_REF, {"data": {_KEY: told}})
    return Change(_what(cluster), Did.STOPPED, told)


def resume(cluster: Cluster) -> Change:
    """The switch is off."""
    found = cluster.find(_REF)
    if found is None:
        return Change(_what(cluster), Did.UNCHANGED)
    cluster.delete(_REF, uid=found["metadata"]["uid"])
    return Change(_what(cluster), Did.UPDATED, "goes on")


def _what(cluster: Cluster) -> str:
    """With where: that of another namespace goes on."""
    return f"self-management in namespace {cluster.namespace}"
