"""What we applied is written down in the cluster, and what is wanted no more goes."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from clinical_ai import names
from clinical_ai.change import Change, Did
from clinical_ai.errors import NeedsOperator, PlatformError, TimedOut
from clinical_ai.inventory import Inventory, as_rows, from_rows, is_ours
from clinical_ai.manifests.kubernetes import metadata
from clinical_ai.ports_cluster import Cluster, Object, Propagation, Ref
from clinical_ai.settings import Settings
from clinical_ai.steps.cluster.ensure import Guard, ObjectChange, free, is_going, what_keeps
from clinical_ai.steps.cluster.synced import KIND, secret_of
from clinical_ai.waiting import Sighting, wait_until

_KEY: Final = "objects.json"
_ASKING: Final = (
    "with these settings in the block run `clinical-ai deploy --runtime kubernetes`, which asks"
)
_MOMENT: Final = 5  # seconds: a controller that works takes its finalizer away in less


@dataclass(frozen=True)
class Ownership:
    """How we know what is ours: labels, and the ConfigMap that lists it.

    `limit`: how many objects may be deleted at once before a person has to say so. `agreed`: what
    one has said may go.
    """

    labels: Mapping[str, str]
    limit: int
    name: str = names.INVENTORY
    agreed: frozenset[Ref] = frozenset()


def kept_by_deploy(cluster: Cluster, settings: Settings) -> Ownership:
    """How deploy/self knows its own objects."""
    limit = metadata.cluster_of(settings).prune_limit
    return Ownership(metadata.ownership(cluster.namespace), limit)


def read_inventory(cluster: Cluster, ownership: Ownership) -> Inventory:
    """What was applied; empty when nothing was."""
    found = cluster.find(Ref("v1", "ConfigMap", ownership.name))
    if found is None:
        return Inventory({})
    return from_rows((found.get("data") or {}).get(_KEY, ""), f"ConfigMap {ownership.name}")


def is_listed(cluster: Cluster, found: Object, *inventories: str) -> bool:
    """Whether one of these lists this very object: ours, though its labels may be gone.

    Enough to heal it; whoever deletes asks for the labels, too.
    """
    for name in inventories:
        uid = read_inventory(cluster, Ownership({}, 0, name)).uids.get(Ref.of(found))
        if uid is not None and is_ours(found, uid, {}, names.FIELD_MANAGER):
            return True
    return False


def write_inventory(
    cluster: Cluster,
    inventory: Inventory,
    ownership: Ownership,
    *,
    guard: Guard = free,
) -> Change:
    """The cluster holds this list; nothing is written when it does already."""
    what, text = f"ConfigMap {ownership.name}", as_rows(inventory)
    found = cluster.find(Ref("v1", "ConfigMap", ownership.name))
    if found is not None and (found.get("data") or {}).get(_KEY) == text:
        return Change(what, Did.UNCHANGED)
    guard()
    about = {"name": ownership.name, "labels": dict(ownership.labels)}
    data = {_KEY: text}
    cluster.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": about, "data": data})
    return Change(what, Did.UPDATED if found else Did.CREATED)


def uids_of(changes: Iterable[ObjectChange]) -> dict[Ref, str]:
    """Of the objects that a step looked at or made."""
    return {change.ref: change.uid for change in changes if change.ref is not None}


@dataclass(frozen=True)
class Pruned:
    """What went, the inventory that is left, and what could not be deleted or finalizers keep.

    That stays in the inventory and is tried again the next time.
    """

    changes: list[ObjectChange]
    inventory: Inventory
    faults: list[PlatformError]


def check_prune(
    cluster: Cluster, inventory: Inventory, wanted: Iterable[Ref], ownership: Ownership
) -> None:
    """NeedsOperator when `prune` would refuse: asked first, so that nothing is half done."""
    _refuse(large_prune(cluster, inventory, wanted, ownership), ownership)


def large_prune(
    cluster: Cluster, inventory: Inventory, wanted: Iterable[Ref], ownership: Ownership
) -> list[Ref]:
    """All that `prune` would delete, when it would refuse until a person agrees; else none."""
    there = _find_unwanted(cluster, inventory, list(wanted))
    return _too_many(_ours(there, inventory, ownership), ownership)


def prune(
    cluster: Cluster,
    inventory: Inventory,
    wanted: Iterable[Ref],
    ownership: Ownership,
    *,
    write: bool,
    guard: Guard = free,
    read: Collection[str] = (),
) -> Pruned:
    """Objects of the inventory that are wanted no more go, while they are still ours.

    One without our labels, or made anew by somebody else, is left alone and forgotten. One that is
    being deleted is not deleted again, and stays known while finalizers keep it. More than the
    limit are refused unless a person has agreed to all of them, and so is a wanted set without
    anything; `check_prune` asks before anything else is done. `write` off: all that would go, also
    more than the limit. The inventory is given back, not written. `read`: names of Secrets that
    pods go on to read; they stay when the ExternalSecret goes that made them.
    """
    kept = list(wanted)
    there = _find_unwanted(cluster, inventory, kept)
    going = _ours(there, inventory, ownership)
    if write:
        _refuse(_too_many(going, ownership), ownership)
    changes = [
        ObjectChange(str(ref), Did.UNCHANGED, "not ours any more, left alone", ref)
        for ref in there
        if ref not in going
    ]
    if not write:
        would = [_would_remove(ref, found) for ref, found in going.items()]
        return Pruned(changes + would, inventory, [])
    failed: dict[Ref, PlatformError] = {}
    for ref, found in going.items():
        guard()  # what it raises ends everything: there may be no write at all
        try:
            if not is_going(found):
                stays = found["kind"] == KIND and secret_of(found) in read
                how: Propagation = "Orphan" if stays else "Background"
                cluster.delete(ref, uid=found["metadata"]["uid"], propagation=how)
            told = _await_release(cluster, ref, found)
        except PlatformError as error:
            failed[ref] = error
            continue
        if told:
            problem = f"{ref} is wanted no more and {told}"
            failed[ref] = NeedsOperator(problem, "see that what takes them away still runs")
        else:
            changes.append(ObjectChange(str(ref), Did.REMOVED, ref=ref))
    return Pruned(changes, inventory.only([*kept, *failed]), list(failed.values()))


def _find_unwanted(
    cluster: Cluster, inventory: Inventory, wanted: Sequence[Ref]
) -> dict[Ref, Object]:
    """Objects that were applied, are there and are wanted no more."""
    if not wanted:
        raise NeedsOperator(
            "nothing at all is wanted, so everything would be deleted",
            "see why; to remove the platform, uninstall it",
        )
    return {
        ref: found for ref in inventory.unwanted(wanted) if (found := find_served(cluster, ref))
    }


def _ours(
    there: Mapping[Ref, Object], inventory: Inventory, ownership: Ownership
) -> dict[Ref, Object]:
    """Those of them that we made and that are still ours."""
    return {
        ref: found
        for ref, found in there.items()
        if is_ours(found, inventory.uids[ref], ownership.labels, names.FIELD_MANAGER)
    }


def _would_remove(ref: Ref, found: Object) -> ObjectChange:
    if told := what_keeps(found):
        return ObjectChange(str(ref), Did.UNCHANGED, told, ref)
    return ObjectChange(str(ref), Did.REMOVED, ref=ref)


def _await_release(cluster: Cluster, ref: Ref, found: Object) -> str:
    """What keeps it once those that its finalizers name have had a moment; empty when none does."""
    told = ""

    def look() -> Sighting:
        nonlocal told
        after = cluster.find(ref)
        same = after is not None and after["metadata"]["uid"] == found["metadata"]["uid"]
        told = what_keeps(after) if after is not None and same else ""
        return Sighting(not told, told)

    try:
        wait_until(f"the end of {ref}", look, seconds=0 if is_going(found) else _MOMENT)
    except TimedOut:
        return told
    return ""


def find_served(cluster: Cluster, ref: Ref) -> Object | None:
    """The object; a kind that is not served any more has none."""
    return cluster.find(ref) if cluster.serves(ref.api_version, ref.kind) else None


def _too_many(ours: Mapping[Ref, Object], ownership: Ownership) -> list[Ref]:
    """Those that are being deleted do not count: they were allowed before."""
    going = [ref for ref, found in ours.items() if not is_going(found)]
    allowed = len(going) <= ownership.limit or ownership.agreed.issuperset(going)
    return [] if allowed else going


def _refuse(going: Sequence[Ref], ownership: Ownership) -> None:
    """NeedsOperator for those that are too many, when there are any."""
    if not going:
        return
    told = f"{len(going)} objects would be deleted, {ownership.limit} at once are allowed: "
    remedy = f"set kubernetes.prune-limit to {len(going)} for that time"
    if ownership.name == names.INVENTORY:  # of its own, bootstrap asks nobody
        remedy += f", or {_ASKING}"
    raise NeedsOperator(
        told + ", ".join(map(str, going)), f"look whether that is meant; if so, {remedy}"
    )
