"""What a pod finds of the database and the storage, before anything depends on them."""

from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from secrets import token_hex
from typing import Final

from pydantic import SecretStr

from bootstrap.cluster.taken import refuse_foreign
from clinical_ai import names
from clinical_ai.adapters.cluster_secrets import ClusterSecrets
from clinical_ai.adapters.secret_text import encoded
from clinical_ai.deployment_plan import covers
from clinical_ai.errors import Locked, NeedsOperator
from clinical_ai.manifests.kubernetes import credentials, network
from clinical_ai.manifests.kubernetes.pod_check import (
    StandIn,
    asks_vault,
    lent_secret,
    pod_check,
    reads,
)
from clinical_ai.ports_cluster import Cluster, Object, Ref
from clinical_ai.release import Release
from clinical_ai.secret_lines import replacing
from clinical_ai.settings import Settings
from clinical_ai.steps.cluster.ensure import Guard, free
from clinical_ai.steps.cluster.job import await_job, remove_job
from clinical_ai.steps.cluster.rollout import RolloutFailed

_SECONDS: Final = 300
_REMOVAL_SECONDS: Final = 90  # longer than its pod may take to end
_REF: Final = Ref("batch/v1", "Job", names.POD_CHECK)
_ANY_ACCOUNT: Final = "default"  # Kubernetes makes it in each namespace


def check_from_pod(
    cluster: Cluster, settings: Settings, release: Release, guard: Guard
) -> list[str]:
    """What a pod finds; the pod is removed, also when it fails, unless `guard` raises.

    For the holder of the lease, which `guard` renews: a check that is there is of nobody who lives.
    """
    job = pod_check(settings, release)
    guard()
    made = cluster.create(job) or _make_anew(cluster, job, guard)
    with _removed_at_the_end(cluster, made, guard):
        return _told(cluster, made, guard)


def check_beside(
    cluster: Cluster, settings: Settings, release: Release, given: Mapping[str, SecretStr]
) -> list[str]:
    """The same without the lease, under a name that nobody else waits for or removes.

    Unguarded, as it changes nothing of the platform. Also before an installation: values of
    `given` that no Secret of the namespace has yet are lent to the pod in one of its own, which
    goes with the Job. One that is killed leaves a Job that Kubernetes itself removes; so the Job
    comes first, and its pod waits for the Secret.
    """
    instead = _stand_in(cluster, settings, given)
    job = pod_check(settings, release, instead, name=f"{names.POD_CHECK}-{token_hex(4)}")
    made = cluster.create(job)
    if made is None:
        raise Locked(f"{Ref.of(job).short} is somebody else's")
    with _removed_at_the_end(cluster, made, free):
        if instead.lent:
            _lend(cluster, made, {each: given[each] for each in sorted(instead.lent)})
        return _told(cluster, made, free)


def is_left(cluster: Cluster) -> bool:
    """Whether a bootstrap that was killed has left its check."""
    return cluster.find(_REF) is not None


def _stand_in(cluster: Cluster, settings: Settings, given: Mapping[str, SecretStr]) -> StandIn:
    """Nothing of it where a platform is installed."""
    secrets = ClusterSecrets(cluster).at_once()
    absent = {each for each in reads(settings) if secrets.find(each) is None}
    account = cluster.find(Ref("v1", "ServiceAccount", names.PLATFORM_JOB))
    storage = absent <= given.keys()
    if credentials.agent(settings):  # Vault lets in our account alone
        storage = account is not None and _may_leave(cluster, settings)
    return StandIn(
        account=names.PLATFORM_JOB if account else _ANY_ACCOUNT,
        lent=frozenset(absent & given.keys()),
        storage=storage,
        # Policies come after accounts: from then on they may not let this pod reach Vault.
        vault=account is None and asks_vault(settings),
    )


def _may_leave(cluster: Cluster, settings: Settings) -> bool:
    """Whether the policy that stands lets a platform job reach what these settings name."""
    [wanted] = [
        each
        for each in network.policies(settings)
        if each["metadata"]["name"] == names.PLATFORM_JOB
    ]
    found = cluster.find(Ref.of(wanted))
    return found is not None and covers(found["spec"].get("egress"), wanted["spec"]["egress"])


def _lend(cluster: Cluster, job: Object, values: Mapping[str, SecretStr]) -> None:
    data = {each: b64encode(encoded(each, value)).decode() for each, value in values.items()}
    secret = lent_secret(job, data)
    if cluster.create(secret) is None:
        raise Locked(f"{Ref.of(secret).short} is somebody else's")


@contextmanager
def _removed_at_the_end(cluster: Cluster, job: Object, guard: Guard) -> Iterator[None]:
    """The Job goes, and what it owns with it."""
    try:
        yield
    finally:
        guard()
        cluster.delete(Ref.of(job), uid=job["metadata"]["uid"])


def _told(cluster: Cluster, job: Object, guard: Guard) -> list[str]:
    try:
        told = await_job(cluster, job["metadata"]["name"], seconds=_SECONDS, beat=guard)
    except RolloutFailed as error:  # its remedy is the log of a Job that is gone now
        problem, _, _ = error.args
        line = replacing(cluster.namespace, names.SECRETS, ["KEY"])
        raise NeedsOperator(
            problem,
            "do what its lines say, then run this again; a value that the Secret holds already"
            f" stays, whatever env: or file: give, until this replaces it: {line}",
        ) from None
    return told.splitlines()


def _make_anew(cluster: Cluster, job: Object, guard: Guard) -> Object:
    """The same Job, once that of a bootstrap that was killed is gone; never somebody else's."""
    if (old := cluster.find(_REF)) is not None:
        refuse_foreign(old)
        remove_job(cluster, old, seconds=_REMOVAL_SECONDS, beat=guard)
    guard()
    made = cluster.create(job)
    if made is None:
        raise Locked("somebody else checks from a pod at the same moment")
    return made
