"""A whole set of objects becomes what is in the cluster: applied, written down, pruned."""

from collections.abc import Sequence
from dataclasses import dataclass

from clinical_ai.change import Change, Did
from clinical_ai.errors import PlatformError
from clinical_ai.ports_cluster import Cluster, Object, Ref
from clinical_ai.steps.cluster.ensure import Guard, ensure_objects, free
from clinical_ai.steps.cluster.inventory import (
    Ownership,
    check_prune,
    prune,
    read_inventory,
    uids_of,
    write_inventory,
)


@dataclass(frozen=True)
class Reconciled:
    """What became of each object; `faults`: what could not be deleted or is kept, see `prune`."""

    objects: Sequence[Change]
    inventory: Change | None
    faults: list[PlatformError]

    @property
    def changes(self) -> list[Change]:
        """Of objects and of the inventory."""
        return [*self.objects, *([self.inventory] if self.inventory else [])]


def reconcile(
    cluster: Cluster,
    wanted: Sequence[Object],
    ownership: Ownership,
    *,
    write: bool,
    guard: Guard = free,
    kept: Sequence[Ref] = (),
) -> Reconciled:
    """The cluster holds the wanted objects and none that we applied earlier and want no more.

    The inventory is widened before anything is applied and narrowed after all is deleted: a kill
    in between leaves nothing behind that it does not list. See `ensure_objects` and `prune`.
    `kept`: wanted, too, and listed, but not looked at, since this account may not write them.
    """
    refs = [*kept, *map(Ref.of, wanted)]
    before = read_inventory(cluster, ownership)
    wider = before.with_wanted(refs)
    if not write:
        changes = ensure_objects(cluster, wanted, write=False)
        pruned = prune(cluster, wider, refs, ownership, write=False)
        same = wider.with_uids(uids_of(changes)).only(refs) == before
        listed = Change(f"ConfigMap {ownership.name}", Did.UNCHANGED if same else Did.UPDATED)
        return Reconciled([*changes, *pruned.changes], listed, [])
    check_prune(cluster, wider, refs, ownership)
    spaces = [each for each in wanted if each["kind"] == "Namespace"]  # the inventory needs one
    changes = ensure_objects(cluster, spaces, write=True, guard=guard)
    first = write_inventory(cluster, wider, ownership, guard=guard)
    others = [each for each in wanted if each["kind"] != "Namespace"]
    changes += ensure_objects(cluster, others, write=True, guard=guard)
    known = wider.with_uids(uids_of(changes))
    pruned = prune(cluster, known, refs, ownership, write=True, guard=guard)
    last = write_inventory(cluster, pruned.inventory, ownership, guard=guard)
    inventory = first if first.did is Did.CREATED or not last.wrote else last
    return Reconciled([*changes, *pruned.changes], inventory, pruned.faults)
