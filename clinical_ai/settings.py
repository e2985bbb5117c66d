"""What an operator wants: parsed once, frozen, unknown keys refused.

The names are those of the guide's ConfigMap (`storage-environment`, `aws-region`, `minio-endpoint`,
`prefect-api-url`) and stay flat, so that the block's form in the Prefect UI shows one field a line.
Only references to secrets appear here, never a secret.
"""

from collections.abc import Mapping
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from clinical_ai import names
from clinical_ai.errors import ManyFaults, NeedsOperator, nearest
from clinical_ai.notation import Address, AllowedAddresses, ApiAddress, FilePath, Reference

# Only such values of these fields are repeated: others may be a secret in the wrong place.
_SHOWN: Final[dict[str, type]] = {
    "log-level": str,
    "aws-region": str,
    "worker-concurrency": int,
    "platform-concurrency": int,
    "worker-query-seconds": int,
    "drain-seconds": int,
}


def _kebab(field: str) -> str:
    return field.replace("_", "-")


class Frozen(BaseModel):
    """Base of all settings: immutable, no unknown key, kebab-case names outside."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=_kebab,
        populate_by_name=True,
        hide_input_in_errors=True,
    )


class Connection(Frozen):
    """What a row of the guide's tables may name: where data comes from or goes to.

    `addresses` are the only ones a row may use with it: URL prefixes for FHIR servers, `host:port`
    for databases. A row can neither read another secret nor send this one elsewhere.
    """

    addresses: AllowedAddresses
    credentials: Reference | None = None
    ca_bundle: FilePath | None = None


class _Common(Frozen):
    prefect_api_url: ApiAddress = f"http://127.0.0.1:{names.API_PORT}/api"
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


class Development(_Common):
    """MinIO or another S3, or (no endpoint given) a folder of the state folder."""

    storage_environment: Literal["development"] = "development"
    minio_endpoint: Address | None = None
    minio_access_key: Reference = names.MINIO_ACCESS_KEY
    minio_secret_key: Reference = names.MINIO_SECRET_KEY
    auth: Literal["basic", "none"] = "basic"


class Production(_Common):
    """AWS S3; the API always asks for a password."""

    storage_environment: Literal["production"] = "production"
    aws_region: str = Field(default="us-east-1", pattern=r"^[a-z]{2}(-[a-z]+)+-\d$")
    aws_access_key_id: Reference = names.AWS_ACCESS_KEY_ID
    aws_secret_access_key: Reference = names.AWS_SECRET_ACCESS_KEY
    auth: Literal["basic"] = "basic"


Settings = Development | Production
MODELS: Final[dict[str, type[Settings]]] = {"development": Development, "production": Production}


def known_keys() -> set[str]:
    """Every key of either environment, as written in a file."""
    return {key for model in MODELS.values() for key in _keys(model)}


def parse(raw: Mapping[str, Any], *, origin: str = "settings") -> Settings:
    """Settings from what a file or a block holds; `development` when no environment is named.

    Names may be written with dashes or underscores; a null stands for an absent key. Raises
    ManyFaults with every wrong key and value at once; `origin` tells where they stand.
    """
    given, faults = _kebab_keys(raw, f"{origin}: ")
    environment = given.setdefault("storage-environment", "development")
    if isinstance(given.get("connections"), Mapping):
        given["connections"] = _kebab_connections(given["connections"], faults, origin)
    if not isinstance(environment, str) or environment not in MODELS:
        faults.append(_wrong_environment(environment, origin))
        environment = "development"  # so that what is wrong in either is told as well
        other = known_keys() - _keys(Development)
        given = {key: value for key, value in given.items() if key not in other}
        given["storage-environment"] = environment
    try:
        settings = MODELS[environment].model_validate(given)
    except ValidationError as refused:
        errors = refused.errors(include_url=False, include_context=False)
        raise ManyFaults(faults + [_fault(one, environment, origin) for one in errors]) from None
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


def _kebab_keys(raw: Mapping[str, Any], before: str) -> tuple[dict[str, Any], list[NeedsOperator]]:
    """Keys as a file writes them, without null values, and a fault for each key given twice."""
    present = {str(key): value for key, value in raw.items() if value is not None}
    faults = [
        NeedsOperator(f"{before}{_kebab(key)} is given twice", f"keep {_kebab(key)}, remove {key}")
        for key in present
        if key != _kebab(key) and _kebab(key) in present
    ]
    return {_kebab(key): value for key, value in present.items()}, faults


def _kebab_connections(
    raw: Mapping[str, Any], faults: list[NeedsOperator], origin: str
) -> dict[str, Any]:
    """Connections with their keys as a file writes them; adds to `faults`."""
    connections = dict(raw)
    for name, connection in raw.items():
        if isinstance(connection, Mapping):
            before = f"{origin}: connections.{name}."
            connections[name], twice = _kebab_keys(connection, before)
            faults += twice
    return connections


def _wrong_environment(given: object, origin: str) -> NeedsOperator:
    shown = f"{given!r:.40}" if isinstance(given, str) else "not a word"
    return NeedsOperator(
        f"{origin}: storage-environment is {shown}", "write development or production"
    )


def _fault(error: ErrorDetails, environment: str, origin: str) -> NeedsOperator:
    """One validation error as one sentence, without a value that may be a secret."""
    path = [str(part) for part in error["loc"]]
    field = _written(path)
    if error["type"] == "extra_forbidden":
        return NeedsOperator(f"{origin}: unknown key {field!r:.80}", _offer(path, environment))
    if error["type"] == "missing":
        return NeedsOperator(f"{origin}: {field} is missing", f"give {field}")
    if error["type"] == "value_error":
        reason, _, remedy = error["msg"].removeprefix("Value error, ").partition("; ")
        return NeedsOperator(f"{origin}: {field} {reason}", remedy)
    if error["type"] in {"dict_type", "model_type"}:
        return NeedsOperator(f"{origin}: {field} is not a table", f"write it as [{field}]")
    value = error["input"]
    shown = f" (given {value!r:.40})" if isinstance(value, _SHOWN.get(field, ())) else ""
    reason = error["msg"][0].lower() + error["msg"][1:]
    return NeedsOperator(f"{origin}: {field}{shown}: {reason}", f"correct {field}")


def _written(path: list[str]) -> str:
    """The field as a file would name it; names that the operator chose stay as they are."""
    chosen = {1} if path[0] in {"connections", "sources-columns", "destinations-columns"} else set()
    return ".".join(
        part if place in chosen else _kebab(part) for place, part in enumerate(path)
    ).removesuffix(".[key]")


def _keys(model: type[BaseModel]) -> set[str]:
    return {field.alias or name for name, field in model.model_fields.items()}


def _offer(path: list[str], environment: str) -> str:
    key = _kebab(path[-1])
    if len(path) > 1:
        return nearest(key, _keys(Connection))
    owners = [name for name, model in MODELS.items() if key in _keys(model)]
    if owners:
        return f"it belongs to storage-environment {owners[0]!r}, this one is {environment!r}"
    return nearest(key, _keys(MODELS[environment]))
