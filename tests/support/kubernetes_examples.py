"""Settings of clusters and a release, as a hospital might have them."""

from collections.abc import Iterable
from typing import Any, Final

from clinical_ai.manifests.kubernetes import access, desired, migration, pools
from clinical_ai.manifests.kubernetes.metadata import Manifest
from clinical_ai.release import Release
from clinical_ai.settings import Settings, parse

RELEASE: Final = Release(
    image="registry.example.org/hospital/clinical-ai-prefect@sha256:" + "0123456789abcdef" * 4,
    content="0123456789ab",
    version="1.0.0",
    prefect="3.8.8",
    python="3.13.7",
    revision="d4a7e1c93f52",
)

# The parts of the process worker's own template that matter here.
TEMPLATE: Final[dict[str, Any]] = {
    "job_configuration": {
        "command": "{{ command }}",
        "env": "{{ env }}",
        "working_dir": "{{ working_dir }}",
    },
    "variables": {
        "type": "object",
        "properties": {
            "env": {"type": "object", "title": "Environment Variables"},
            "command": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None},
            "working_dir": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None},
        },
    },
}

DEVELOPMENT: Final[dict[str, Any]] = {
    "kubernetes": {"registry": "registry.example.org"},
}

PRODUCTION: Final[dict[str, Any]] = {
    "storage-environment": "production",
    "aws-region": "eu-central-1",
    "worker-concurrency": 8,
    "connections": {
        "hospital": {
            "addresses": ["https://fhir.example.org/r4"],
            "credentials": "secret:connection-hospital/credentials",
        },
        "lab": {
            "addresses": ["https://lab.example.org/fhir"],
            "credentials": "vault:secret/clinical-ai/lab#token",
        },
        "warehouse": {"addresses": ["warehouse.data.svc.cluster.local:5432"]},
    },
    "kubernetes": {
        "registry": "registry.example.org/hospital",
        "image-pull-secrets": ["registry-credentials"],
        "lease-claim": "clinical-ai-leases",
        "worker-replicas": 2,
        "drift": "heal",
        "exposure": {"kind": "ingress", "host": "prefect.example.org"},
        "aws-credentials": {
            "kind": "external-secrets",
            "vault-address": "https://vault.example.org:8200",
        },
        "clients": {
            "backend": {"namespace": "backend", "pod-labels": {"app": "backend"}},
            "ingress": {"namespace": "ingress-nginx"},
            "monitoring": {"namespace": "monitoring", "ports": ["api", "health"]},
        },
        "egress": {
            "database": [{"cidrs": ["10.20.30.0/28"], "ports": [5432]}],
            "api-server": [{"cidrs": ["10.0.0.10/32"], "ports": [6443]}],
        },
    },
}

GATEWAY: Final[dict[str, Any]] = {
    "minio-endpoint": "http://minio.storage.svc:9000",
    "auth": "none",
    "kubernetes": {
        "namespace": "trial-7",
        "registry": "registry.example.org:5000",
        "image-pull-policy": "Always",
        "exposure": {
            "kind": "gateway",
            "host": "prefect.example.org",
            "parents": [{"name": "public", "namespace": "gateways", "section-name": "https"}],
        },
    },
}

VAULT_AGENT: Final[dict[str, Any]] = {
    "storage-environment": "production",
    "ca-bundle": "/etc/clinical-ai-prefect/trust/hospital.pem",
    "https-proxy": "http://proxy.example.org:3128",
    "no-proxy": "vault.example.org",
    "kubernetes": {
        "registry": "registry.example.org/hospital",
        "ca-config-map": "hospital-ca",
        "aws-credentials": {
            "kind": "vault-agent",
            "vault-address": "https://vault.example.org:8200",
            "vault-namespace": "clinical",
            "image": "registry.example.org/hashicorp/vault:1.20",
        },
        "components": {
            "worker": {
                "environment": {
                    "PREFECT_LOGGING_LEVEL": "DEBUG",
                    "LICENCE_KEY": "secret:hospital-licence/key",
                },
                "node-selector": {"node.example.org/pool": "clinical"},
                "tolerations": [
                    {
                        "key": "dedicated",
                        "value": "clinical",
                        "effect": "NoExecute",
                        "toleration-seconds": 60,
                    }
                ],
                "resources": {"limits": {"memory": "16Gi", "ephemeral-storage": "40Gi"}},
                "annotations": {"sidecar.istio.io/inject": "false"},
                "image-pull-secrets": ["worker-registry"],
                "priority-class": "clinical",
            },
            "jobs": {"resources": {"requests": {"cpu": "1"}}},
        },
    },
}

ALL: Final = {
    "development": DEVELOPMENT,
    "production": PRODUCTION,
    "gateway": GATEWAY,
    "vault-agent": VAULT_AGENT,
}


def settings_of(name: str) -> Settings:
    """The settings of this example."""
    return parse(ALL[name])


def objects(settings: Settings) -> list[Manifest]:
    """Everything that comes to be in the cluster but for runs."""
    return [
        *desired.for_bootstrap(settings, make_namespace=True),
        migration.migration(settings, RELEASE),
        *desired.for_deploy(settings, RELEASE),
    ]


def pod_templates(settings: Settings) -> Iterable[tuple[str, dict[str, Any]]]:
    """Every pod template by the kind of pod, that of runs too."""
    for each in objects(settings):
        if template := each.get("spec", {}).get("template"):
            yield each["metadata"]["labels"]["app"], template
    run = pools.job(settings, RELEASE)["spec"]["template"]
    yield run["metadata"]["labels"]["app"], run


def rules_of(settings: Settings, account: str) -> list[dict[str, Any]]:
    """What the ServiceAccount of this name may do."""
    return [
        rule
        for role in access.rights(settings)
        if role["kind"] == "Role" and role["metadata"]["name"] == account
        for rule in role["rules"]
    ]
