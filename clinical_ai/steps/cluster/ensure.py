"""Objects are as wanted: looked at first, written only where something differs, never by force."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

from clinical_ai.change import Change, Did
from clinical_ai.errors import NeedsOperator
from clinical_ai.names import FIELD_MANAGER, SCALE_MANAGER
from clinical_ai.object_diff import FieldChange, differences
from clinical_ai.object_paths import without
from clinical_ai.ports_cluster import (
    Changed,
    Cluster,
    Conflicts,
    FieldConflict,
    Invalid,
    Object,
    Ref,
)

Guard = Callable[[], None]
BY_NAME: Final = frozenset({"Secret", "ConfigMap"})  # never listed: they may be anybody's
_SCALED: Final = frozenset({"Deployment", "StatefulSet"})
_MOST_SHOWN: Final = 5  # fields in a line
_MOST_TOLD: Final = 20_000  # characters of an object's fields in a report
_MOST_LOOKS: Final = 3
_NOBODY_ELSE: Final = frozenset({FIELD_MANAGER, SCALE_MANAGER, "kube-controller-manager"})
_WHOLE: Final = "."


@dataclass(frozen=True)
class ObjectChange(Change):
    """What became of one object. `conflicts`: fields left to those who set them."""

    ref: Ref | None = None
    uid: str = ""
    fields: tuple[FieldChange, ...] = ()
    conflicts: tuple[FieldConflict, ...] = ()

    @property
    def details(self) -> list[str]:
        """Each field that differs, as far as a report has room, and each that was left alone."""
        if not self.fields:
            return super().details
        texts = [str(each) for each in self.fields]
        told = sum(size <= _MOST_TOLD for size in accumulate(map(len, texts)))
        return _told(texts[:told], len(texts), self.conflicts)

    @property
    def contested(self) -> bool:
        """Whether a field was left to somebody else, who set it to another value."""
        return bool(self.conflicts)


def free() -> None:
    """The guard of those who need none."""


def is_going(found: Object) -> bool:
    """Whether it is being deleted."""
    return "deletionTimestamp" in found["metadata"]


def what_keeps(found: Object) -> str:
    """Which finalizers keep one that is being deleted; empty when it goes by itself."""
    finalizers = found["metadata"].get("finalizers") or []
    if not is_going(found) or not finalizers:
        return ""
    return f"is being deleted; it is kept by finalizers: {', '.join(finalizers)}"


def ensure_objects(
    cluster: Cluster, wanted: Sequence[Object], *, write: bool, guard: Guard = free
) -> list[ObjectChange]:
    """The objects are as wanted, in this order; `write` off: what would become of them.

    Compared as Flux does: the live object with a server-side dry run, so that defaults and what
    others added are no difference. A field that somebody else set to another value stays theirs
    and is told; so is an object that is left alone, since what they set excludes a field of ours.
    `replicas` counts when the object is made, and never again. `guard` is called before each
    write, and raises when there may be none.

    One list for several objects of a kind, one request for a single one and for each Secret and
    ConfigMap (who may list them may read everybody's), and one dry run for each object; a second
    one only when there is a conflict.
    """
    live = _read(cluster, wanted)
    coming: set[str] = set()
    changes = []
    for each in wanted:
        ref = Ref.of(each)
        found = live.get(ref)
        if found is not None:
            changes.append(_update(cluster, each, found, write=write, guard=guard))
        elif write:
            changes.append(_create(cluster, each, guard))
        else:
            changes.append(_would_create(cluster, each, coming))
            if ref.kind == "Namespace":
                coming.add(ref.name)
    return changes


def _read(cluster: Cluster, wanted: Iterable[Object]) -> dict[Ref, Object]:
    """The live objects, by the Ref of the wanted one."""
    groups: dict[tuple[str, str, str], list[Object]] = defaultdict(list)
    for each in wanted:
        ref = Ref.of(each)
        groups[ref.api_version, ref.kind, ref.namespace].append(each)
    found = {}
    for (api_version, kind, namespace), members in groups.items():
        listed: dict[str, Object] = {}
        labels = _common_labels(members)
        if len(members) > 1 and labels and kind not in BY_NAME:
            rows = cluster.find_all(api_version, kind, labels=labels, namespace=namespace)
            listed = {row["metadata"]["name"]: row for row in rows}
        for ref in map(Ref.of, members):
            # One that is not listed may have lost its labels, or be somebody else's.
            row = listed.get(ref.name) or cluster.find(ref)
            if row is not None:
                found[ref] = row
    return found


def _common_labels(members: Sequence[Object]) -> dict[str, str]:
    first, *rest = (each["metadata"].get("labels", {}).items() for each in members)
    return dict(pair for pair in first if all(pair in other for other in rest))


def _would_create(cluster: Cluster, wanted: Object, coming: set[str]) -> ObjectChange:
    ref = Ref.of(wanted)
    if (ref.namespace or cluster.namespace) not in coming:
        cluster.apply(_applied(wanted), dry_run=True)  # refused now rather than halfway
    return ObjectChange(str(ref), Did.CREATED, ref=ref)


def _create(cluster: Cluster, wanted: Object, guard: Guard) -> ObjectChange:
    ref = Ref.of(wanted)
    guard()
    made = cluster.apply(_applied(wanted))
    _ensure_replicas(cluster, wanted, made, guard)
    return ObjectChange(str(ref), Did.CREATED, ref=ref, uid=made["metadata"]["uid"])


def _update(
    cluster: Cluster, wanted: Object, live: Object, *, write: bool, guard: Guard
) -> ObjectChange:
    ref, uid = Ref.of(wanted), live["metadata"]["uid"]
    if is_going(live):
        told = what_keeps(live) or "is being deleted"
        raise Changed(f"{ref} {told}; it is made anew when it has gone")
    for _ in range(_MOST_LOOKS):
        try:
            applied, would, conflicts = _dry_run(cluster, _applied(wanted))
        except Invalid as refused:
            return _left_alone(cluster, wanted, live, refused)
        if would["metadata"].get("resourceVersion") == live["metadata"]["resourceVersion"]:
            break
        after = cluster.find(ref)  # a controller wrote in between: that is no difference of ours
        if after is None:
            raise Changed(f"{ref} was deleted meanwhile; it is made anew the next time")
        live = after
    fields = tuple(differences(live, would))
    if fields and write:
        guard()
        cluster.apply(applied)
    if write:
        _ensure_replicas(cluster, wanted, live, guard)
    did = Did.UPDATED if fields else Did.UNCHANGED
    return ObjectChange(str(ref), did, _detail(fields, conflicts), ref, uid, fields, conflicts)


def _dry_run(cluster: Cluster, wanted: Object) -> tuple[Object, Object, tuple[FieldConflict, ...]]:
    """What can be applied without taking a field from anybody, and the object as it would be."""
    try:
        return wanted, cluster.apply(wanted, dry_run=True), ()
    except Conflicts as refused:
        reduced = wanted
        for conflict in refused.conflicts:
            less = without(reduced, conflict.field)
            if less is None:
                raise
            reduced = less
        return reduced, cluster.apply(reduced, dry_run=True), refused.conflicts


def _left_alone(cluster: Cluster, wanted: Object, live: Object, refused: Invalid) -> ObjectChange:
    """The object stays as it is: valid by itself, it is not beside what others set in it.

    As our `valueFrom` beside their `value`: no field has two owners, so that is no conflict to the
    server. Raises the refusal when nobody else has a part in it.
    """
    others = _others(live)
    if not others or not _is_valid_alone(cluster, _applied(wanted)):
        raise refused
    ref, uid = Ref.of(wanted), live["metadata"]["uid"]
    told = f"left alone: beside fields of {', '.join(others)} it is not valid: {refused.faults}"
    conflicts = tuple(FieldConflict(_WHOLE, each) for each in others)
    return ObjectChange(str(ref), Did.UNCHANGED, told, ref, uid, conflicts=conflicts)


def _others(live: Object) -> list[str]:
    """Who else manages fields of it; not of its status or scale."""
    managed = live["metadata"].get("managedFields", [])
    found = {each["manager"] for each in managed if not each.get("subresource")}
    return sorted(found - _NOBODY_ELSE)


def _is_valid_alone(cluster: Cluster, wanted: Object) -> bool:
    """Whether it could be made, if it were not there."""
    try:
        cluster.create(wanted, dry_run=True)
    except NeedsOperator:
        return False
    return True


def _applied(wanted: Object) -> Object:
    """The object without `replicas`: who scales owns it, from the first time on."""
    if wanted["kind"] not in _SCALED:
        return wanted
    spec = {name: value for name, value in wanted["spec"].items() if name != "replicas"}
    return {**wanted, "spec": spec}


def _ensure_replicas(cluster: Cluster, wanted: Object, live: Object, guard: Guard) -> None:
    """The wanted number, unless somebody has chosen one.

    Applied under a name of its own, since scaling what has no owner leaves it without one: a
    number that a person chose could not be told from the default then.
    """
    if wanted["kind"] not in _SCALED or "replicas" not in wanted["spec"] or _is_scaled(live):
        return
    about = {name: live["metadata"][name] for name in ("name", "namespace")}
    number = {"replicas": wanted["spec"]["replicas"]}
    guard()
    ours = {"apiVersion": live["apiVersion"], "kind": live["kind"], "metadata": about}
    cluster.apply({**ours, "spec": number}, manager=SCALE_MANAGER)


def _is_scaled(live: Object) -> bool:
    """Whether somebody owns `replicas`."""
    return any(
        "f:replicas" in each.get("fieldsV1", {}).get("f:spec", {})
        for each in live["metadata"].get("managedFields", [])
    )


def _detail(fields: Sequence[FieldChange], conflicts: Sequence[FieldConflict]) -> str:
    """A line of it, in which long values are cut."""
    told = [str(each.short) for each in fields[:_MOST_SHOWN]]
    return "; ".join(_told(told, len(fields), conflicts))


def _told(fields: Sequence[str], of: int, conflicts: Sequence[FieldConflict]) -> list[str]:
    more = [f"and {of - len(fields)} more fields"] if of > len(fields) else []
    return [*fields, *more, *(f"left alone: {each}" for each in conflicts)]
