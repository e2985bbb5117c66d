"""Workloads come up, or it is told why not, long before their own deadline."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Final

from clinical_ai import names
from clinical_ai.conditions import is_ready
from clinical_ai.diagnosis import Facts, explain
from clinical_ai.errors import NeedsOperator, PlatformError
from clinical_ai.pod_faults import Diagnosis
from clinical_ai.ports_cluster import Cluster, Object, Ref, in_namespace
from clinical_ai.waiting import Sighting, outlasting, wait_until

log = logging.getLogger(__name__)

_REVISION: Final = "deployment.kubernetes.io/revision"
_HASH: Final = "pod-template-hash"
_TAIL: Final = 15  # lines of a log that an error shows


class RolloutFailed(NeedsOperator):
    """It will not come up by itself. `diagnoses`: all that was found, the most certain first."""

    def __init__(self, problem: str, remedy: str, diagnoses: Sequence[Diagnosis] = ()) -> None:
        super().__init__(problem, remedy)
        self.args = (problem, remedy, diagnoses)
        self.diagnoses = tuple(diagnoses)


def await_rollout(
    cluster: Cluster,
    ref: Ref,
    *,
    seconds: float,
    every: float = 0.5,
    beat: Callable[[], None] = lambda: None,
) -> Sighting:
    """The newest pods of a Kubernetes Deployment, and only they, are available.

    RolloutFailed as soon as the cause is certain, TimedOut otherwise. A pod without a probe is
    available as soon as it runs, and be it for a moment: then `minReadySeconds` tells for how long
    it has to. `beat` is called at each look, as for a lease that must not run out meanwhile.
    """
    watch = Watch(cluster, str(ref))

    def look() -> Sighting:
        found = get_awaited(cluster, ref)
        state = rollout_state(found)
        if not state.done and _is_seen(found):  # until then it tells of the change before
            watch.judge(_facts(cluster, found))
        return Sighting(state.done, "; ".join([state.summary, *watch.causes]))

    what = f"the rollout of {ref}"
    return wait_until(what, outlasting(look, beat), seconds=seconds, every=every)


def get_awaited(cluster: Cluster, ref: Ref) -> Object:
    """The object; NeedsOperator when it is there no more."""
    found = cluster.find(ref)
    if found is None:
        problem = f"{ref} was deleted while it was waited for; Kubernetes does not tell by whom"
        raise NeedsOperator(problem, "run this again, which makes it anew")
    return found


def await_gone(
    cluster: Cluster, ref: Ref, *, seconds: float, beat: Callable[[], None] = lambda: None
) -> None:
    """What was deleted is gone, and the pods before it where that was asked for."""

    def look() -> Sighting:
        return Sighting(cluster.find(ref) is None, "its pods are stopping")

    wait_until(f"the end of {ref.short}", outlasting(look, beat), seconds=seconds)


def rollout_state(found: Object) -> Sighting:
    """How far it is, as `kubectl rollout status` reckons."""
    status, wanted = found.get("status", {}), found["spec"].get("replicas", 1)
    updated, total = status.get("updatedReplicas", 0), status.get("replicas", 0)
    available = status.get("availableReplicas", 0)
    if not _is_seen(found):
        return Sighting(done=False, summary="its change is not seen yet")
    if updated < wanted:
        return Sighting(done=False, summary=f"{updated} of {wanted} new pods are made")
    if total > updated:
        return Sighting(done=False, summary=f"{total - updated} old pods are still there")
    if available < updated:
        return Sighting(done=False, summary=f"{available} of {updated} new pods are available")
    return Sighting(done=True, summary=f"{available} pods are available")


def replaces_pods(found: Object) -> bool:
    """Whether pods of before its last change are there, or may be."""
    status = found.get("status", {})
    old = status.get("replicas", 0) - status.get("updatedReplicas", 0)
    return old > 0 or not _is_seen(found)


def _is_seen(found: Object) -> bool:
    """Whether its controller has seen the last change."""
    seen: int = found.get("status", {}).get("observedGeneration", 0)
    return seen >= int(found["metadata"]["generation"])


@dataclass
class Watch:
    """What was found wrong, and since when: most of it may heal for a while.

    `first` keeps the moment of each kind; one that vanishes starts anew when it comes back.
    """

    cluster: Cluster
    what: str
    first: dict[str, float] = field(default_factory=dict)
    causes: list[str] = field(default_factory=list)

    def judge(self, facts: Facts) -> None:
        """RolloutFailed when something has been wrong for longer than it may."""
        now, found = monotonic(), explain(facts)
        self.first = {it.kind: self.first.get(it.kind, now) for it in found}
        self.causes = [it.cause for it in found]
        over = [it for it in found if now - self.first[it.kind] >= it.patience]
        if over:
            # One without patience ends the wait, and another may know the cause.
            first = over[0] if over[-1].patience else found[0]
            tail = self._tail(first)
            problem = f"{self.what} does not come up: {first.cause}{tail}"
            remedy = in_namespace(first.remedy, self.cluster.namespace)
            raise RolloutFailed(problem, remedy, [*over, *(it for it in found if it not in over)])

    def _tail(self, found: Diagnosis) -> str:
        """The last lines of the log of a container that ended or is not healthy.

        Not of the clinical worker: its log holds what its runs write.
        """
        if not found.container or found.pod.startswith(f"{names.WORKER}-"):
            return ""
        place: dict[str, Any] = {"container": found.container, "tail": _TAIL}
        try:
            text = self.cluster.logs(found.pod, **place, previous=True)
            text = text or self.cluster.logs(found.pod, **place)
        except PlatformError as error:
            log.info("no log of %s: %s", found.pod, error)
            return ""
        return f"; its last lines:\n{text.rstrip()}\n" if text.strip() else ""


def _facts(cluster: Cluster, found: Object) -> Facts:
    """The newest ReplicaSet and its pods; events only of those whose state tells nothing."""
    uid, place = found["metadata"]["uid"], found["metadata"]["namespace"]
    labels = found["spec"]["selector"]["matchLabels"]
    sets = cluster.find_all("apps/v1", "ReplicaSet", labels=labels, namespace=place)
    newest = [it for it in sets if _owner(it) == uid and _revision(it) == _revision(found)]
    hashes = {it["metadata"]["labels"].get(_HASH) for it in newest}
    pods = cluster.find_all("v1", "Pod", labels=labels, namespace=place) if hashes else []
    ours = [it for it in pods if it["metadata"].get("labels", {}).get(_HASH) in hashes]
    return Facts(found, newest, ours, events_of(cluster, ours))


def events_of(cluster: Cluster, pods: Iterable[Object]) -> Mapping[str, list[Object]]:
    """Warnings about pods that are not ready, by uid."""
    return {
        pod["metadata"]["uid"]: [it for it in cluster.events(pod) if it.get("type") == "Warning"]
        for pod in pods
        if not _is_over(pod)
    }


def _is_over(pod: Object) -> bool:
    return is_ready(pod) or pod.get("status", {}).get("phase") == "Succeeded"


def _owner(found: Object) -> str:
    owners = found["metadata"].get("ownerReferences", [])
    return next((str(it["uid"]) for it in owners if it.get("controller")), "")


def _revision(found: Object) -> str:
    return str((found["metadata"].get("annotations") or {}).get(_REVISION, ""))
