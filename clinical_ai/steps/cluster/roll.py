"""The two steps of every change: an object is rolled, or all that were are unrolled."""

import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

from clinical_ai import names
from clinical_ai.change import Change
from clinical_ai.errors import Locked, PlatformError, TimedOut, Transient
from clinical_ai.ports_cluster import Cluster, Object, Ref
from clinical_ai.steps.cluster.ensure import ObjectChange, ensure_objects, free
from clinical_ai.steps.cluster.hold import (
    await_beginnings,
    drain_worker,
    finish_hold,
    holding,
)
from clinical_ai.steps.cluster.inventory import read_inventory, write_inventory
from clinical_ai.steps.cluster.rollout import await_rollout, replaces_pods, rollout_state
from clinical_ai.steps.cluster.site import Site
from clinical_ai.steps.cluster.synced import KIND, await_synced, look_at_sync
from clinical_ai.waiting import Sighting, outlasting, persisting, wait_until

log = logging.getLogger(__name__)

_POOLS: Final = {worker: pool for pool, worker in names.WORKERS.items()}
_WORKLOAD: Final = "Deployment"
_AWAITED: Final = (_WORKLOAD, KIND)
_TEMPLATE: Final = ".spec.template"
_OUTAGE: Final = 30  # seconds without an answer, before an object is not put back
_TO_STOP: Final = 60  # a server answers what it was asked, for ten seconds, and then stops


@dataclass
class Roll:
    """What a change has done so far. `seen`: what would become of each wanted object."""

    site: Site
    changes: list[Change]
    wanted: Mapping[Ref, Object]
    seen: Mapping[Ref, ObjectChange]
    objects: list[ObjectChange] = field(default_factory=list)

    def roll(self, wanted: Object, share: float) -> None:
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

    def unroll(self) -> str:
        """What was looked at is as it was last found good; the newest first.

        Also what an earlier call changed that was killed before it could do this. A worker's runs
        end first, as for any other change of it: one of its pods may work, and have taken some.
        A request without an answer is repeated: no drift check heals what stays half undone.
        When the database has moved the server stays, and what comes before it: returns from where
        to where it did, else nothing.
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
                site.note(replace(back, fields=(), detail="put back as it was last found good"))
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
