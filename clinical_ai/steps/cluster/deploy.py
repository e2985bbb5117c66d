"""The platform's objects are as wanted, stage by stage; a bad roll-out is taken back."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

from clinical_ai import names
from clinical_ai.change import Change, Did, Note, unnoted
from clinical_ai.errors import Locked, PlatformError, StillRunning, TimedOut, Transient
from clinical_ai.ports import PrefectApi
from clinical_ai.ports_cluster import Cluster, Object, Ref
from clinical_ai.steps.cluster.ensure import Guard, ObjectChange, ensure_objects, free
from clinical_ai.steps.cluster.hold import (
    await_beginnings,
    drain_worker,
    finish_hold,
    holding,
)
from clinical_ai.steps.cluster.inventory import (
    Ownership,
    check_prune,
    prune,
    read_inventory,
    uids_of,
    write_inventory,
)
from clinical_ai.steps.cluster.job import await_job, has_failed, has_succeeded, remove_job
from clinical_ai.steps.cluster.records import Records
from clinical_ai.steps.cluster.rollout import (
    RolloutFailed,
    await_rollout,
    replaces_pods,
    rollout_state,
)
from clinical_ai.steps.cluster.synced import KIND, await_synced, look_at_sync
from clinical_ai.steps.progress import Tell, unheard
from clinical_ai.waiting import Sighting, outlasting, persisting, wait_until

log = logging.getLogger(__name__)

_POOLS: Final = {worker: pool for pool, worker in names.WORKERS.items()}
_WORKLOAD: Final = "Deployment"
_AWAITED: Final = (_WORKLOAD, KIND)
_TEMPLATE: Final = ".spec.template"
_SECONDS: Final = 600  # for a roll-out that may still come up
_MARGIN: Final = 120  # for Kubernetes to stop a Job whose time is up, and to say so
_OUTAGE: Final = 30  # seconds without an answer, before an object is not put back
_TO_STOP: Final = 60  # a server answers what it was asked, for ten seconds, and then stops

Stages = Mapping[str, Sequence[Object]]


@dataclass(frozen=True)
class Site:
    """Where objects are deployed. `guard` is called before each write and while waiting.

    `api`: itself guarded; None while no server runs yet, so that there is nothing to hold.
    `drain_seconds`: how long runs may take to end before the clinical worker is replaced.
    `run`: id of the flow run that does it, if one does. `note`: called with each object that was
    written, and again when it is put back.
    """

    cluster: Cluster
    ownership: Ownership
    guard: Guard = free
    api: PrefectApi | None = None
    drain_seconds: float = 0
    run: str = ""
    seconds: float = _SECONDS
    tell: Tell = unheard
    note: Note = unnoted

    @property
    def records(self) -> Records:
        """Journal and ledger."""
        return Records(self.cluster, self.guard)


def look(site: Site, stages: Stages) -> list[ObjectChange]:
    """What differs; nothing is written. One list a kind at most, one dry run an object."""
    wanted = [each for stage in stages.values() for each in stage]
    changes = ensure_objects(site.cluster, wanted, write=False)
    refs = [Ref.of(each) for each in wanted]
    inventory = read_inventory(site.cluster, site.ownership).with_wanted(refs)
    return [*changes, *prune(site.cluster, inventory, refs, site.ownership, write=False).changes]


def deploy(
    site: Site, stages: Stages, migration: Object | None = None, *, all_of_it: bool = True
) -> list[Change]:
    """All stages are applied in order and have come up, and what is wanted no more is gone.

    `migration` runs to its end before the server is changed. When something does not come up, what
    this call changed is put back as it was last found good, and RolloutFailed tells why. When the
    migration has moved the database that is the workers only: an older server fails on it. Nothing
    is put back when runs did not end in time for their worker to be replaced, nor while the
    migration may still go on: StillRunning. That all came up makes it no good one yet: a proof
    does. A prune that is refused is so before anything is applied. `all_of_it` off: others follow,
    so nothing is pruned yet.
    """
    wanted = [each for stage in stages.values() for each in stage]
    refs = [Ref.of(each) for each in wanted]
    if site.api is not None:
        finish_hold(site.records, site.api)
    inventory = read_inventory(site.cluster, site.ownership).with_wanted(refs)
    if all_of_it:
        check_prune(site.cluster, inventory, refs, site.ownership)
    first = write_inventory(site.cluster, inventory, site.ownership, guard=site.guard)
    seen = ensure_objects(site.cluster, wanted, write=False)
    work = _Work(
        site, [first], dict(zip(refs, wanted, strict=True)), dict(zip(refs, seen, strict=True))
    )
    _roll_out(work, stages, migration)
    known = inventory.with_uids(uids_of(work.objects))
    if not all_of_it:
        write_inventory(site.cluster, known, site.ownership, guard=site.guard)
        return work.changes
    pruned = prune(
        site.cluster,
        known,
        refs,
        site.ownership,
        write=True,
        guard=site.guard,
        read=_mounted(wanted),
    )
    write_inventory(site.cluster, pruned.inventory, site.ownership, guard=site.guard)
    for each in pruned.changes:
        if each.wrote:
            site.note(each)
    for fault in pruned.faults:
        log.warning("tried again next time: %s", fault)
    done = [*work.changes, *pruned.changes]
    if migration is not None:
        done += _forget_migrations(site, migration["metadata"]["name"])
    if any(each.wrote for each in done):
        site.tell(1, "all is as wanted")
    return done


def _roll_out(work: "_Work", stages: Stages, migration: Object | None) -> None:
    """All stages have come up in order; otherwise what can be is put back, and why is raised."""
    try:
        for name, objects in stages.items():
            if name == "server" and migration is not None:
                work.changes.append(migrate(work.site, migration))
            for each in objects:
                work.apply(each, len(work.objects) / len(work.wanted))
    except StillRunning:
        raise  # all before it came up, and the next run goes on from there
    except (RolloutFailed, TimedOut) as error:
        if moved := work.put_back():
            raise _not_put_back(error, moved) from error
        raise


def _mounted(wanted: Iterable[Object]) -> set[str]:
    """Names of the Secrets in volumes of these workloads' pods."""
    pods = [each["spec"]["template"]["spec"] for each in wanted if each["kind"] == _WORKLOAD]
    volumes = [volume for pod in pods for volume in pod.get("volumes", [])]
    return {volume["secret"]["secretName"] for volume in volumes if "secret" in volume}


def migrate(site: Site, migration: Object, *, anew: bool = False) -> Change:
    """Prefect's database has the release's revision: the Job of that name has succeeded.

    One that failed is tried anew: its node may have gone, or the database have been away. With
    `anew` also one that succeeded: what it made is there no more.
    """
    name = migration["metadata"]["name"]
    what = f"Job {name}"
    ref = Ref.of(migration)
    found = site.cluster.find(ref)
    if found is not None and (has_failed(found) or (anew and has_succeeded(found))):
        remove_job(site.cluster, found, seconds=site.seconds, beat=site.guard)
        found = None
    if found is None:
        site.guard()
        site.cluster.create(migration)
    done = found is not None and has_succeeded(found)
    if not done:
        _await_migration(site, migration)
    return Change(what, Did.UNCHANGED if done else Did.CREATED)


def _await_migration(site: Site, migration: Object) -> None:
    """It has succeeded. It is given all the time that its Job has, for nobody may stop it before.

    One that can't begin is taken away: it might later, below a server that was put back.
    """
    name, longest = migration["metadata"]["name"], migration["spec"]["activeDeadlineSeconds"]
    try:
        await_job(site.cluster, name, seconds=longest + _MARGIN, beat=site.guard)
    except TimedOut as error:
        raise StillRunning(f"{error}; nothing is put back, since it may still go on") from error
    except RolloutFailed:
        found = site.cluster.find(Ref.of(migration))
        if found is not None and not has_failed(found):
            remove_job(site.cluster, found, seconds=site.seconds, beat=site.guard)
        raise


def _forget_migrations(site: Site, kept: str) -> list[Change]:
    """Jobs of earlier releases are gone: each change of release or settings makes one."""
    labels = {"app": names.MIGRATION}
    old = [
        each["metadata"]
        for each in site.cluster.find_all("batch/v1", "Job", labels=labels)
        if each["metadata"]["name"] != kept
    ]
    for about in old:
        site.guard()
        site.cluster.delete(Ref("batch/v1", "Job", about["name"]), uid=about["uid"])
    return [Change(f"Job {about['name']}", Did.REMOVED, "of an earlier release") for about in old]


@dataclass
class _Work:
    """What this call has done so far. `seen`: what would become of each wanted object."""

    site: Site
    changes: list[Change]
    wanted: Mapping[Ref, Object]
    seen: Mapping[Ref, ObjectChange]
    objects: list[ObjectChange] = field(default_factory=list)

    def apply(self, wanted: Object, share: float) -> None:
        """The object is as wanted; a workload has come up. `share`: of all, that is done before."""
        site, ref = self.site, Ref.of(wanted)
        change = self.seen[ref]
        if change.wrote:
            site.tell(share, f"{ref.short} is {change.did}")
        elif is_up(site.cluster, ref):
            self._keep(change)
            return
        with _held(site, change):
            if change.wrote:
                [change] = ensure_objects(site.cluster, [wanted], write=True, guard=site.guard)
                site.note(change)
            self._keep(change)
            _settle(site, ref, change)

    def _keep(self, change: ObjectChange) -> None:
        self.objects.append(change)
        self.changes.append(change)

    def put_back(self) -> str:
        """What was looked at is as it was last found good; the newest first.

        Also what an earlier call changed that was killed before it could do this. A worker's runs
        end first, as for any other change of it: one of its pods may work, and have taken some.
        A request without an answer is repeated: no drift check heals what stays half undone.
        When the database has moved, which is given back, the server stays and what comes before it.
        """
        try:
            found = persisting("what was good", self.site.records.find_objects, seconds=_OUTAGE)
            good = {Ref.of(each): each for each in found}
        except PlatformError as error:
            log.error("nothing is put back: %s", error)  # noqa: TRY400
            return ""
        looked_at = [change.ref for change in reversed(self.objects) if change.ref in good]
        for ref in [*self._dropped(good), *looked_at]:
            if moved := _moved(good[ref], self.wanted.get(ref, good[ref])):
                return moved
            try:
                put_back = partial(self._put_back, good[ref])
                persisting(f"{ref.short} as it was", put_back, seconds=_OUTAGE)
            except PlatformError as error:
                log.error("%s could not be put back: %s", ref, error)  # noqa: TRY400
        return ""

    def _dropped(self, good: Iterable[Ref]) -> list[Ref]:
        """Good objects that are wanted no more, as before; none that the next prune would not find.

        A change that came up and did not prove good has pruned them: what is put back needs them.
        """
        site, dropped = self.site, [ref for ref in good if ref not in self.seen]

        def know() -> None:
            known = read_inventory(site.cluster, site.ownership).with_wanted(dropped)
            write_inventory(site.cluster, known, site.ownership, guard=site.guard)

        try:
            persisting("the inventory", know, seconds=_OUTAGE)
        except PlatformError as error:
            log.error("what is wanted no more is not put back: %s", error)  # noqa: TRY400
            return []
        return dropped

    def _put_back(self, before: Object) -> None:
        site, ref = self.site, Ref.of(before)
        with ExitStack() as stack:
            [back] = ensure_objects(site.cluster, [before], write=False)
            try:
                if site.api is not None:
                    finish_hold(site.records, site.api)
                stack.enter_context(_held(site, back))
            except (TimedOut, Locked):
                raise
            except Transient as error:
                log.warning("no pool is held, Prefect does not answer: %s", error)
            if back.wrote:
                [back] = ensure_objects(site.cluster, [before], write=True, guard=site.guard)
                log.warning("%s is put back as it was last found good", ref)
                site.note(replace(back, detail="put back as it was last found good"))
            _settle(site, ref, back)


def _moved(before: Object, wanted: Object) -> str:
    """How the database's revision differs that both need; empty when neither tells another one.

    By the time the wanted server is applied, the database has been migrated to its revision.
    """
    old, new = (
        each["metadata"].get("annotations", {}).get(names.REVISION_ANNOTATION, "unknown")
        for each in (before, wanted)
    )
    return "" if old == new else f"from revision {old} to {new}"


def _not_put_back(error: RolloutFailed | TimedOut, moved: str) -> RolloutFailed:
    """The same error for a person, who has to decide about the database."""
    found = error if isinstance(error, RolloutFailed) else RolloutFailed(str(error), "")
    told = f"Prefect's database went {moved}, so the server of before is not put back"
    then = "mend the cause and run `up` of the newer release, or restore a backup of the database"
    remedy = f"{found.remedy}; {then}" if found.remedy else then
    return RolloutFailed(f"{told}; {found.problem}", remedy, found.diagnoses)


def is_up(cluster: Cluster, ref: Ref) -> bool:
    """Whether there is nothing to wait for."""
    if ref.kind not in _AWAITED:
        return True
    found = cluster.find(ref)
    if found is None:
        return False
    state = look_at_sync(cluster, found) if ref.kind == KIND else rollout_state(found)
    return state.done


def _held(site: Site, change: ObjectChange) -> AbstractContextManager[None]:
    """While a worker is replaced, its pool hands out no run; while the server is, none does.

    Also while Kubernetes ends a replacement that a kill left to it. That waits for no run.
    """
    ref, api, guard = change.ref, site.api, site.guard
    if api is None or ref is None or ref.kind != _WORKLOAD:
        return nullcontext()
    settle: Callable[[], None]
    if ref.name == names.SERVER:
        pools, why = list(names.WORKERS), "the server is replaced"
        settle = partial(await_beginnings, api, pools, guard)
    elif pool := _POOLS.get(ref.name):
        pools, why = [pool], f"the worker of pool {pool} is replaced"
        settle = partial(drain_worker, api, pool, site.drain_seconds, guard)
    else:
        return nullcontext()
    if not any(each.path.startswith(_TEMPLATE) for each in change.fields):
        found = site.cluster.find(ref)
        if found is None or not replaces_pods(found):
            return nullcontext()
        settle = free
    return holding(site.records, api, pools, why, settle, site.run)


def _settle(site: Site, ref: Ref, change: ObjectChange) -> None:
    """The workload has come up, the Secret is synced. RolloutFailed tells why it is not.

    A server that was changed, or had not come up yet, is the only one then.
    """
    up = is_up(site.cluster, ref)
    if not up:
        wait = await_synced if ref.kind == KIND else await_rollout
        wait(site.cluster, ref, seconds=site.seconds, beat=site.guard)
    if (change.wrote or not up) and ref.name == names.SERVER and ref.kind == _WORKLOAD:
        _await_one_server(site)


def _await_one_server(site: Site) -> None:
    """No server of before answers any more.

    Each may keep leases of its own: who is given a slot by one and begins by the other has lost it.
    A pod whose node is gone never goes, and is no reason to take the change back.
    """

    def look() -> Sighting:
        pods = site.cluster.find_all("v1", "Pod", labels={"app": names.SERVER})
        going = [it["metadata"]["name"] for it in pods if it["metadata"].get("deletionTimestamp")]
        return Sighting(not going, f"{', '.join(going)} still stops")

    what = "the end of the server of before"
    try:
        wait_until(what, outlasting(look, site.guard), seconds=_TO_STOP, every=1)
    except TimedOut as error:
        log.warning("%s", error)
