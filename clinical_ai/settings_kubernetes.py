"""What an operator wants of a cluster: absent on one machine."""

import re
from collections.abc import Mapping
from typing import Annotated, Final, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from clinical_ai import names
from clinical_ai.frozen import Frozen, kebab
from clinical_ai.hosts import find_fault
from clinical_ai.notation_kubernetes import (
    Annotations,
    Arguments,
    Cron,
    GivenReference,
    Host,
    Image,
    Label,
    Name,
    Port,
    Registry,
    WildcardHost,
)
from clinical_ai.settings_network import Client, Egress
from clinical_ai.settings_pods import Component
from clinical_ai.settings_vault import ExternalSecrets, VaultAccess, VaultAgent

_PLACES: Final = {
    "database_url": names.DATABASE_URL,
    "prefect_database_url": names.PREFECT_DATABASE_URL,
}
_MOUNTED: Final = re.compile(rf"{re.escape(names.TRUST_FOLDER)}/(?!\.\.)[A-Za-z0-9._-]+")


class Build(Frozen):
    """How the image is built."""

    base_image: Image = "python:3.13-slim"
    arguments: Arguments = {}
    network: Literal["default", "host"] = "default"


class Ingress(Frozen):
    """An Ingress for the API and its pages."""

    kind: Literal["ingress"] = "ingress"
    host: Host
    ingress_class: Name = "nginx"
    tls: bool = Field(default=True, strict=True)
    tls_secret: Name = f"{names.SERVER}-tls"
    annotations: Annotations = {}


class Parent(Frozen):
    """The Gateway, or one listener of it, that the route belongs to."""

    name: Name
    namespace: Label | None = None
    section_name: Name | None = None
    port: Port | None = None


class Gateway(Frozen):
    """A Gateway API HTTPRoute for the API and its pages; TLS is the Gateway's own."""

    kind: Literal["gateway"] = "gateway"
    host: WildcardHost
    parents: tuple[Parent, ...] = Field(min_length=1)
    annotations: Annotations = {}


class Components(Frozen):
    """Additions to pods, by component."""

    server: Component = Component()
    worker: Component = Component()
    platform_worker: Component = Component()
    jobs: Component = Component()
    migration: Component = Component()

    @model_validator(mode="after")
    def _nothing_to_copy(self) -> Self:
        """A Kubernetes worker copies its own PREFECT_* variables into each Job, in clear."""
        for name, value in self.platform_worker.environment.items():
            if name.startswith("PREFECT_") and value.startswith("secret:"):
                raise ValueError(
                    f"would copy {name} of platform-worker into each Job in clear;"
                    " give it to jobs instead"
                )
        return self


class Kubernetes(Frozen):
    """One platform in one namespace of a cluster."""

    namespace: Label = names.NAMESPACE
    registry: Registry
    build: Build = Build()
    image_pull_policy: Literal["Always", "IfNotPresent"] = "IfNotPresent"
    image_pull_secrets: tuple[Name, ...] = ()
    exposure: Annotated[Ingress | Gateway, Field(discriminator="kind")] | None = None
    database_url: GivenReference = names.DATABASE_URL
    prefect_database_url: GivenReference = names.PREFECT_DATABASE_URL
    lease_claim: Name | None = None
    ca_config_map: Name | None = None
    clients: dict[Label, Client] = {}
    egress: Egress = Egress()
    components: Components = Components()
    worker_replicas: int = Field(default=1, strict=True, ge=1, le=100)
    drift: Literal["heal", "report"] = "report"
    drift_schedule: Cron = "17 * * * *"
    prune_limit: int = Field(default=5, strict=True, ge=0, le=100)

    @field_validator("registry")
    @classmethod
    def _of_a_host(cls, value: str) -> str:
        if fault := find_fault(value.partition("/")[0]):
            raise ValueError(f"is not a registry: {fault}")
        return value

    @field_validator("database_url", "prefect_database_url")
    @classmethod
    def _kept_in_one_place(cls, value: str, field: ValidationInfo) -> str:
        if value.startswith("secret:") and value != _PLACES[field.field_name or ""]:
            raise ValueError(f"is kept in Secret {names.SECRETS}: name env:NAME or file:PATH")
        return value

    def secrets(self) -> dict[str, str]:
        """Field to the Secret that it names, or to the reference to a key of one."""
        named = _numbered("kubernetes.image-pull-secrets", self.image_pull_secrets)
        if isinstance(self.exposure, Ingress):
            named["kubernetes.exposure.tls-secret"] = self.exposure.tls_secret
        for name in Components.model_fields:
            component: Component = getattr(self.components, name)
            place = f"kubernetes.components.{kebab(name)}"
            named |= _numbered(f"{place}.image-pull-secrets", component.image_pull_secrets)
            for variable, value in component.environment.items():
                if value.startswith("secret:"):
                    named[f"{place}.environment.{variable}"] = value
        return named

    def job_texts(self) -> dict[str, str]:
        """Field to each free text that the pool `platform` has in its job template."""
        jobs = self.components.jobs
        return {
            f"kubernetes.components.jobs.{what}.{name}": value
            for what, values in (
                ("environment", jobs.environment),
                ("annotations", jobs.annotations),
            )
            for name, value in values.items()
        }

    def not_mounted(self, bundles: Mapping[str, str]) -> list[str]:
        """Keys of those CA bundles that are no file of the ConfigMap that pods mount."""
        return [
            key
            for key, path in bundles.items()
            if self.ca_config_map is None or not _MOUNTED.fullmatch(path)
        ]

    @property
    def vault(self) -> VaultAccess | None:
        """The Vault that pods of the platform may be let in by, or None."""
        return None

    @property
    def image(self) -> str:
        """The image's repository, without a tag."""
        return f"{self.registry}/{names.PRODUCT}"


def _numbered(key: str, values: tuple[str, ...]) -> dict[str, str]:
    return {f"{key}.{number}": value for number, value in enumerate(values)}


class ProductionKubernetes(Kubernetes):
    """In production AWS credentials come from Vault, or from a Secret that somebody else keeps."""

    aws_credentials: Annotated[ExternalSecrets | VaultAgent, Field(discriminator="kind")] | None = (
        None
    )

    @property
    def vault(self) -> VaultAccess | None:
        """That of the credentials of AWS."""
        return self.aws_credentials
