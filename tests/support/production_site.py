"""A production platform on a real cluster: Vault, an Ingress with TLS, AWS behind a proxy."""

import os
import subprocess
import tomllib
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Any, Final, Literal
from uuid import uuid4

import docker
import pytest

from clinical_ai import names
from clinical_ai.ports_cluster import Object, Ref
from tests.support import aws_behind_proxy
from tests.support.certificates import Authority
from tests.support.cluster_site import REGISTRY, ClusterSite
from tests.support.vault import ADDRESS, Vault

INGRESS: Final = ("traefik", "traefik")  # namespace and Service of the controller
_AWS: Final = ("s3.amazonaws.com", "s3.us-east-1.amazonaws.com")
KEYS: Final = {"aws-access-key-id": "minioadmin", "aws-secret-access-key": "minioadmin"}
LAB: Final = {"token": "not-secret-of-a-laboratory"}
_RESTRICTED: Final = {
    f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")
}
_PROXY: Final = 3128
_TRUST: Final = "hospital-ca"
AGENT: Final = f"{REGISTRY}/e2e-vault:1"
# The test cluster's image has the program at /, Vault's own has it on PATH.
_AGENT: Final = f"FROM {REGISTRY}/vault:1\nENV PATH=/\n"
_STORAGE: Final = """\
storage-environment = "production"
https-proxy = "http://aws.{data}.svc.cluster.local:{proxy}"
ca-bundle = "{trust}/ca.crt"
worker-query-seconds = 2
"""
_REST: Final = """
[connections.lab]
addresses = ["https://lab.example.org/r4"]
credentials = "vault:secret/{namespace}/lab#token"

[kubernetes.exposure]
kind = "ingress"
host = "{host}"

[kubernetes.clients.ingress]
namespace = "{ingress}"

[kubernetes.clients.backend]
namespace = "{data}"
pod-labels = {{ app = "backend" }}

[kubernetes.aws-credentials]
kind = "{kind}"
vault-address = "{vault}"
auth-mount = "{namespace}"
role = "{namespace}"
secret-path = "{namespace}/aws"
refresh-interval = "20s"
{more}
"""


@dataclass
class ProductionSite(ClusterSite):
    """`kind`: how AWS credentials come from Vault."""

    namespace: str = field(default_factory=lambda: f"prod-{uuid4().hex[:6]}")
    kind: Literal["external-secrets", "vault-agent"] = "external-secrets"

    @property
    def host(self) -> str:
        """Of the Ingress."""
        return f"{self.namespace}.example.org"

    @property
    def storage(self) -> str:
        return _STORAGE.format(data=self.data, proxy=_PROXY, trust=names.TRUST_FOLDER)

    @property
    def text(self) -> str:
        agent = f'image = "{AGENT}"' if self.kind == "vault-agent" else ""
        kubernetes = super().text.replace(
            "[kubernetes]", f'[kubernetes]\nca-config-map = "{_TRUST}"', 1
        )
        return kubernetes + _REST.format(
            host=self.host,
            ingress=INGRESS[0],
            data=self.data,
            kind=self.kind,
            vault=ADDRESS,
            namespace=self.namespace,
            more=agent,
        )

    @property
    def credentials(self) -> Object:
        """What the settings say of Vault."""
        found: Object = tomllib.loads(self.text)["kubernetes"]["aws-credentials"]
        return found

    @property
    def authority(self) -> Path:
        """The certificate that pods and browsers of this site trust."""
        path = self.folder / "ca.crt"
        path.write_text(self.api.get(Ref("v1", "ConfigMap", _TRUST))["data"]["ca.crt"])
        return path

    @property
    def address(self) -> str:
        """Where the ingress controller is reached from the machine of the test."""
        space, name = INGRESS
        found = self.api.get(Ref("v1", "Service", name, space))
        return str(found["spec"]["clusterIP"])

    def build_agent(self) -> None:
        """The image of Vault's agent is in the registry."""
        client = docker.from_env()
        client.images.build(fileobj=BytesIO(_AGENT.encode()), tag=AGENT)
        told = client.images.push(AGENT)
        assert "errorDetail" not in told, told

    def run_in(self, pod: str, *command: str, namespace: str = "", container: str = "") -> str:
        """What a command tells in a pod that is there: its name, or `deploy/NAME`."""
        words = ["kubectl", "-n", namespace or self.namespace, "exec", pod, "--quiet"]
        words += [*(["-c", container] if container else []), "--", *command]
        done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=120)
        return done.stdout

    def prepare(self) -> None:
        """The operator's part: the namespace with its certificates, AWS behind a proxy."""
        authority = Authority(self.folder)
        labels = {"labels": _RESTRICTED}
        self.api.create(
            {
                "apiVersion": "v1",
                "kind": "Namespace",
                "metadata": {"name": self.namespace, **labels},
            }
        )
        trust = {"ca.crt": authority.certificate.read_text()}
        self.api.create(_named("ConfigMap", _TRUST, self.namespace, data=trust))
        pair = authority.issue("ingress", self.host)
        self.api.create(tls_secret(f"{names.SERVER}-tls", self.namespace, pair))
        for each in _aws(self.data, authority.issue("aws", *_AWS)):
            self.api.create(each)

    @cached_property
    def vault(self) -> Vault:
        """Its part of Vault."""
        return Vault(self.api, self.namespace)

    def prepare_vault(self) -> None:
        """The administrator's part: whom Vault trusts, and with what."""
        self.vault.keep("aws", KEYS)
        self.vault.keep("lab", LAB)
        accounts = [names.EXTERNAL_SECRETS, names.WORKER, names.PLATFORM_JOB]
        self.vault.trust(self.namespace, accounts)


@dataclass(frozen=True)
class Refusal:
    """What a bootstrap told that failed, what it had looked at, and whether it left a server."""

    told: str
    looked: str
    server: bool


@dataclass
class Installed:
    """A platform, and what the try before it told, for which Vault was not ready."""

    site: ProductionSite
    refusal: Refusal


@pytest.fixture(scope="session")
def installed_production(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    """A production platform with External Secrets, installed once Vault was ready.

    E2E_SITE keeps it, as it keeps the other, in a namespace of its own.
    """
    kept = os.environ.get("E2E_SITE")
    folder = tmp_path_factory.mktemp("production")
    site = ProductionSite(folder, *([f"{kept}-prod"] if kept else []))
    try:
        if site.api.find(Ref("v1", "Namespace", site.data)) is None:
            yield _install(site)
        else:
            yield Installed(site, Refusal("", "", server=False))
    finally:
        if not kept:
            site.remove()
            site.vault.forget()


def _install(site: ProductionSite) -> Installed:
    site.lay_ground()
    site.prepare()
    early = site.bootstrap()
    server = site.api.find(Ref("apps/v1", "Deployment", names.SERVER)) is not None
    site.prepare_vault()
    site.up()
    site.quiet_schedules()
    return Installed(site, Refusal(early.stderr, early.stdout, server))


@pytest.fixture(scope="session")
def production(installed_production: Installed) -> ProductionSite:
    """Where it is."""
    return installed_production.site


def _aws(namespace: str, pair: tuple[Path, Path]) -> list[Object]:
    script = {"aws.py": Path(aws_behind_proxy.__file__).read_text()}
    files = {"mountPath": "/aws", "readOnly": True}
    container = {
        "name": "aws",
        "image": f"{REGISTRY}/python:3.13",
        "command": ["python3", "/aws/script/aws.py", str(_PROXY)],
        "args": [
            "versitygw.versitygw.svc.cluster.local:9000",
            "/aws/tls/tls.crt",
            "/aws/tls/tls.key",
        ],
        "volumeMounts": [
            {**files, "name": name, "mountPath": f"/aws/{name}"} for name in ("script", "tls")
        ],
    }
    volumes = [
        {"name": "script", "configMap": {"name": "aws"}},
        {"name": "tls", "secret": {"secretName": "aws"}},
    ]
    spec = {"containers": [container], "volumes": volumes, "terminationGracePeriodSeconds": 1}
    ports = [{"port": _PROXY}]
    return [
        _named("ConfigMap", "aws", namespace, data=script),
        tls_secret("aws", namespace, pair),
        _named("Pod", "aws", namespace, spec=spec),
        _named("Service", "aws", namespace, spec={"selector": {"app": "aws"}, "ports": ports}),
    ]


def tls_secret(name: str, namespace: str, pair: tuple[Path, Path]) -> Object:
    """`pair`: a certificate and its key."""
    keys = ("tls.crt", "tls.key")
    data = {
        key: b64encode(path.read_bytes()).decode() for key, path in zip(keys, pair, strict=True)
    }
    return _named("Secret", name, namespace, type="kubernetes.io/tls", data=data)


def _named(kind: str, name: str, namespace: str, **content: Any) -> Object:
    about = {"name": name, "namespace": namespace, "labels": {"app": name}}
    return {"apiVersion": "v1", "kind": kind, "metadata": about, **content}
