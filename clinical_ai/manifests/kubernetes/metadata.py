"""Names, labels and owners of all objects."""

from collections.abc import Mapping
from typing import Any

from clinical_ai import names
from clinical_ai.errors import NeedsOperator
from clinical_ai.secret_references import LONGEST_LABEL, told_apart
from clinical_ai.settings import Settings
from clinical_ai.settings_kubernetes import Kubernetes

Manifest = dict[str, Any]


def cluster_of(settings: Settings) -> Kubernetes:
    """What the settings say of the cluster; NeedsOperator when they are of one machine."""
    if settings.kubernetes is None:
        raise NeedsOperator("the settings name no cluster", "add the table [kubernetes]")
    return settings.kubernetes


def selector(name: str) -> dict[str, str]:
    """Labels that select the pods of this name: the guide's `app` alone, for good."""
    return {"app": name}


def labels(
    settings: Settings, name: str, owner: str = names.KEPT_BY_DEPLOY, version: str | None = None
) -> dict[str, str]:
    """The guide's label, the recommended ones and the owner; a name may be longer than a label."""
    if len(name) > LONGEST_LABEL:
        name = told_apart(name, name, LONGEST_LABEL)
    recommended = {
        "name": names.PRODUCT,
        "instance": cluster_of(settings).namespace,
        "component": name.removeprefix(f"{names.PRODUCT}-"),
        "part-of": names.PRODUCT,
        "managed-by": names.PRODUCT,
        **({"version": version} if version else {}),
    }
    prefixed = {f"app.kubernetes.io/{key}": word for key, word in recommended.items()}
    return selector(name) | prefixed | {names.OWNER_LABEL: owner}


def ownership(namespace: str, owner: str = names.KEPT_BY_DEPLOY) -> dict[str, str]:
    """Labels that an object has while it is its owner's: what lacks one is never pruned."""
    return {
        "app.kubernetes.io/managed-by": names.PRODUCT,
        "app.kubernetes.io/instance": namespace,
        names.OWNER_LABEL: owner,
    }


def made(
    kind: str,
    name: str,
    settings: Settings,
    body: Mapping[str, Any],
    *,
    owner: str = names.KEPT_BY_DEPLOY,
    of: str | None = None,
    annotations: Mapping[str, str] | None = None,
) -> Manifest:
    """One object of the namespace. `kind`: `v1/Service`; `of`: the component, when not its name."""
    version, _, kind = kind.rpartition("/")
    metadata: dict[str, Any] = {
        "name": name,
        "namespace": cluster_of(settings).namespace,
        "labels": labels(settings, of or name, owner),
    }
    if annotations:
        metadata["annotations"] = dict(annotations)
    return {"apiVersion": version, "kind": kind, "metadata": metadata, **body}
