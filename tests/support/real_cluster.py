"""Namespaces of a real cluster, each of one test, and accounts in them that may do little."""

import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from uuid import uuid4

import pytest

from clinical_ai.adapters.kubernetes_access import Access, load_access
from clinical_ai.adapters.kubernetes_api import KubernetesApi, open_kubernetes
from clinical_ai.ports_cluster import Object, Ref

_ROLE = {"apiVersion": "rbac.authorization.k8s.io/v1"}


def kubeconfig() -> str:
    """Of the cluster that tests may use; without one, they fail and never pass unseen."""
    found = os.environ.get("KUBECONFIG")
    if not found:
        pytest.fail("KUBECONFIG names no cluster: bring one up, or run `make test` alone")
    return found


@contextmanager
def own_namespace(labels: dict[str, str] | None = None) -> Iterator[KubernetesApi]:
    """A connection to a new namespace, which is deleted afterwards."""
    name = f"contract-{uuid4().hex[:8]}"
    api = open_kubernetes(os.environ, kubeconfig=kubeconfig(), namespace=name)
    about = {"name": name, "labels": labels or {}}
    made = api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": about})
    assert made is not None
    try:
        yield api
    finally:
        api.delete(Ref("v1", "Namespace", name), uid=made["metadata"]["uid"])
        api.close()


def as_account(api: KubernetesApi, rules: list[Object], name: str = "little") -> KubernetesApi:
    """A connection of a new service account that may do only this."""
    for kind, content in (
        ("ServiceAccount", {"apiVersion": "v1"}),
        ("Role", {**_ROLE, "rules": rules}),
        ("RoleBinding", {**_ROLE, **_binding(name, api.namespace)}),
    ):
        api.create({"kind": kind, "metadata": {"name": name}, **content})
    path = f"/api/v1/namespaces/{api.namespace}/serviceaccounts/{name}/token"
    token = api._connection.send("POST", path, body={"spec": {"expirationSeconds": 600}})
    value = token.json()["status"]["token"]

    def load() -> Access:
        # Without the client certificate, which would win over the token.
        pod = load_access(os.environ, kubeconfig=kubeconfig())
        return replace(pod, trust=_without_certificate(), authorization=lambda: f"Bearer {value}")

    return KubernetesApi(load, namespace=api.namespace)


def _without_certificate() -> ssl.SSLContext:
    from base64 import b64decode
    from pathlib import Path

    import yaml

    config = yaml.safe_load(Path(kubeconfig()).read_text())
    cluster = config["clusters"][0]["cluster"]
    data = cluster.get("certificate-authority-data")
    if data:
        return ssl.create_default_context(cadata=b64decode(data).decode())
    return ssl.create_default_context(cafile=cluster["certificate-authority"])


def _binding(name: str, namespace: str) -> Object:
    return {
        "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": namespace}],
        "roleRef": {"kind": "Role", "name": name, "apiGroup": "rbac.authorization.k8s.io"},
    }
