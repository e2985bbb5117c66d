"""Who may reach the platform in a cluster, and whom it may reach: everything else is denied."""

from typing import Literal, Self

from pydantic import field_validator, model_validator

from clinical_ai.frozen import Frozen
from clinical_ai.notation_kubernetes import Cidr, Label, Labels, Port


class Peer(Frozen):
    """Pods by namespace and labels, addresses outside the cluster by blocks, or both.

    `pod-labels` without a namespace are those of the platform's own namespace.
    """

    namespace: Label | None = None
    namespace_labels: Labels = {}
    pod_labels: Labels = {}
    cidrs: tuple[Cidr, ...] = ()

    @model_validator(mode="after")
    def _somebody(self) -> Self:
        if not (self.namespace or self.namespace_labels or self.pod_labels or self.cidrs):
            raise ValueError("names nobody; give namespace, pod-labels or cidrs")
        return self


class Client(Peer):
    """Somebody who may reach the platform: the backend, an ingress controller, monitoring."""

    ports: tuple[Literal["api", "health"], ...] = ("api",)

    @model_validator(mode="after")
    def _some_port(self) -> Self:
        if not self.ports:
            raise ValueError('names no port; give ports, such as ["api"], or leave ports out')
        return self


class Target(Peer):
    """Somebody whom the platform may reach, at these ports of the pods or hosts themselves."""

    ports: tuple[Port, ...]

    @model_validator(mode="after")
    def _some_port(self) -> Self:
        if not self.ports:
            raise ValueError("names no port; give ports, such as [5432]")
        return self


class Egress(Frozen):
    """Targets by purpose: a purpose decides which of the platform's pods may reach them.

    What is absent is read from the addresses that the settings name.
    """

    dns: tuple[Target, ...] = (
        Target(namespace="kube-system", pod_labels={"k8s-app": "kube-dns"}, ports=(53,)),
    )
    api_server: tuple[Target, ...] = (Target(cidrs=("0.0.0.0/0", "::/0"), ports=(443, 6443)),)
    database: tuple[Target, ...] | None = None
    storage: tuple[Target, ...] | None = None
    sources: tuple[Target, ...] | None = None
    proxy: tuple[Target, ...] | None = None
    vault: tuple[Target, ...] | None = None
    registry: tuple[Target, ...] = ()

    @field_validator("dns", "api_server", "database")
    @classmethod
    def _somebody(cls, targets: tuple[Target, ...] | None) -> tuple[Target, ...] | None:
        """Whom nothing of the platform works without."""
        if targets == ():
            raise ValueError(
                "names nobody, and the platform needs it; name a target, or leave it out"
            )
        return targets
