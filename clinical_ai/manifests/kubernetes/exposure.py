"""How the API and its pages are reached from outside the cluster."""

from typing import Any, assert_never

from clinical_ai import names
from clinical_ai.manifests.kubernetes.metadata import Manifest, cluster_of, made
from clinical_ai.settings import Settings
from clinical_ai.settings_kubernetes import Gateway, Ingress


def exposure(settings: Settings) -> list[Manifest]:
    """An Ingress or an HTTPRoute, as the settings choose, or nothing."""
    match cluster_of(settings).exposure:
        case None:
            return []
        case Ingress() as chosen:
            return [_ingress(settings, chosen)]
        case Gateway() as chosen:
            return [_route(settings, chosen)]
        case unknown:
            assert_never(unknown)


def find_address(settings: Settings) -> str | None:
    """Where a browser finds the pages; None where nobody but the Gateway's keeper can tell."""
    chosen = settings.kubernetes.exposure if settings.kubernetes else None
    if chosen is None or chosen.host.startswith("*."):
        return None
    return f"https://{chosen.host}"


def _ingress(settings: Settings, chosen: Ingress) -> Manifest:
    service = {"name": names.SERVER, "port": {"name": "api"}}
    path = {"path": "/", "pathType": "Prefix", "backend": {"service": service}}
    body: dict[str, Any] = {
        "ingressClassName": chosen.ingress_class,
        "rules": [{"host": chosen.host, "http": {"paths": [path]}}],
    }
    if chosen.tls:
        body["tls"] = [{"hosts": [chosen.host], "secretName": chosen.tls_secret}]
    return made(
        "networking.k8s.io/v1/Ingress",
        names.SERVER,
        settings,
        {"spec": body},
        annotations=chosen.annotations,
    )


def _route(settings: Settings, chosen: Gateway) -> Manifest:
    parents = [
        {
            key: value
            for key, value in {
                "name": parent.name,
                "namespace": parent.namespace,
                "sectionName": parent.section_name,
                "port": parent.port,
            }.items()
            if value is not None
        }
        for parent in chosen.parents
    ]
    body = {
        "parentRefs": parents,
        "hostnames": [chosen.host],
        "rules": [
            {
                "matches": [{"path": {"type": "PathPrefix", "value": "/"}}],
                "backendRefs": [{"name": names.SERVER, "port": names.API_PORT}],
            }
        ],
    }
    return made(
        "gateway.networking.k8s.io/v1/HTTPRoute",
        names.SERVER,
        settings,
        {"spec": body},
        annotations=chosen.annotations,
    )
