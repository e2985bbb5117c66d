"""The platform leaves a namespace: what it owns goes, what is others' or holds data stays."""

from collections.abc import Callable, Collection, Sequence
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
from clinical_ai.ports_cluster import Cluster, Forbidden, Object, Propagation, Ref
from clinical_ai.secret_references import parts
from clinical_ai.steps.cluster.exposure import INGRESS, ROUTE
from clinical_ai.steps.cluster.hold import find_open
from clinical_ai.steps.cluster.inventory import Ownership, find_served, read_inventory
from clinical_ai.steps.cluster.job import allowed, await_job, remove_job
from clinical_ai.steps.cluster.records import Records
from clinical_ai.steps.cluster.rollout import await_gone
from clinical_ai.steps.cluster.synced import KIND, OPERATOR, STORE

_JOBS: Final = ("batch/v1", "Job")
# What deploy/self and bootstrap write beside their inventories; the switch is a person's.
_RECORDS: Final = (names.LEDGER, names.GOOD_OBJECTS)
_OWNERS: Final = {
    names.INVENTORY: names.KEPT_BY_DEPLOY,
    names.RIGHTS_INVENTORY: names.KEPT_BY_BOOTSTRAP,
}
_SECRETS: Final = (*names.OWN_SECRETS, names.AWS_ACCESS_KEY_ID)
# Every kind that a platform may have. ConfigMaps, too: who uninstalls is a person, not deploy/self.
_LISTED: Final = {
    names.KEPT_BY_DEPLOY: (
        ("apps/v1", "Deployment"),
        (INGRESS.api_version, INGRESS.kind),
        (ROUTE.api_version, ROUTE.kind),
        ("v1", "Service"),
        ("policy/v1", "PodDisruptionBudget"),
        ("networking.k8s.io/v1", "NetworkPolicy"),
        (OPERATOR, KIND),
        (OPERATOR, STORE),
        ("v1", "ConfigMap"),
    ),
    names.KEPT_BY_BOOTSTRAP: (
        ("v1", "ServiceAccount"),
        ("rbac.authorization.k8s.io/v1", "Role"),
        ("rbac.authorization.k8s.io/v1", "RoleBinding"),
    ),
}
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
    inside: Sequence[str]  # stays, as long as the namespace does
    outside: Sequence[str]  # stays in any case
    options: Options
    drop: Object | None = None  # the Job that drops the schema
    held: Sequence[str] = ()  # pools that stay paused in the database, if nobody opens them

    @property
    def staying(self) -> list[str]:
        """As a person reads it."""
        return [*self.inside, *self.outside]

    @property
    def going(self) -> list[str]:
        """As a person reads it."""
        objects = [Ref.of(each).short for each in (*self.workloads, *self.others)]
        return [*objects, *([f"schema {names.PREFECT_SCHEMA}, with all runs"] if self.drop else [])]


def plan_removal(cluster: Cluster, options: Options) -> Removal:
    """What an uninstallation would remove; reads only."""
    listed, inside = _listed(cluster)
    objects = [each for each in listed if each["kind"] not in {"Deployment", "Namespace"}]
    workloads = [each for each in listed if each["kind"] == "Deployment"]
    spaces = [Ref.of(each).short for each in listed if each["kind"] == "Namespace"]
    secrets, jobs = _secrets(cluster), _jobs(cluster)
    drop = _drop(jobs, workloads) if options.database else None
    held = [] if drop else _held_pools(cluster)
    journal = [] if held else _there(cluster, "ConfigMap", [names.JOURNAL])
    inside += [*spaces, *([] if options.secrets else [Ref.of(each).short for each in secrets])]
    if held:
        told = f"by which the next `up` opens what is held: {', '.join(held)}"
        inside.append(f"ConfigMap {names.JOURNAL}, {told}")
    return Removal(
        workloads=workloads,
        # What a drop of the schema needs, as policies and Secrets, is removed after it. The journal
        # goes before the Jobs: without them the next removal can't drop, and has to believe it.
        others=[
            *journal,
            *jobs,
            *objects,
            *(secrets if options.secrets else []),
            *_there(cluster, "ConfigMap", [*_RECORDS, *_OWNERS]),
        ],
        inside=inside,
        outside=[] if drop else [_schema(options)],
        options=options,
        drop=drop,
        held=held,
    )


def _schema(options: Options) -> str:
    """What is told of a schema that is not dropped."""
    schema = f"schema {names.PREFECT_SCHEMA} of the database"
    if options.database:
        no_way = "no Job is left that tells how to reach it, drop it with psql"
        return f"{schema}, if no earlier uninstall dropped it: {no_way}"
    lost = ", whose blocks nothing can read then: its key goes" if options.secrets else ""
    return f"{schema}{lost}"


def refuse_to_forget(cluster: Cluster, removal: Removal) -> None:
    """NeedsOperator when a pool is held in a database that stays, and the namespace is to go."""
    if not removal.held:
        return
    there = any(each["metadata"]["name"] == names.SERVER for each in removal.workloads)
    opens = "deploy --runtime kubernetes" if there else "up --runtime kubernetes --settings FILE"
    # One that was asked for and does not come about is no way out.
    drops = ", or add --database" if _migrations(removal.others) else ""
    raise NeedsOperator(
        f"a change that did not end holds {', '.join(removal.held)} in the database, and nothing "
        f"but namespace {cluster.namespace} knows it",
        f"run `clinical-ai {opens}`, which opens it; or leave out --whole-namespace{drops}; "
        "nothing was changed",
    )


def _held_pools(cluster: Cluster) -> list[str]:
    """Pools that a killed change may have left paused. A damaged journal tells of none."""
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
    # The platform worker took runs until it stopped.
    known = {each["metadata"]["uid"] for each in removal.others}
    late = [each for each in _jobs(cluster) if each["metadata"]["uid"] not in known]
    if removal.drop is not None:
        tell(_carry_out(cluster, removal.drop, guard))
    for each in [*late, *removal.others]:
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
    found = _migrations(jobs)
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


def _migrations(objects: Sequence[Object]) -> list[Object]:
    jobs = [each for each in objects if each["kind"] == "Job"]
    return [job for job in jobs if job["metadata"]["labels"].get("app") == names.MIGRATION]


def _carry_out(cluster: Cluster, job: Object, guard: Callable[[], None]) -> Change:
    """One that a kill or a failure left tells nothing of the schema of today.

    It has gone when this returns: what else is removed may be the one that was left, by its name.
    """
    name, ref = job["metadata"]["name"], Ref.of(job)
    if (old := cluster.find(ref)) is not None:
        remove_job(cluster, old, seconds=_SECONDS, beat=guard)
    guard()
    cluster.create(job)
    await_job(cluster, name, seconds=allowed(job), beat=guard)
    remove_job(cluster, cluster.get(ref), seconds=_SECONDS, beat=guard)
    return Change(f"schema {names.PREFECT_SCHEMA}", Did.REMOVED)


def _there(cluster: Cluster, kind: str, wanted: Sequence[str]) -> list[Object]:
    found = (cluster.find(Ref("v1", kind, name)) for name in wanted)
    return [each for each in found if each is not None]


def _listed(cluster: Cluster) -> tuple[list[Object], list[str]]:
    """Objects of both inventories that are there and still ours, the last applied first.

    Then those of ours that none lists, as when somebody deleted one: they would stay and run on.
    And what stays, as a person reads it.
    """
    ours: list[Object] = []
    foreign: list[str] = []
    known: set[Ref] = set()
    for name, owner in _OWNERS.items():
        kept = Ownership(ownership(cluster.namespace, owner), 0, name)
        uids = read_inventory(cluster, kept).uids
        known |= uids.keys()
        for ref in reversed(list(uids)):
            if (found := find_served(cluster, ref)) is None:
                continue
            if is_ours(found, uids[ref], kept.labels, names.FIELD_MANAGER):
                ours.append(found)
            else:
                foreign.append(f"{ref.short}, which is not the platform's any more")
    unlisted, unseen = _unlisted(cluster, known)
    return [*ours, *unlisted], [*foreign, *unseen]


def _unlisted(cluster: Cluster, known: Collection[Ref]) -> tuple[list[Object], list[str]]:
    """Objects that carry our labels, were applied by us, and are not known.

    Of kinds that this account may not list there are those that were last found good. Then which
    kinds could not be searched: no reason to keep what the inventories list.
    """
    unseen: list[str] = []
    try:
        good = [Ref.of(each) for each in Records(cluster).find_objects()]
    except NeedsOperator:
        good = []
    found = {names.KEPT_BY_DEPLOY: [it for ref in good if (it := find_served(cluster, ref))]}
    for owner, kinds in _LISTED.items():
        labels = ownership(cluster.namespace, owner)
        rows: list[Object] = []
        for api_version, kind in kinds:
            if not cluster.serves(api_version, kind):
                continue
            try:
                rows += cluster.find_all(api_version, kind, labels=labels)
            except Forbidden as error:
                unseen.append(f"each {kind} that no inventory lists, if any: {error.problem}")
        found[owner] = [*rows, *found.get(owner, [])]
    ours = {
        Ref.of(each): each
        for owner, rows in found.items()
        for each in rows
        if is_ours(each, "", ownership(cluster.namespace, owner), names.FIELD_MANAGER)
    }
    # The inventories bear our labels, too, and go last.
    inventories = {Ref("v1", "ConfigMap", name, cluster.namespace) for name in _OWNERS}
    return [each for ref, each in ours.items() if ref not in {*known, *inventories}], unseen


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
