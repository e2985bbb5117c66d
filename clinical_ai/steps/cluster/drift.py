"""What `status` tells of drift: of the objects last found good, and of what bootstrap keeps."""

from collections.abc import Callable
from functools import partial
from typing import Any

from clinical_ai.change import Change
from clinical_ai.errors import PlatformError
from clinical_ai.manifests.kubernetes.metadata import ownership
from clinical_ai.ports_cluster import Cluster
from clinical_ai.settings import Settings
from clinical_ai.steps.cluster.deploy import look
from clinical_ai.steps.cluster.inventory import Ownership
from clinical_ai.steps.cluster.records import Records
from clinical_ai.steps.cluster.rights import look_at_all, look_at_listed
from clinical_ai.steps.cluster.site import Site


def look_at_drift(cluster: Cluster, settings: Settings | None) -> dict[str, Any]:
    """What differs, of objects and of rights; each part is known, or tells why it is not.

    `settings`: None when they are not known. Of rights only what is absent is seen then.
    """
    every = (
        partial(look_at_all, cluster, settings) if settings else partial(look_at_listed, cluster)
    )
    return {**_objects(cluster), "rights": _rights(every)}


def _objects(cluster: Cluster) -> dict[str, Any]:
    """What differs from the objects that were last found good."""
    try:
        stage = Records(cluster).find_objects()
        if not stage:
            return {"known": False, "why": "deploy/self has proved nothing good yet"}
        own = Ownership(ownership(cluster.namespace), limit=len(stage))
        seen = look(Site(cluster, own), {"all": stage})
    except PlatformError as error:
        return {"known": False, "why": str(error)}
    return {
        "known": True,
        "objects": len(stage),
        "differing": [str(each) for each in seen if each.differs],
        "contested": [str(each) for each in seen if each.contested and not each.differs],
    }


def _rights(look_at: Callable[[], list[Change]]) -> dict[str, Any]:
    """Namespace, accounts, Roles and their bindings."""
    try:
        return {"known": True, "differing": [str(each) for each in look_at() if each.differs]}
    except PlatformError as error:
        return {"known": False, "why": str(error), "differing": []}


def in_short(drift: dict[str, Any]) -> str:
    """How much differs, for a line of a terminal."""
    rights = drift["rights"]
    told = []
    if not drift["known"]:
        told.append(f"not known: {drift['why']}")
    elif count := len(drift["differing"]):
        told.append(f"{count} of {drift['objects']} objects differ")
    if count := len(rights["differing"]):
        told.append(f"{count} of accounts and rights differ")
    if left := len(drift.get("contested", [])):
        told = [*(told or ["none"]), f"{left} have fields that others set otherwise"]
    if not rights["known"]:
        told = [*(told or ["none"]), f"of accounts and rights not known: {rights['why']}"]
    return "; ".join(told) or "none"


def in_detail(drift: dict[str, Any]) -> list[str]:
    """A line for each; first what only a person can heal."""
    return [
        *drift["rights"]["differing"],
        *drift.get("differing", []),
        *drift.get("contested", []),
    ]
