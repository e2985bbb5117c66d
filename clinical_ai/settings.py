"""What an operator wants: parsed once, frozen, unknown keys refused.

The names are those of the guide's ConfigMap (`storage-environment`, `aws-region`, `minio-endpoint`,
`prefect-api-url`) and stay flat, so that the block's form in the Prefect UI shows one field a line.
Only references to secrets appear here, never a secret.
"""

from collections.abc import Mapping
from typing import Any, Final, Literal, Self

from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator

from clinical_ai import names
from clinical_ai.errors import ManyFaults, NeedsOperator
from clinical_ai.frozen import Frozen, keys, written
from clinical_ai.notation import Address, AllowedAddresses, ApiAddress, FilePath, Reference, Region
from clinical_ai.secret_references import find_parts, parts
from clinical_ai.settings_faults import fault, wrong_environment
from clinical_ai.settings_kubernetes import Kubernetes, ProductionKubernetes
from clinical_ai.settings_vault import ExternalSecrets


def _api_address(given: dict[str, Any]) -> str:
    """The server of this platform: on this machine, or as the cluster's DNS names it."""
    cluster: Kubernetes | None = given.get("kubernetes")
    return _api_addresses(cluster)[0] if cluster else _api_at("127.0.0.1")


def _api_addresses(cluster: Kubernetes) -> list[str]:
    """Of the server's Service, as pods of its namespace resolve it; the guide's comes first."""
    space = f".{cluster.namespace}"
    ends = (f"{space}.svc.cluster.local", f"{space}.svc", space, "")
    return [_api_at(f"{names.SERVER}{end}") for end in ends]


def _api_at(host: str) -> str:
    return f"http://{host}:{names.API_PORT}/api"


def _minio_address(given: dict[str, Any]) -> str | None:
    """Pods share no folder, so in a cluster there is always an endpoint: the guide's."""
    cluster: Kubernetes | None = given.get("kubernetes")
    return f"http://minio.{cluster.namespace}.svc.cluster.local:9000" if cluster else None


class Connection(Frozen):
    """What a row of the guide's tables may name: where data comes from or goes to.

    `addresses` are the only ones a row may use with it: URL prefixes for FHIR servers, `host:port`
    for databases. A row can neither read another secret nor send this one elsewhere.
    """

    addresses: AllowedAddresses
    credentials: Reference | None = None
    ca_bundle: FilePath | None = None


class _Common(Frozen):
    kubernetes: Kubernetes | None = None  # before what its namespace decides
    prefect_api_url: ApiAddress = Field(default_factory=_api_address)
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    worker_concurrency: int = Field(default=4, strict=True, ge=1, le=1000)
    platform_concurrency: int = Field(default=3, strict=True, ge=2, le=100)
    worker_query_seconds: int = Field(default=7, strict=True, ge=1, le=60)
    drain_seconds: int = Field(default=600, strict=True, ge=0, le=86_400)
    http_proxy: Address | None = None
    https_proxy: Address | None = None
    no_proxy: str | None = None
    ca_bundle: FilePath | None = None
    connections: dict[str, Connection] = {}
    sources_columns: dict[str, str] = {}
    destinations_columns: dict[str, str] = {}

    @field_validator("prefect_api_url")
    @classmethod
    def _of_this_platform(cls, value: str, field: ValidationInfo) -> str:
        """Pods may reach no other server, and a namespace that is copied would be a foreign one."""
        cluster: Kubernetes | None = field.data.get("kubernetes")
        if cluster and value not in (own := _api_addresses(cluster)):
            raise ValueError(
                f"is {value}, in a cluster the API is that of Service {names.SERVER} in namespace"
                f" {cluster.namespace}; leave it out, or write {own[0]}"
            )
        return value

    def references(self) -> dict[str, str]:
        """Field to reference of each secret that is used with these settings."""
        return {
            f"connections.{name}.credentials": each.credentials
            for name, each in self.connections.items()
            if each.credentials
        }

    @model_validator(mode="after")
    def _nothing_to_fill_in(self) -> Self:
        """Prefect takes the job template's texts for templates of its own, and knows no escape."""
        if self.kubernetes is None:
            return self
        texts = {
            "http-proxy": self.http_proxy,
            "https-proxy": self.https_proxy,
            "no-proxy": self.no_proxy,
            **self.kubernetes.job_texts(),
        }
        if named := [key for key, text in texts.items() if text and "{{" in text]:
            raise ValueError(
                f"{', '.join(named)}: there is {{{{, and Prefect would fill in or remove what it"
                " begins as a run starts; write it without"
            )
        return self

    @model_validator(mode="after")
    def _read_in_pods(self) -> Self:
        """Runs read the credentials of connections from Vault, and nothing else."""
        if self.kubernetes is None:
            return self
        named = {key for key, each in self.references().items() if each.startswith("vault:")}
        runs = named & _Common.references(self).keys()
        if keys := _vaults(named - runs):
            raise ValueError(
                f"{keys}, which pods can't read;"
                " write secret:NAME/KEY, of a Secret that is filled from Vault:"
                " kubernetes.aws-credentials does so with the keys of AWS, which are left out then"
            )
        if runs and self.kubernetes.vault is None:
            raise ValueError(
                f"{_vaults(runs)}, and the settings name no Vault;"
                " write secret:NAME/KEY, or in production give kubernetes.aws-credentials, whose"
                " Vault runs ask then"
            )
        return self

    @property
    def ca_bundles(self) -> dict[str, str]:
        """Key to file of each CA bundle that they name."""
        named = {"ca-bundle": self.ca_bundle}
        for name, connection in self.connections.items():
            named[f"connections.{name}.ca-bundle"] = connection.ca_bundle
        return {key: path for key, path in named.items() if path}

    @model_validator(mode="after")
    def _trusts_what_pods_have(self) -> Self:
        if self.kubernetes and (absent := self.kubernetes.not_mounted(self.ca_bundles)):
            raise ValueError(
                f"{', '.join(absent)}: no pod has such a file; give kubernetes.ca-config-map,"
                f" and write {names.TRUST_FOLDER}/KEY with a key of that ConfigMap"
            )
        return self


def _vaults(named: set[str]) -> str:
    return ", ".join(f"{key} is a vault: reference" for key in sorted(named))


class Development(_Common):
    """MinIO or another S3, or (no endpoint given) a folder of the state folder."""

    storage_environment: Literal["development"] = "development"
    minio_endpoint: Address | None = Field(default_factory=_minio_address)
    minio_access_key: Reference = names.MINIO_ACCESS_KEY
    minio_secret_key: Reference = names.MINIO_SECRET_KEY
    auth: Literal["basic", "none"] = "basic"

    def references(self) -> dict[str, str]:
        """The same, with the keys of an endpoint."""
        keys = {
            "minio-access-key": self.minio_access_key,
            "minio-secret-key": self.minio_secret_key,
        }
        return (keys if self.minio_endpoint else {}) | super().references()


class Production(_Common):
    """AWS S3; the API always asks for a password."""

    storage_environment: Literal["production"] = "production"
    kubernetes: ProductionKubernetes | None = None
    aws_region: Region = "us-east-1"
    aws_access_key_id: Reference = names.AWS_ACCESS_KEY_ID
    aws_secret_access_key: Reference = names.AWS_SECRET_ACCESS_KEY
    auth: Literal["basic"] = "basic"

    def references(self) -> dict[str, str]:
        """The same, with the keys of AWS."""
        return {
            "aws-access-key-id": self.aws_access_key_id,
            "aws-secret-access-key": self.aws_secret_access_key,
            **super().references(),
        }

    @model_validator(mode="after")
    def _two_keys(self) -> Self:
        if self.aws_access_key_id == self.aws_secret_access_key:
            raise ValueError(
                f"aws-access-key-id and aws-secret-access-key are both {self.aws_access_key_id};"
                " name a key for each, or leave them out"
            )
        return self

    @model_validator(mode="after")
    def _one_secret(self) -> Self:
        """What Vault fills is one Secret, or one folder of a pod, and nothing else is in it."""
        if self.kubernetes and self.kubernetes.aws_credentials:
            named = [self.aws_access_key_id, self.aws_secret_access_key]
            if len({each.partition("/")[0] for each in named}) > 1 or named[0][:7] != "secret:":
                raise ValueError(
                    "aws-access-key-id and aws-secret-access-key are not of one Secret;"
                    " leave them out when kubernetes.aws-credentials is given"
                )
            filled = parts(named[0])[0]
            if filled in {parts(each)[0] for each in names.OWN_SECRETS}:
                raise ValueError(
                    f"aws-access-key-id and aws-secret-access-key are of Secret {filled}, which"
                    " holds what the platform needs besides; leave them out when"
                    " kubernetes.aws-credentials is given"
                )
            if also := self._also_in(filled, self.kubernetes):
                raise ValueError(
                    f"{', '.join(also)}, and kubernetes.aws-credentials fills that Secret with"
                    " aws-access-key-id and aws-secret-access-key alone;"
                    " name another Secret there"
                )
        return self

    def _also_in(self, secret: str, cluster: ProductionKubernetes) -> list[str]:
        """Fields that name this Secret besides, each with what it names."""
        named = super().references()
        # An environment can read what External Secrets fill; Vault's agent makes no Secret.
        if isinstance(cluster.aws_credentials, ExternalSecrets):
            filled = {self.aws_access_key_id, self.aws_secret_access_key}
            named |= {key: name for key, name in cluster.secrets().items() if name not in filled}
        else:
            named |= cluster.secrets()
        return [
            f"{key} is {name}"
            for key, name in named.items()
            if secret == (find_parts(name) or [name])[0]
        ]


Settings = Development | Production
MODELS: Final[dict[str, type[Settings]]] = {"development": Development, "production": Production}


def known_keys() -> set[str]:
    """Every key of either environment, as written in a file."""
    return keys(tuple(MODELS.values()))


def parse(raw: Mapping[str, Any], *, origin: str = "settings") -> Settings:
    """Settings from what a file or a block holds; `development` when no environment is named.

    Names may be written with dashes or underscores; a null stands for an absent key. Raises
    ManyFaults with every wrong key and value at once; `origin` tells where they stand.
    """
    faults: list[NeedsOperator] = []
    given = written(raw, tuple(MODELS.values()), f"{origin}: ", faults)
    environment = given.setdefault("storage-environment", "development")
    if not isinstance(environment, str) or environment not in MODELS:
        faults.append(wrong_environment(environment, origin))
        environment = "development"  # so that what is wrong in either is told as well
        other = known_keys() - keys([Development])
        given = {key: value for key, value in given.items() if key not in other}
        given["storage-environment"] = environment
    try:
        settings = MODELS[environment].model_validate(given)
    except ValidationError as refused:
        errors = refused.errors(include_url=False, include_context=False)
        # A default that stands on another field is not made when that one is wrong.
        told = [each for each in errors if each["type"] != "default_factory_not_called"]
        raise ManyFaults(
            [*faults, *(fault(e, MODELS, environment, origin) for e in told)]
        ) from None
    if faults:
        raise ManyFaults(faults)
    return settings


def dump(settings: Settings) -> dict[str, Any]:
    """What a file would hold: kebab-case keys, nothing that is absent."""
    return settings.model_dump(mode="json", by_alias=True, exclude_none=True)


def differences(old: Settings, new: Settings) -> dict[str, tuple[Any, Any]]:
    """Fields (dotted for nested ones) whose values differ: name to (old, new)."""
    before, after = _flat(dump(old)), _flat(dump(new))
    return {
        key: (before.get(key), after.get(key))
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key)
    }


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    leaves: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            leaves |= _flat(value, f"{prefix}{key}.")
        else:
            leaves[f"{prefix}{key}"] = value
    return leaves
