"""A cluster in which nothing stands in the way of an installation, for tests to put something."""

from base64 import b64encode
from typing import Any, Final

import pytest

from bootstrap.cluster import checks
from clinical_ai import names
from clinical_ai.adapters.cluster_secrets import ClusterSecrets
from clinical_ai.errors import ManyFaults, NeedsOperator
from clinical_ai.manifests.kubernetes import credentials, desired
from clinical_ai.ports_cluster import Object
from clinical_ai.settings import Settings
from tests.support.fake_cluster import FakeCluster
from tests.support.kubernetes_examples import RELEASE

NAMESPACE: Final = "clinical-ai"
MORE_KINDS: Final = {
    "external-secrets.io/v1": ("SecretStore", "ExternalSecret"),
    "gateway.networking.k8s.io/v1": ("HTTPRoute", "Gateway"),
    "v1": ("PersistentVolumeClaim",),
}


def thing(kind: str, name: str, api_version: str = "v1", **body: Any) -> Object:
    place = {} if kind == "IngressClass" else {"namespace": NAMESPACE}
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": name, **place}, **body}


def labelled(made: Object, **labels: str) -> Object:
    """The same object with these labels; without any, with the one by which records are ours."""
    made["metadata"]["labels"] = labels or {"app.kubernetes.io/part-of": names.PRODUCT}
    return made


def gateway(**told: dict[str, str]) -> Object:
    """That of another namespace; `told`: conditions that are not as usual, by type."""
    usual = {"status": "True", "reason": "Ready", "message": ""}
    conditions = {"Accepted": usual, "Programmed": usual} | told
    status = {"conditions": [{"type": kind, **each} for kind, each in conditions.items()]}
    listeners = [{"name": "https", "port": 443, "protocol": "HTTPS"}]
    made = thing(
        "Gateway",
        "public",
        "gateway.networking.k8s.io/v1",
        spec={"gatewayClassName": "theirs", "listeners": listeners},
        status=status,
    )
    made["metadata"]["namespace"] = "gateways"
    return made


class Site:
    """A cluster in which nothing stands in the way of an installation."""

    def __init__(self, settings: Settings) -> None:
        assert settings.kubernetes is not None
        self.settings = settings
        self.namespace = settings.kubernetes.namespace
        self.fake = FakeCluster(self.namespace)
        for version, kinds in MORE_KINDS.items():
            for kind in kinds:
                self.fake.serve(version, kind, f"{kind.lower()}s")
        self.kept: set[str] = set()
        self.put(thing("IngressClass", "nginx", "networking.k8s.io/v1"))
        self.put(gateway())
        self.put(thing("PersistentVolumeClaim", "clinical-ai-leases"))
        self.put(thing("ConfigMap", "hospital-ca", data={"hospital.pem": "a certificate"}))
        for name in ("registry-credentials", "worker-registry"):
            self.put(thing("Secret", name))
        for name, keys in credentials.known(settings).items():
            data = {key: b64encode(b"not-secret-of-a-test").decode() for key in keys}
            self.put(thing("Secret", name, data=data))

    def put(self, content: Object) -> None:
        if content["metadata"].get("namespace") == NAMESPACE:
            content["metadata"]["namespace"] = self.namespace
        self.fake.put(content)

    def remove(self, kind: str, name: str) -> None:
        [place] = [it for it in self.fake.objects.all if (it[1], it[3]) == (kind, name)]
        del self.fake.objects.all[place]

    def apply_all(self) -> None:
        """The platform's objects are there."""
        cluster = self.fake.open(self.namespace)
        rights = desired.for_bootstrap(self.settings, make_namespace=False)
        for each in (*rights, *desired.for_deploy(self.settings, RELEASE)):
            cluster.apply(each)

    def quota(self, used: str, hard: str, resource: str = "pods", **spec: Any) -> None:
        told = {"hard": {resource: hard}, "used": {resource: used}}
        self.put(thing("ResourceQuota", "small", spec=spec, status=told))

    def check(self) -> list[str]:
        cluster = self.fake.open(self.namespace)
        return checks.check(cluster, self.settings, ClusterSecrets(cluster), self.kept)

    def faults(self) -> list[NeedsOperator]:
        with pytest.raises(ManyFaults) as refused:
            self.check()
        assert self.fake.writes == []
        assert all(fault.remedy for fault in refused.value.faults)
        return refused.value.faults

    def fault(self) -> NeedsOperator:
        [fault] = self.faults()
        return fault
