"""What a pod finds of the database and the storage, before anything depends on them."""

from secrets import token_hex
from typing import Final

from clinical_ai import names
from clinical_ai.errors import Locked, NeedsOperator
from clinical_ai.manifests.kubernetes.pod_check import pod_check
from clinical_ai.ports_cluster import Cluster, Object, Ref
from clinical_ai.release import Release
from clinical_ai.settings import Settings
from clinical_ai.steps.cluster.ensure import Guard, free
from clinical_ai.steps.cluster.job import await_job, remove_job
from clinical_ai.steps.cluster.rollout import RolloutFailed

_SECONDS: Final = 300
_REMOVAL_SECONDS: Final = 90  # longer than its pod may take to end
_REF: Final = Ref("batch/v1", "Job", names.POD_CHECK)


def check_from_pod(
    cluster: Cluster, settings: Settings, release: Release, guard: Guard
) -> list[str]:
    """What a pod finds; the pod is removed, also when it fails.

    For the holder of the lease, which `guard` renews: a check that is there is of nobody who lives.
    """
    job = pod_check(settings, release)
    guard()
    made = cluster.create(job) or _make_anew(cluster, job, guard)
    return _told(cluster, made, guard)


def check_beside(cluster: Cluster, settings: Settings, release: Release) -> list[str]:
    """The same without the lease, under a name that nobody else waits for or removes.

    One that is killed leaves a Job that Kubernetes itself removes.
    """
    job = pod_check(settings, release)
    job["metadata"]["name"] += f"-{token_hex(4)}"
    made = cluster.create(job)
    if made is None:
        raise Locked(f"{Ref.of(job).short} is somebody else's")
    return _told(cluster, made, free)


def is_left(cluster: Cluster) -> bool:
    """Whether a bootstrap that was killed has left its check."""
    return cluster.find(_REF) is not None


def _told(cluster: Cluster, made: Object, guard: Guard) -> list[str]:
    ref = Ref.of(made)
    try:
        told = await_job(cluster, ref.name, seconds=_SECONDS, beat=guard)
    except RolloutFailed as error:  # its remedy is the log of a Job that is gone now
        problem, _, _ = error.args
        raise NeedsOperator(problem, "do what its lines say, then run this again") from None
    finally:
        cluster.delete(ref, uid=made["metadata"]["uid"])
    return told.splitlines()


def _make_anew(cluster: Cluster, job: Object, guard: Guard) -> Object:
    """The same Job, once that of a bootstrap that was killed is gone."""
    if (old := cluster.find(_REF)) is not None:
        remove_job(cluster, old, seconds=_REMOVAL_SECONDS, beat=guard)
    made = cluster.create(job)
    if made is None:
        raise Locked("somebody else checks from a pod at the same moment")
    return made
