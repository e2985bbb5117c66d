"""What `options` of a row may say, by kind: parsed once, unknown keys refused."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError

from clinical_ai.errors import ManyFaults, NeedsOperator, nearest
from clinical_ai.frozen import Frozen
from clinical_ai.ports_clinical import Kind
from clinical_ai.steps.column_names import snake
from clinical_ai.steps.fhir_rows import resource_types

_RESERVED: Final = re.compile(r"_?(cai|dlt)_")


def _table(name: str) -> str:
    if snake(name) != name or _RESERVED.match(name):
        raise ValueError(
            "is not a table's name: use lower-case letters, digits and single underscores"
            ", and begin with neither cai_ nor dlt_"
        )
    return name


def _resource_type(name: str) -> str:
    if name not in resource_types():
        raise ValueError(f"names no FHIR R4 resource type; {nearest(name, resource_types())}")
    return name


def _several(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Table = Annotated[str, AfterValidator(_table)]
Names = Annotated[tuple[str, ...], BeforeValidator(_several)]
ResourceTypes = Annotated[
    tuple[Annotated[str, AfterValidator(_resource_type)], ...],
    BeforeValidator(_several),
    Field(min_length=1),
]
# The largest cell or resource that is loaded, in bytes.
Limit = Annotated[int, Field(ge=1024, le=256 << 20)]
DEFAULT_LIMIT: Final = 16 << 20


class FilesOptions(Frozen):
    """Files in the storage. `key`, `columns`, `nulls`, `delimiter`, `table` are CSV's.

    `columns` declares what a column holds; others are decided by the first load. `nulls` are the
    texts that stand for a missing value, beside the empty one.
    """

    format: Literal["fhir", "csv"] | None = None
    table: Table | None = None
    key: Names = ()
    columns: dict[str, Kind] = {}
    nulls: Names = ()
    delimiter: str = Field(default=",", min_length=1, max_length=1)
    limit_bytes: Limit = DEFAULT_LIMIT


class FhirSearchOptions(Frozen):
    """A FHIR server. `query` is added to each search; `lag_seconds`: how far behind the newest
    change a server may still bring older ones to light.
    """

    resource_types: ResourceTypes
    query: dict[str, str] = {}
    page_size: int = Field(default=200, ge=1, le=5000)
    lag_seconds: int = Field(default=60, ge=0, le=7 * 86_400)
    limit_bytes: Limit = DEFAULT_LIMIT


class PostgresqlOptions(Frozen):
    """A schema of a PostgreSQL database; nothing to choose yet."""


Options = FilesOptions | FhirSearchOptions | PostgresqlOptions
MODELS: Final[Mapping[str, type[Options]]] = {
    "files": FilesOptions,
    "fhir-search": FhirSearchOptions,
    "postgresql": PostgresqlOptions,
}


def parse(kind: str, raw: Mapping[str, Any], origin: str) -> Options:
    """The options of a row; ManyFaults with every wrong one, never showing what it was given."""
    filled = {key.replace("_", "-"): value for key, value in raw.items()}
    try:
        return MODELS[kind].model_validate(filled)
    except ValidationError as refused:
        errors = refused.errors(include_url=False, include_context=False, include_input=False)
        raise ManyFaults([_fault(error, kind, origin) for error in errors]) from None


def _fault(error: Any, kind: str, origin: str) -> NeedsOperator:
    field = str(error["loc"][0]) if error["loc"] else "options"
    if error["type"] == "extra_forbidden":
        known = [each.alias or name for name, each in MODELS[kind].model_fields.items()]
        return NeedsOperator(f"{origin}: unknown option {field!r}", nearest(field, known))
    reason = error["msg"].removeprefix("Value error, ")
    return NeedsOperator(f"{origin}: option {field}: {reason}", f"correct {field} in options")
