"""The platform leaves a namespace: what it owns goes, what is others' or holds data stays."""

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Final

from clinical_ai import names
from clinical_ai.change import Change, Did
from clinical_ai.errors import NeedsOperator
from clinical_ai.inventory import is_ours
from clinical_ai.manifests.kubernetes.metadata import ownership
from clinical_ai.manifests.kubernetes.migration import DROP
from clinical_ai.plans import pools_to_restore
from clinical_ai.ports_cluster import Cluster, Object, Propagation, Ref
from clinical_ai.secret_references import parts
from clinical_ai.steps.cluster.hold import find_open
from clinical_ai.steps.cluster.inventory import Ownership, read_inventory
from clinical_ai.steps.cluster.job import await_job, remove_job
from clinical_ai.steps.cluster.records import Records
from clinical_ai.steps.cluster.rollout import await_gone
from clinical_ai.steps.cluster.synced import KIND

_JOBS: Final = ("batch/v1", "Job")
# What deploy/self and bootstrap write beside their inventories; the switch is a person's.
_RECORDS: Final = (names.LEDGER, names.GOOD_OBJECTS)
_OWNERS: Final = {
    names.INVENTORY: names.KEPT_BY_DEPLOY,
    names.RIGHTS_INVENTORY: names.KEPT_BY_BOOTSTRAP,
}
_SECRETS: Final = (
    names.DATABASE_URL,
    names.API_AUTH,
    names.ENCRYPTION_KEY,
    names.AWS_ACCESS_KEY_ID,
)
_CHOSEN: Final = ("controller-uid", "job-name")  # labels that the API server gives a Job's pods
_SECONDS: Final = 180


@dataclass(frozen=True)
class Options:
    """What goes beside the objects: the platform's Secrets, the schema with all runs."""

    secrets: bool = False
    database: bool = False


@dataclass(frozen=True)
class Removal:
    """What goes, in this order, and what stays although it looks like the platform's."""

    workloads: Sequence[Object]
    others: Sequence[Object]
    staying: Sequence[str]
    options: Options
    drop: Object | None = None  # the Job that drops the schema

    @property
    def going(self) -> list[str]:
        """As a person reads it."""
        objects = [Ref.of(each).short for each in (*self.workloads, *self.others)]
        return [*objects, *([f"schema {names.PREFECT_SCHEMA}, with all runs"] if self.drop else [])]


def plan_removal(cluster: Cluster, options: Options) -> Removal:
    """What an uninstallation would remove; reads only."""
    listed, staying = _listed(cluster)
    objects = [each for each in listed if each["kind"] not in {"Deployment", "Namespace"}]
    spaces = [Ref.of(each).short for each in listed if each["kind"] == "Namespace"]
    secrets = _secrets(cluster)
    held = _held_pools(cluster, options)
    records = _there(
        cluster, "ConfigMap", [*_RECORDS, *_OWNERS, *([] if held else [names.JOURNAL])]
    )
    jobs = _jobs(cluster)
    staying += [*spaces, *([] if options.secrets else [Ref.of(each).short for each in secrets])]
    if held:
        told = f"by which the next `up` opens what is held: {', '.join(held)}"
        staying.append(f"ConfigMap {names.JOURNAL}, {told}")
    if not options.database:
        lost = ", whose blocks nothing can read then: its key goes" if options.secrets else ""
        staying.append(f"schema {names.PREFECT_SCHEMA} of the database{lost}")
    workloads = [each for each in listed if each["kind"] == "Deployment"]
    return Removal(
        workloads=workloads,
        # What a drop of the schema needs, as policies and Secrets, is removed after it.
        others=[*jobs, *objects, *(secrets if options.secrets else []), *records],
        staying=staying,
        options=options,
        drop=_drop(jobs, workloads) if options.database else None,
    )


def refuse_to_forget(cluster: Cluster, options: Options) -> None:
    """NeedsOperator when a pool is held in a database that stays, and the namespace is to go."""
    if held := _held_pools(cluster, options):
        raise NeedsOperator(
            f"a change that did not end holds {', '.join(held)} in the database, and nothing but "
            f"namespace {cluster.namespace} knows it",
            "run `clinical-ai deploy --runtime kubernetes`, which opens it; or leave out "
            "--whole-namespace, or add --database; nothing was changed",
        )


def _held_pools(cluster: Cluster, options: Options) -> list[str]:
    """Pools that a killed change may have left paused, as long as the database is kept.

    A damaged journal tells of none.
    """
    if options.database:
        return []
    try:
        journal = find_open(Records(cluster))
    except NeedsOperator:
        return []
    return pools_to_restore(journal) if journal else []


def remove(
    cluster: Cluster, removal: Removal, guard: Callable[[], None], tell: Callable[[Change], None]
) -> None:
    """All of it is gone when this returns. Safe to run again after a kill."""
    for each in removal.workloads:
        tell(_delete(cluster, each, removal.options, guard))
        await_gone(cluster, Ref.of(each), seconds=_SECONDS, beat=guard)
    if removal.drop is not None:
        tell(_carry_out(cluster, removal.drop, guard))
    for each in removal.others:
        tell(_delete(cluster, each, removal.options, guard))


def _delete(cluster: Cluster, found: Object, options: Options, guard: Callable[[], None]) -> Change:
    """What an ExternalSecret made stays when the Secrets do: it is cut loose from it."""
    ref = Ref.of(found)
    loose = ref.kind == KIND and not options.secrets
    propagation: Propagation = "Orphan" if loose else "Foreground"
    guard()
    there = cluster.delete(ref, uid=found["metadata"]["uid"], propagation=propagation)
    return Change(ref.short, Did.REMOVED if there else Did.UNCHANGED)


def _drop(jobs: Sequence[Object], workloads: Sequence[Object]) -> Object | None:
    """The migration's Job with another ending: it knows image, database and policies.

    None when an earlier removal came further than this: it takes the Jobs after the schema.
    """
    found = [job for job in jobs if job["metadata"]["labels"]["app"] == names.MIGRATION]
    if not found and not workloads:
        return None
    if not found:
        raise NeedsOperator(
            "no migration Job is left, which tells how to reach the database",
            f"leave out --database, and drop the schema {names.PREFECT_SCHEMA} with psql",
        )
    model = max(found, key=lambda job: str(job["metadata"]["creationTimestamp"]))
    spec = deepcopy(model["spec"])
    for chosen in ("selector", "manualSelector"):
        spec.pop(chosen, None)
    about = spec["template"]["metadata"]
    about["labels"] = {k: v for k, v in about["labels"].items() if not k.endswith(_CHOSEN)}
    [container] = spec["template"]["spec"]["containers"]
    container["args"] = [DROP]
    labels = {**model["metadata"]["labels"]}
    metadata = {"name": f"{names.MIGRATION}-drop", "labels": labels}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec}


def _carry_out(cluster: Cluster, job: Object, guard: Callable[[], None]) -> Change:
    """One that a kill or a failure left tells nothing of the schema of today."""
    name, ref = job["metadata"]["name"], Ref.of(job)
    if (old := cluster.find(ref)) is not None:
        remove_job(cluster, old, seconds=_SECONDS, beat=guard)
    guard()
    cluster.create(job)
    await_job(cluster, name, seconds=_SECONDS, beat=guard)
    made = cluster.get(ref)
    guard()
    cluster.delete(ref, uid=made["metadata"]["uid"], propagation="Foreground")
    return Change(f"schema {names.PREFECT_SCHEMA}", Did.REMOVED)


def _there(cluster: Cluster, kind: str, wanted: Sequence[str]) -> list[Object]:
    found = (cluster.find(Ref("v1", kind, name)) for name in wanted)
    return [each for each in found if each is not None]


def _listed(cluster: Cluster) -> tuple[list[Object], list[str]]:
    """Objects of both inventories that are there and still ours, the last applied first."""
    ours: list[Object] = []
    foreign: list[str] = []
    for name, owner in _OWNERS.items():
        kept = Ownership(ownership(cluster.namespace, owner), 0, name)
        uids = read_inventory(cluster, kept).uids
        for ref in reversed(list(uids)):
            served = cluster.serves(ref.api_version, ref.kind)
            found = cluster.find(ref) if served else None
            if found is None:
                continue
            if is_ours(found, uids[ref], kept.labels, names.FIELD_MANAGER):
                ours.append(found)
            else:
                foreign.append(f"{ref.short}, which is not the platform's any more")
    return ours, foreign


def _jobs(cluster: Cluster) -> list[Object]:
    """Of migrations and of runs of the pool `platform`."""
    return [
        job
        for name in (names.PLATFORM_JOB, names.MIGRATION, names.POD_CHECK)
        for job in cluster.find_all(*_JOBS, labels={"app": name})
    ]


def _secrets(cluster: Cluster) -> list[Object]:
    """Those of fixed names, whoever made them, and those that bootstrap made for connections."""
    fixed = list(dict.fromkeys(parts(reference)[0] for reference in _SECRETS))
    ours = cluster.find_all("v1", "Secret", labels={"app.kubernetes.io/part-of": names.PRODUCT})
    more = [each for each in ours if each["metadata"]["name"] not in fixed]
    return [*_there(cluster, "Secret", fixed), *more]
