"""Pod templates: locked down, spread, with the operator's additions of their component."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from clinical_ai import names
from clinical_ai.manifests.kubernetes import configuration, environment
from clinical_ai.manifests.kubernetes.metadata import cluster_of, labels, selector
from clinical_ai.release import Release
from clinical_ai.settings import Settings
from clinical_ai.settings_pods import Amounts, Component, Toleration

Amount = tuple[str, str]  # CPU and memory

_COMPONENTS: Final = {
    names.SERVER: "server",
    names.WORKER: "worker",
    names.PLATFORM_WORKER: "platform_worker",
    names.PLATFORM_JOB: "jobs",
    names.MIGRATION: "migration",
}


@dataclass(frozen=True)
class Parts:
    """What is put into a pod besides its main container, and into that container."""

    first: list[dict[str, Any]] = field(default_factory=list)
    beside: list[dict[str, Any]] = field(default_factory=list)
    mounts: list[dict[str, Any]] = field(default_factory=list)
    volumes: list[dict[str, Any]] = field(default_factory=list)
    annotations: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Work:
    """What one component's pods do, and what they are promised."""

    name: str
    container: dict[str, Any]
    requests: Amount
    limits: Amount
    parts: Parts = Parts()
    seconds_to_stop: int = 30
    scratch: str = "1Gi"
    api_access: bool = False
    replicas: int = 1


def additions(settings: Settings, name: str) -> Component:
    """What the operator adds to the pods of this name."""
    found: Component = getattr(cluster_of(settings).components, _COMPONENTS[name])
    return found


def template(settings: Settings, release: Release, work: Work) -> dict[str, Any]:
    """The pod template of a Kubernetes Deployment or Job."""
    annotations = work.parts.annotations | additions(settings, work.name).annotations
    if any("configMapKeyRef" in each.get("valueFrom", {}) for each in work.container["env"]):
        annotations = {names.CONFIGURATION_ANNOTATION: configuration.digest(settings)} | annotations
    return {
        "metadata": {
            "labels": labels(settings, work.name, version=release.version),
            **({"annotations": annotations} if annotations else {}),
        },
        "spec": spec(settings, release, work),
    }


def spec(settings: Settings, release: Release, work: Work) -> dict[str, Any]:
    """The pod: no privilege, no token unless it talks to the cluster's API, a scratch volume."""
    trust = cluster_of(settings).ca_config_map
    found = {
        "serviceAccountName": work.name,
        "automountServiceAccountToken": work.api_access,
        # Else each Service of the namespace adds variables to every pod.
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": work.seconds_to_stop,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": names.IMAGE_USER,
            "runAsGroup": names.IMAGE_USER,
            "fsGroup": names.IMAGE_USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "initContainers": work.parts.first,
        "containers": [_main(settings, release, work), *work.parts.beside],
        "volumes": [
            {"name": "scratch", "emptyDir": {"sizeLimit": work.scratch}},
            *([{"name": "trust", "configMap": {"name": trust}}] if trust else []),
            *work.parts.volumes,
        ],
        **_placement(settings, work.name),
    }
    return {key: value for key, value in found.items() if value not in (None, [], {})}


def _placement(settings: Settings, name: str) -> dict[str, Any]:
    """Where the operator lets these pods run, and with which pull secrets."""
    own = additions(settings, name)
    pull = dict.fromkeys([*cluster_of(settings).image_pull_secrets, *own.image_pull_secrets])
    return {
        "imagePullSecrets": [{"name": secret} for secret in pull],
        "nodeSelector": own.node_selector,
        "tolerations": [_toleration(each) for each in own.tolerations],
        "priorityClassName": own.priority_class,
    }


def _toleration(own: Toleration) -> dict[str, Any]:
    given = own.model_dump(exclude_none=True)
    if (seconds := given.pop("toleration_seconds", None)) is not None:
        given["tolerationSeconds"] = seconds
    return given


def _main(settings: Settings, release: Release, work: Work) -> dict[str, Any]:
    own = additions(settings, work.name)
    trust = [{"name": "trust", "mountPath": names.TRUST_FOLDER, "readOnly": True}]
    return {
        "image": release.image,
        "imagePullPolicy": cluster_of(settings).image_pull_policy,
        "workingDir": names.IMAGE_CODE,
        **work.container,
        "env": environment.with_extra(work.container["env"], own.environment),
        "resources": amounts(
            work.requests, work.limits, own.resources.requests, own.resources.limits
        ),
        "securityContext": locked_down(),
        "volumeMounts": [
            {"name": "scratch", "mountPath": environment.SCRATCH},
            *(trust if cluster_of(settings).ca_config_map else []),
            *work.parts.mounts,
        ],
    }


def locked_down() -> dict[str, Any]:
    """What the `restricted` level of pod security asks for, and a root that can't be written."""
    return {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }


def amounts(
    requests: Amount,
    limits: Amount,
    own_requests: Amounts = Amounts(),  # noqa: B008 - frozen
    own_limits: Amounts = Amounts(),  # noqa: B008
) -> dict[str, Any]:
    """Requests and limits: ours, but for what the operator gives."""
    return {
        "requests": _amounts(requests, own_requests),
        "limits": _amounts(limits, own_limits),
    }


def _amounts(ours: Amount, own: Amounts) -> dict[str, str]:
    given = own.model_dump(by_alias=True, exclude_none=True)
    return {"cpu": ours[0], "memory": ours[1]} | given


def spread(name: str) -> list[dict[str, Any]]:
    """Pods of this name on different nodes and in different zones, where there are several."""
    return [
        {
            "maxSkew": 1,
            "topologyKey": key,
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": selector(name)},
        }
        for key in ("kubernetes.io/hostname", "topology.kubernetes.io/zone")
    ]


def joined(parts: Sequence[Parts]) -> Parts:
    """All of them together."""
    return Parts(
        first=[each for part in parts for each in part.first],
        beside=[each for part in parts for each in part.beside],
        mounts=[each for part in parts for each in part.mounts],
        volumes=[each for part in parts for each in part.volumes],
        annotations={key: text for part in parts for key, text in part.annotations.items()},
    )


def probe(path: str, port: str, *, every: int, times: int) -> dict[str, Any]:
    """A request each `every` seconds; `times` in a row may fail."""
    return {
        "httpGet": {"path": path, "port": port},
        "periodSeconds": every,
        "timeoutSeconds": 5,
        "failureThreshold": times,
    }
