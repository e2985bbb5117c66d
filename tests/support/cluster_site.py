"""A platform in namespaces of its own on a real cluster, a database and a storage beside it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from clinical_ai.adapters.image_source import content_of
from clinical_ai.adapters.kubernetes_api import KubernetesApi, open_kubernetes
from clinical_ai.ports_cluster import Object, Ref
from tests.support.real_cluster import kubeconfig

CHECKOUT: Final = Path(__file__).resolve().parent.parent.parent
REGISTRY: Final = os.environ.get("E2E_REGISTRY", "localhost:5000")
_PASSWORD: Final = "not-secret-of-a-test"
_STORAGE: Final = """\
minio-endpoint = "http://versitygw.versitygw.svc.cluster.local:9000"
minio-access-key = "env:E2E_MINIO_ACCESS_KEY"
minio-secret-key = "env:E2E_MINIO_SECRET_KEY"
"""
_KUBERNETES: Final = """
[kubernetes]
namespace = "{namespace}"
registry = "{registry}/{content}"
database-url = "env:E2E_DATABASE_URL"
prefect-database-url = "env:E2E_PREFECT_DATABASE_URL"
drift = "heal"

[kubernetes.build]
base-image = "{registry}/python:3.13"
network = "host"

[[kubernetes.egress.database]]
namespace = "{data}"
ports = [5432]
"""


@dataclass
class ClusterSite:
    """One platform's namespace; `data`: that of its database."""

    folder: Path
    namespace: str = field(default_factory=lambda: f"e2e-{uuid4().hex[:6]}")

    @property
    def data(self) -> str:
        return f"{self.namespace}-data"

    @property
    def api(self) -> KubernetesApi:
        return open_kubernetes(os.environ, kubeconfig=kubeconfig(), namespace=self.namespace)

    @property
    def settings(self) -> Path:
        path = self.folder / "settings.toml"
        path.write_text(self.text)
        return path

    @property
    def text(self) -> str:
        """What the settings file holds."""
        return self.storage + _KUBERNETES.format(
            namespace=self.namespace,
            registry=REGISTRY,
            # A version's image is never replaced: each state of the code has its own place.
            content=f"e2e-{content_of(CHECKOUT, '')[:8]}",
            data=self.data,
        )

    @property
    def storage(self) -> str:
        """What it says of the storage."""
        return _STORAGE

    @property
    def environment(self) -> dict[str, str]:
        address = f"postgres:{_PASSWORD}@postgres.{self.data}.svc.cluster.local:5432/cai_data"
        return {
            **os.environ,
            "E2E_MINIO_ACCESS_KEY": "minioadmin",
            "E2E_MINIO_SECRET_KEY": "minioadmin",
            "E2E_DATABASE_URL": f"postgresql://{address}",
            "E2E_PREFECT_DATABASE_URL": f"postgresql+asyncpg://{address}",
        }

    def bootstrap(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """As an operator starts it."""
        command = [sys.executable, "-m", "bootstrap", "--runtime", "kubernetes"]
        return subprocess.run(
            [*command, "--settings", str(self.settings), *words],
            cwd=CHECKOUT,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=900,
        )

    def make_database(self) -> None:
        """PostgreSQL in a namespace of its own."""
        for each in _database(self.data):
            self.api.create(each)

    def remove(self) -> None:
        """Both namespaces go."""
        for name in (self.namespace, self.data):
            ref = Ref("v1", "Namespace", name)
            if (found := self.api.find(ref)) is not None:
                self.api.delete(ref, uid=found["metadata"]["uid"])


@contextmanager
def cluster_site(folder: Path) -> Iterator[ClusterSite]:
    """A site with a database, removed afterwards."""
    site = ClusterSite(folder)
    site.make_database()
    try:
        yield site
    finally:
        if not os.environ.get("E2E_KEEP"):
            site.remove()


def _database(namespace: str) -> list[Object]:
    about = {"name": "postgres", "namespace": namespace, "labels": {"app": "postgres"}}
    variables = {
        "POSTGRES_USER": "postgres",
        "POSTGRES_PASSWORD": _PASSWORD,
        "POSTGRES_DB": "cai_data",
    }
    container: dict[str, Any] = {
        "name": "postgres",
        "image": f"{REGISTRY}/postgres:17",
        "env": [{"name": name, "value": value} for name, value in variables.items()],
        "ports": [{"containerPort": 5432}],
    }
    port = {"port": 5432, "targetPort": 5432}
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}},
        {"apiVersion": "v1", "kind": "Pod", "metadata": about, "spec": {"containers": [container]}},
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": about,
            "spec": {"selector": {"app": "postgres"}, "ports": [port]},
        },
    ]
