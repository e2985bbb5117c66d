"""Jobs of the platform run to their end, and their last lines are told. Never clinical ones."""

from collections.abc import Callable
from typing import Any, Final

from clinical_ai.conditions import shortened
from clinical_ai.diagnosis import Facts
from clinical_ai.ports_cluster import Cluster, Object, Ref
from clinical_ai.steps.cluster.rollout import (
    RolloutFailed,
    Watch,
    await_gone,
    events_of,
    get_awaited,
)
from clinical_ai.steps.runs import Run, RunWatch
from clinical_ai.waiting import Sighting, outlasting, wait_until

_JOB: Final = "batch.kubernetes.io/job-name"
_OLD_JOB: Final = "job-name"  # before Kubernetes 1.27
_RUN: Final = "prefect.io/flow-run-id"  # as Prefect's worker labels the Job of a run
_FINISHED: Final = frozenset({"Complete", "Failed"})
_MARGIN: Final = 120  # for Kubernetes to stop a Job whose time is up, and to say so


def await_job(
    cluster: Cluster,
    name: str,
    *,
    seconds: float,
    tail: int = 50,
    every: float = 0.5,
    beat: Callable[[], None] = lambda: None,
) -> str:
    """The job's last lines, when it has succeeded.

    RolloutFailed with them when it has failed, or can't start and the cause is certain; TimedOut
    otherwise. Only for jobs whose output holds no clinical value.
    """
    watch, ref = Watch(cluster, f"Job {name}"), Ref("batch/v1", "Job", name)
    found: list[Object] = []

    def look() -> Sighting:
        job = get_awaited(cluster, ref)
        ended = _ended(job)
        if ended is None:
            watch.judge(_facts(cluster, job))
        found[:] = [job]
        return Sighting(ended is not None, "; ".join([_state(job), *watch.causes]))

    wait_until(f"the end of Job {name}", outlasting(look, beat), seconds=seconds, every=every)
    [job] = found
    lines = _last_lines(cluster, job, tail)
    if has_failed(job):
        ended = _ended(job) or {}
        told = "; ".join([ended.get("reason") or "no reason given", *_blamed(cluster, job)])
        raise RolloutFailed(
            f"Job {name} has failed ({told})" + (f"; its last lines:\n{lines}\n" if lines else ""),
            f"read `kubectl logs job/{name} -n {job['metadata']['namespace']}`",
        )
    return lines


def allowed(job: Object) -> float:
    """Seconds after which the Job has ended: all that it may take, for nobody stops it before."""
    seconds: int = job["spec"]["activeDeadlineSeconds"]
    return seconds + _MARGIN


def watching(cluster: Cluster) -> RunWatch:
    """For whoever follows a run of the platform's pool: RolloutFailed when its pod can't start.

    Prefect knows no more of such a run than that it is pending. It is left as it is, and begins
    when the cause is gone.
    """
    watches: dict[str, Watch] = {}

    def watch(run: Run) -> None:
        if run.state != "PENDING":
            return
        for job in cluster.find_all("batch/v1", "Job", labels={_RUN: run.id}):
            about = f"Job {job['metadata']['name']} of run {run.name}"
            watches.setdefault(about, Watch(cluster, about)).judge(_facts(cluster, job))

    return watch


def has_failed(job: Object) -> bool:
    """For good: Kubernetes starts no pod of it any more."""
    return (_ended(job) or {}).get("type") == "Failed"


def has_succeeded(job: Object) -> bool:
    """Its work is done."""
    return bool(job.get("status", {}).get("succeeded"))


def remove_job(
    cluster: Cluster, job: Object, *, seconds: float, beat: Callable[[], None] = lambda: None
) -> None:
    """It is gone with its pods, so that another of its name can be made."""
    beat()
    cluster.delete(Ref.of(job), uid=job["metadata"]["uid"], propagation="Foreground")
    await_gone(cluster, Ref.of(job), seconds=seconds, beat=beat)


def _ended(job: Object) -> dict[str, Any] | None:
    """The condition that says so."""
    told = job.get("status", {}).get("conditions") or []
    return next((it for it in told if it["type"] in _FINISHED and it["status"] == "True"), None)


def _state(job: Object) -> str:
    """What its pods do, since when, and how long they may."""
    status, longest = job.get("status", {}), job["spec"].get("activeDeadlineSeconds")
    told = {name: status.get(name, 0) for name in ("active", "succeeded", "failed")}
    seen = ", ".join(f"{count} {name}" for name, count in told.items() if count) or "not started"
    since = f" since {status['startTime']}" if "startTime" in status else ""
    return f"{seen}{since}" + (f", for {longest / 60:g} minutes at most" if longest else "")


def _facts(cluster: Cluster, job: Object) -> Facts:
    # A pod that has failed is followed by the next; how often, the job itself knows.
    pods = [it for it in _pods(cluster, job) if it.get("status", {}).get("phase") != "Failed"]
    events = dict(events_of(cluster, pods))
    if not pods:
        events[job["metadata"]["uid"]] = cluster.events(job)
    return Facts(job, pods=pods, events=events)


def _pods(cluster: Cluster, job: Object) -> list[Object]:
    """The pods of this very job, the latest last."""
    about = job["metadata"]
    for label in (_JOB, _OLD_JOB):
        labels = {label: about["name"]}
        pods = cluster.find_all("v1", "Pod", labels=labels, namespace=about["namespace"])
        if pods:
            return sorted(pods, key=lambda it: str(it["metadata"]["creationTimestamp"]))
    return []


def _blamed(cluster: Cluster, job: Object) -> list[str]:
    """Containers of the last pod that ended badly: a pod may fail before its work begins."""
    pod = next(reversed(_pods(cluster, job)), {}).get("status", {})
    told = []
    for each in (*pod.get("initContainerStatuses", []), *pod.get("containerStatuses", [])):
        ended = each.get("state", {}).get("terminated") or {}
        if ended.get("exitCode"):
            why = ended.get("message") or f"exit code {ended['exitCode']}"
            told.append(f"container {each['name']}: {shortened(why)}")
    return told


def _last_lines(cluster: Cluster, job: Object, tail: int) -> str:
    """Of its work, or of what comes before it and did not let it begin."""
    for pod in reversed(_pods(cluster, job)):
        name, place = pod["metadata"]["name"], pod["metadata"]["namespace"]
        first = reversed(pod["spec"].get("initContainers", []))
        for container in (*pod["spec"]["containers"], *first):
            told = {"container": container["name"], "tail": tail, "namespace": place}
            if text := cluster.logs(name, **told):
                return text.rstrip()
    return ""
