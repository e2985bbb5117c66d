"""Namespace, accounts and rights: compared by whoever lacks the right to write them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from clinical_ai import names
from clinical_ai.change import Change, Did
from clinical_ai.deployment_plan import covers
from clinical_ai.errors import NeedsOperator
from clinical_ai.manifests.kubernetes import access, metadata
from clinical_ai.ports_cluster import Cluster, Forbidden, Object, Ref
from clinical_ai.settings import Settings
from clinical_ai.steps.cluster.inventory import (
    Ownership,
    is_listed,
    kept_by_deploy,
    read_inventory,
)
from clinical_ai.steps.cluster.records import Records

_HEAL: Final = "heal it with bootstrap: `clinical-ai up --runtime kubernetes --settings FILE`"
_ABSENT: Final = f"it is not there; {_HEAL}"
_COMPARED: Final = ("rules", "roleRef", "subjects", "automountServiceAccountToken")


def find_standing(cluster: Cluster, settings: Settings) -> frozenset[str]:
    """Kinds of what deploy/self has applied and not pruned yet, or may have to put back."""
    listed = read_inventory(cluster, kept_by_deploy(cluster, settings)).uids
    try:
        good = Records(cluster).find_objects()
    except NeedsOperator:
        good = []  # nobody puts back what can't be read
    return frozenset([*(ref.kind for ref in listed), *(each["kind"] for each in good)])


def look_at_all(cluster: Cluster, settings: Settings) -> list[Change]:
    """What differs of all that bootstrap keeps, with the command that heals it."""
    try:
        standing = find_standing(cluster, settings)
    except Forbidden:  # by rights that differ, or whoever reads it next is told
        standing = frozenset()
    seen = look_at_rights(cluster, [*access.accounts(settings), *access.rights(settings, standing)])
    with blaming(seen):
        return [*seen, *look_at_namespace(cluster, access.namespace(settings))]


def look_at_listed(cluster: Cluster) -> list[Change]:
    """What bootstrap has made and is not there, for whoever does not know the settings."""
    labels = metadata.ownership(cluster.namespace, names.KEPT_BY_BOOTSTRAP)
    own = Ownership(labels, limit=0, name=names.RIGHTS_INVENTORY)
    return [
        Change(str(ref), Did.DRIFTED, _ABSENT)
        for ref in read_inventory(cluster, own).uids
        if ref.kind != "Namespace" and cluster.find(ref) is None
    ]


def look_at_rights(cluster: Cluster, wanted: Sequence[Object]) -> list[Change]:
    """Whether each is as wanted. A dry run would need the right to write: they are compared."""
    return [_look(each, cluster.find(Ref.of(each))) for each in wanted]


def is_own_namespace(found: Object | None) -> bool:
    """Whether bootstrap made it, and nobody took it over; another one is not removed."""
    return bool(found and _labels(found).get(names.OWNER_LABEL) == names.KEPT_BY_BOOTSTRAP)


def is_kept_namespace(cluster: Cluster, found: Object) -> bool:
    """Whether bootstrap labels it: also one that lost the label by which it is known."""
    if names.OWNER_LABEL in _labels(found):
        return is_own_namespace(found)
    return is_listed(cluster, found, names.RIGHTS_INVENTORY)


def look_at_namespace(cluster: Cluster, wanted: Object) -> list[Change]:
    """Whether it has its labels; nothing of one that bootstrap did not make."""
    ref = Ref.of(wanted)
    found = cluster.get(ref)
    if not is_kept_namespace(cluster, found):
        return []
    differing = _other_labels(wanted, found)
    if not differing:
        return [Change(str(ref), Did.UNCHANGED)]
    told = f"{', '.join(differing)}; you may not patch it, whoever may can {_HEAL}"
    return [Change(str(ref), Did.DRIFTED, told)]


@contextmanager
def blaming(rights: Sequence[Change]) -> Iterator[None]:
    """What is forbidden meanwhile is told with those of the rights that are not as wanted.

    New settings may need rights that only bootstrap can give, as for the first ingress.
    """
    try:
        yield
    except Forbidden as refused:
        differing = [f"{each.what}: {each.detail}" for each in rights if each.differs]
        if not differing:
            raise
        problem = f"{refused.problem}, and rights are not as the settings want them"
        raise NeedsOperator(problem, "; ".join(differing)) from refused


def _look(wanted: Object, found: Object | None) -> Change:
    what = str(Ref.of(wanted))
    if found is None:
        return Change(what, Did.DRIFTED, _ABSENT)
    compared = [key for key in _COMPARED if key in wanted]
    fields = [key for key in compared if not _fits(key, found.get(key), wanted[key])]
    differing = [*fields, *_other_labels(wanted, found)]
    if not differing:
        return Change(what, Did.UNCHANGED)
    return Change(what, Did.DRIFTED, f"{', '.join(differing)}; {_heal(wanted, found, differing)}")


def _other_labels(wanted: Object, found: Object) -> list[str]:
    """Labels that it lacks or has otherwise; those of others are no difference."""
    there = _labels(found)
    return [name for name, value in _labels(wanted).items() if there.get(name) != value]


def _labels(each: Object) -> dict[str, str]:
    return each["metadata"].get("labels") or {}


def _fits(key: str, found: Any, wanted: Any) -> bool:
    """The server adds nothing to a rule: with one field more, as `resourceNames`, it is another."""
    if key == "rules":
        return _rules(found) == _rules(wanted)
    return covers(found, wanted)


def _rules(found: Sequence[Object] | None) -> list[Object]:
    """In what they name is no order."""
    return [{key: sorted(values) for key, values in rule.items() if values} for rule in found or []]


def _heal(wanted: Object, found: Object, differing: Sequence[str]) -> str:
    """bootstrap takes no field from anybody: one that somebody else has set goes first."""
    others = sorted(
        each["manager"]
        for each in found["metadata"].get("managedFields") or []
        if each["manager"] != names.FIELD_MANAGER
        and any(f"f:{key}" in _set_by(each) for key in differing)
    )
    if not others:
        return _HEAL
    ref = Ref.of(wanted)
    remove = f"`kubectl delete {ref.kind.lower()} {ref.name} -n {ref.namespace}`"
    return (
        f"set by {', '.join(others)}; unless that is meant, remove it with {remove}, then {_HEAL}"
    )


def _set_by(manager: Object) -> set[str]:
    """Fields that it has set, and labels."""
    fields = manager.get("fieldsV1", {})
    return {*fields, *fields.get("f:metadata", {}).get("f:labels", {})}
