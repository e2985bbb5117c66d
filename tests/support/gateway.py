"""A real Gateway in a namespace of a test: the Gateway API's own definitions, kept by Traefik."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import pytest
import yaml

from clinical_ai.adapters.kubernetes_api import KubernetesApi
from clinical_ai.conditions import is_ready
from clinical_ai.ports_cluster import Object, Ref
from clinical_ai.waiting import Sighting, wait_until
from tests.support.cluster_site import REGISTRY
from tests.support.production_site import tls_secret

GATEWAY: Final = "public"
PORT: Final = 8443
_GROUP: Final = "gateway.networking.k8s.io"
_MODULE: Final = "sigs.k8s.io/gateway-api@v1.4.0"  # what the test cluster's Traefik is built with
_DEFINITION: Final = ("apiextensions.k8s.io/v1", "CustomResourceDefinition")
_RIGHTS: Final = "rbac.authorization.k8s.io/v1"
_LOOK: Final = ["get", "list", "watch"]
_RULES: Final[list[Object]] = [
    {
        "apiGroups": [""],
        "resources": ["services", "secrets", "nodes", "namespaces", "configmaps"],
        "verbs": _LOOK,
    },
    {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": _LOOK},
    {"apiGroups": [_GROUP], "resources": ["*"], "verbs": [*_LOOK, "update", "patch"]},
]
_OPTIONS: Final = (
    "--providers.kubernetesgateway",
    f"--entrypoints.websecure.address=:{PORT}",
    "--ping",
    "--global.checknewversion=false",
    "--global.sendanonymoususage=false",
)


@contextmanager
def real_gateway(api: KubernetesApi, host: str, pair: tuple[Path, Path]) -> Iterator[str]:
    """The address of a Gateway `public` in the namespace, whose listener `https` serves `host`.

    `pair`: certificate and key of its TLS. Routes may come from any namespace.
    """
    name = api.namespace  # of what is none of a namespace's
    theirs: list[Object] = [
        {
            "apiVersion": f"{_GROUP}/v1",
            "kind": "GatewayClass",
            "metadata": {"name": name},
            "spec": {"controllerName": "traefik.io/gateway-controller"},
        },
        {
            "apiVersion": _RIGHTS,
            "kind": "ClusterRole",
            "metadata": {"name": name},
            "rules": _RULES,
        },
        {
            "apiVersion": _RIGHTS,
            "kind": "ClusterRoleBinding",
            "metadata": {"name": name},
            "roleRef": {"kind": "ClusterRole", "name": name, "apiGroup": _RIGHTS.split("/")[0]},
            "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": name}],
        },
    ]
    with ExitStack() as ends:

        def make(wanted: Object) -> None:
            made = api.create(wanted)
            if made is not None:  # else it is the cluster's own, and stays
                ends.callback(api.delete, Ref.of(made), uid=made["metadata"]["uid"])

        for each in _definitions():
            make(each)
        wait_until("the definitions", lambda: _served(api), seconds=60)
        for each in theirs:
            make(each)
        for each in (
            tls_secret("gateway", name, pair),
            _controller(),
            gateway(GATEWAY, name, host),
        ):
            api.create(each)
        yield wait_until("Traefik", lambda: _address(api), seconds=120).summary


def gateway(name: str, gateway_class: str, host: str) -> Object:
    """One with a listener `https`, for routes of any namespace."""
    listener = {
        "name": "https",
        "port": PORT,
        "protocol": "HTTPS",
        "hostname": host,
        "tls": {"certificateRefs": [{"name": "gateway"}]},
        "allowedRoutes": {"namespaces": {"from": "All"}},
    }
    return {
        "apiVersion": f"{_GROUP}/v1",
        "kind": "Gateway",
        "metadata": {"name": name},
        "spec": {"gatewayClassName": gateway_class, "listeners": [listener]},
    }


def _definitions() -> list[Object]:
    """Of the module itself; the test is skipped, and counted so, where Go can't get it."""
    go = shutil.which("go", path=f"{os.environ['PATH']}:/usr/local/go/bin")
    words = [go or "go", "mod", "download", "-json", _MODULE]
    try:
        told = subprocess.run(
            words, cwd="/", capture_output=True, text=True, check=True, timeout=120
        )
    except (OSError, subprocess.SubprocessError) as error:
        pytest.skip(f"{_MODULE} can't be had: {error}")
    folder = Path(json.loads(told.stdout)["Dir"], "config", "crd", "standard")
    found = [
        each for file in folder.glob("*.yaml") for each in yaml.safe_load_all(file.read_text())
    ]
    return [each for each in found if (each["apiVersion"], each["kind"]) == _DEFINITION]


def _served(api: KubernetesApi) -> Sighting:
    kinds = ("GatewayClass", "Gateway", "HTTPRoute")
    missing = [kind for kind in kinds if not api.serves(f"{_GROUP}/v1", kind)]
    return Sighting(not missing, f"{', '.join(missing)} not served")


def _controller() -> Object:
    container = {
        "name": "traefik",
        "image": f"{REGISTRY}/traefik:1",
        "args": [*_OPTIONS],
        "readinessProbe": {"httpGet": {"path": "/ping", "port": 8080}, "periodSeconds": 1},
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108 - the pod's own
    }
    volumes = [{"name": "tmp", "emptyDir": {}}]
    spec = {"containers": [container], "volumes": volumes, "terminationGracePeriodSeconds": 1}
    about = {"name": "traefik", "labels": {"app": "traefik"}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": about, "spec": spec}


def _address(api: KubernetesApi) -> Sighting:
    pod = api.get(Ref("v1", "Pod", "traefik"))
    status, done = pod.get("status", {}), is_ready(pod)
    return Sighting(done, status["podIP"] if done else str(status.get("phase")))
