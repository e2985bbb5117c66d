"""Roll-outs that a real cluster does not let come up, by the steps of deploy/self."""

from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, Final

import pytest

from clinical_ai.adapters.kubernetes_api import KubernetesApi
from clinical_ai.ports_cluster import Object, Ref
from clinical_ai.steps.cluster.deploy import deploy, look
from clinical_ai.steps.cluster.inventory import Ownership
from clinical_ai.steps.cluster.rollout import RolloutFailed, rollout_state
from clinical_ai.steps.cluster.site import Site
from clinical_ai.steps.cluster.workers import pods_of
from tests.support.deploying import each_of
from tests.support.objects import LABELS, config
from tests.support.real_cluster import own_namespace

IMAGE: Final = "localhost:5000/python:3.13"
SERVE: Final = ["python3", "-m", "http.server", "8080", "--directory", "/tmp"]  # noqa: S108
WEB: Final = Ref("apps/v1", "Deployment", "web")
OURS: Final = Ownership(LABELS, limit=3)
# A test's node is small: what waits for room on it would be told as a failure of its own.
LITTLE: Final = {
    "limits": {"cpu": "200m", "memory": "64Mi"},
    "requests": {"cpu": "10m", "memory": "32Mi"},
}
RESTRICTED: Final = {
    "runAsNonRoot": True,
    "runAsUser": 10001,
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}


def ready_at(path: str) -> Object:
    """The web server of these pods answers / alone."""
    return {"httpGet": {"path": path, "port": 8080}, "periodSeconds": 1}


GOOD: Final[Object] = {
    "name": "web",
    "image": IMAGE,
    "command": SERVE,
    "readinessProbe": ready_at("/"),
    "securityContext": RESTRICTED,
    "resources": LITTLE,
}


@dataclass(frozen=True)
class Case:
    """What becomes of the container, and what is said of it."""

    change: Object
    cause: str
    labels: dict[str, str] = field(default_factory=dict)


CASES: Final = {
    "a readiness probe that fails": Case(
        {"readinessProbe": ready_at("/nowhere")}, "is unhealthy: Readiness probe failed"
    ),
    "pod security": Case(
        {"securityContext": {**RESTRICTED, "allowPrivilegeEscalation": True}},
        "pod security restricted:latest refuses its pods: allowPrivilegeEscalation",
        {"pod-security.kubernetes.io/enforce": "restricted"},
    ),
}


@dataclass(frozen=True)
class Outcome:
    """What a roll-out told that failed, and what was there before and afterwards."""

    failed: RolloutFailed
    before: tuple[Object, list[str]]
    after: tuple[Object, list[str]]
    up: bool
    differing: list[str]


def stages(change: Object) -> dict[str, list[Object]]:
    """A workload and its settings, which say how it differs from a good one."""
    spec = {
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 1,
        "containers": [{**deepcopy(GOOD), **change}],
    }
    body = {
        "selector": {"matchLabels": {"app": WEB.name}},
        "strategy": {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
        "template": {"metadata": {"labels": {"app": WEB.name}}, "spec": spec},
    }
    about = {"name": WEB.name, "labels": {**LABELS}}
    web = {"apiVersion": WEB.api_version, "kind": WEB.kind, "metadata": about, "spec": body}
    return {"configuration": [config(changed=", ".join(change))], "server": [web]}


def seen(cluster: KubernetesApi) -> tuple[Object, list[str]]:
    """What the workload is to run, and which of its pods are there to stay."""
    template: Any = cluster.get(WEB)["spec"]["template"]
    return template, [each["metadata"]["uid"] for each in pods_of(cluster, WEB.name)]


def undo(case: Case) -> Outcome:
    """In a namespace of its own."""
    with own_namespace(case.labels) as cluster:
        site = Site(cluster, OURS)
        deploy(site, stages({}))
        site.records.write_objects(each_of(stages({})))  # as a proof does
        before = seen(cluster)
        with pytest.raises(RolloutFailed) as failed:
            deploy(site, stages(case.change))
        up = rollout_state(cluster.get(WEB)).done
        differing = [str(each) for each in look(site, stages({})) if each.differs]
        return Outcome(failed.value, before, seen(cluster), up, differing)
