"""What a platform with these settings needs of a cluster: objects, permissions, pods."""

from collections import Counter
from collections.abc import Collection, Iterator
from typing import Any, Final

from clinical_ai import names
from clinical_ai.manifests.kubernetes import credentials, desired, pools
from clinical_ai.manifests.kubernetes.metadata import Manifest, cluster_of
from clinical_ai.manifests.kubernetes.migration import migration
from clinical_ai.ports_cluster import Permission, Ref, group_of
from clinical_ai.release import Release
from clinical_ai.settings import Settings
from clinical_ai.steps.cluster.ensure import BY_NAME

PodSpec = dict[str, Any]

_PLURALS: Final = {
    "NetworkPolicy": "networkpolicies",
    "Ingress": "ingresses",
}
# Of any release: what is needed depends on settings alone.
_ANY: Final = Release(
    image=f"{names.PRODUCT}@sha256:{'0' * 64}",
    content="0" * 12,
    version="0",
    prefect="0",
    python="0",
    revision="0",
)
# What deploy/self and bootstrap write down; the journal of held pools comes and is seldom needed.
_RECORDS: Final = (names.INVENTORY, names.RIGHTS_INVENTORY, names.LEDGER, names.GOOD_OBJECTS)
_LEASE: Final = Ref("coordination.k8s.io/v1", "Lease", names.CLUSTER_LEASE)


def objects(settings: Settings, standing: Collection[str] = ()) -> list[Manifest]:
    """All that is applied, but for the namespace. `standing`: see `access.rights`."""
    return [
        *desired.for_bootstrap(settings, make_namespace=False, standing=standing),
        *desired.for_deploy(settings, _ANY),
    ]


def refs(settings: Settings) -> list[Ref]:
    """All that stays in the namespace, but for Jobs."""
    return [
        *map(Ref.of, objects(settings)),
        *(Ref("v1", "Secret", name) for name in credentials.known(settings)),
        *(Ref("v1", "ConfigMap", name) for name in _RECORDS),
        _LEASE,
    ]


def records() -> list[Ref]:
    """What is written by a fixed name beside all that is applied; but for Secrets."""
    written = (Ref("v1", "ConfigMap", name) for name in (*_RECORDS, names.JOURNAL))
    return [*written, _LEASE, Ref("batch/v1", "Job", names.POD_CHECK)]


def resource_of(ref: Ref) -> str:
    """As quotas name it: `services`, `deployments.apps`."""
    group = group_of(ref.api_version)
    return f"{_plural(ref.kind)}.{group}" if group else _plural(ref.kind)


def workloads(settings: Settings) -> list[Manifest]:
    """Kubernetes Deployments."""
    return [each for each in objects(settings) if each["kind"] == "Deployment"]


def pods(settings: Settings) -> dict[str, PodSpec]:
    """A pod of each kind by its name: of workloads, a run of the platform's pool, the migration."""
    jobs = {
        names.PLATFORM_JOB: pools.job(settings, _ANY),
        names.MIGRATION: migration(settings, _ANY),
    }
    made = {each["metadata"]["name"]: each for each in workloads(settings)} | jobs
    return {name: each["spec"]["template"]["spec"] for name, each in made.items()}


def passing(settings: Settings) -> list[PodSpec]:
    """One of these comes beside all others: in another's place, to migrate, or as a canary."""
    surging = [
        each["metadata"]["name"]
        for each in workloads(settings)
        if each["spec"]["strategy"]["rollingUpdate"]["maxSurge"]
    ]
    every = pods(settings)
    return [every[name] for name in (*surging, names.MIGRATION, names.PLATFORM_JOB)]


def permissions(settings: Settings, standing: Collection[str] = ()) -> Iterator[Permission]:
    """To write all objects; a role can be granted only by whoever holds what is in it."""
    every = objects(settings, standing)
    number = Counter(each["kind"] for each in every)
    for each in every:
        group = group_of(each["apiVersion"])
        # Several of a kind are listed; a single one, and what may hold others' data, is not.
        listed = number[each["kind"]] > 1 and each["kind"] not in BY_NAME
        several = ("list",) if listed else ()
        for verb in ("get", *several, "create", "patch", "delete"):
            yield Permission(verb, _plural(each["kind"]), group)
        if each["kind"] == "Role":
            yield from _granted(each)
    for verb in ("get", "create", "patch"):
        yield Permission(verb, "secrets")
    for verb in ("create", "get", "delete"):
        yield Permission(verb, "jobs", "batch")
    yield Permission("create", "pods/portforward")
    if cluster_of(settings).lease_claim:
        yield Permission("get", "persistentvolumeclaims")


def _granted(role: Manifest) -> Iterator[Permission]:
    for rule in role["rules"]:
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                for verb in rule["verbs"]:
                    for name in rule.get("resourceNames", [""]):
                        yield Permission(verb, resource, group, name)


def _plural(kind: str) -> str:
    return _PLURALS.get(kind, f"{kind.lower()}s")
