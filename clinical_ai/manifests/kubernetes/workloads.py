"""Kubernetes Deployments with what belongs to each: its Service and its disruption budget."""

from typing import Any

from clinical_ai.manifests.kubernetes.metadata import Manifest, made, selector
from clinical_ai.manifests.kubernetes.pods import Work, spread, template
from clinical_ai.release import Release
from clinical_ai.settings import Settings


def deployment(
    settings: Settings, release: Release, work: Work, strategy: dict[str, Any]
) -> Manifest:
    """A Kubernetes Deployment. Its `replicas` count when it is made, and never again."""
    pods = template(settings, release, work)
    pods["spec"]["topologySpreadConstraints"] = spread(work.name)
    body = {
        "replicas": work.replicas,
        "selector": {"matchLabels": selector(work.name)},
        "strategy": strategy,
        "revisionHistoryLimit": 5,
        "progressDeadlineSeconds": 600,
        "template": pods,
    }
    return made("apps/v1/Deployment", work.name, settings, {"spec": body})


def service(settings: Settings, name: str, port_name: str, port: int) -> Manifest:
    """A Service of the pods of this name, at one port."""
    ports = [{"name": port_name, "port": port, "targetPort": port_name, "protocol": "TCP"}]
    body = {"type": "ClusterIP", "selector": selector(name), "ports": ports}
    return made("v1/Service", name, settings, {"spec": body})


def budget(settings: Settings, name: str) -> Manifest:
    """One pod of this name at a time may be evicted: a node can always be drained."""
    body = {"maxUnavailable": 1, "selector": {"matchLabels": selector(name)}}
    return made("policy/v1/PodDisruptionBudget", name, settings, {"spec": body})
