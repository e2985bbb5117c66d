"""Names that a platform takes in its namespace, and whether somebody else has them."""

from collections.abc import Iterator
from typing import Final

from bootstrap.cluster import needs
from clinical_ai import names
from clinical_ai.errors import NeedsOperator
from clinical_ai.manifests.kubernetes.metadata import Manifest
from clinical_ai.ports_cluster import Cluster, Object, Ref
from clinical_ai.settings import Settings
from clinical_ai.steps.cluster.inventory import is_listed

# Of all that the platform makes beside the objects that it applies: each has at least one.
_MARKS: Final = {
    "app.kubernetes.io/part-of": names.PRODUCT,
    "app.kubernetes.io/managed-by": names.PRODUCT,
}


def check_names(cluster: Cluster, settings: Settings) -> str:
    """No object of our names is somebody else's; such an install is left untouched."""
    foreign = [*_objects(cluster, settings), *_records(cluster)]
    if foreign:
        raise NeedsOperator(
            f"these are there and not of this platform: {', '.join(map(str, foreign))}",
            "choose another namespace, or remove them; nothing was changed",
        )
    return "names free"


def refuse_foreign(found: Object) -> None:
    """NeedsOperator when the platform did not make this: it is not ours to remove."""
    if not _is_marked(found):
        raise NeedsOperator(
            f"{Ref.of(found)} is there and not of this platform",
            "choose another namespace, or remove it",
        )


def _objects(cluster: Cluster, settings: Settings) -> Iterator[Ref]:
    """Of those that are applied. A kind that is not served is a fault of its own."""
    for each in needs.objects(settings):
        ref = Ref.of(each)
        if not cluster.serves(ref.api_version, ref.kind):
            continue
        found = cluster.find(ref)
        if found is not None and _owner(found) != _owner(each) and not _is_bare(cluster, found):
            yield ref


def _records(cluster: Cluster) -> Iterator[Ref]:
    """Not the switch of break-glass, nor Secrets, which a person may make.

    Nor the Job of a migration: nobody else has its name, which holds the hash of what it does.
    """
    for ref in needs.records():
        found = cluster.find(ref)
        if found is not None and not _is_marked(found):
            yield Ref.of(found)


def _is_bare(cluster: Cluster, found: Object) -> bool:
    """Whether it is ours and somebody took the label away, which is put back."""
    inventories = (names.INVENTORY, names.RIGHTS_INVENTORY)
    return _owner(found) is None and is_listed(cluster, found, *inventories)


def _owner(each: Manifest) -> str | None:
    labels = each["metadata"].get("labels") or {}
    return labels.get(names.OWNER_LABEL)


def _is_marked(found: Object) -> bool:
    labels = found["metadata"].get("labels") or {}
    return any(labels.get(name) == value for name, value in _MARKS.items())
