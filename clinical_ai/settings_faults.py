"""What validation found, as sentences for a person: the field as a file names it, and a remedy."""

from collections.abc import Mapping
from typing import Any, Final

from pydantic_core import ErrorDetails

from clinical_ai.errors import NeedsOperator, nearest
from clinical_ai.frozen import Frozen, kebab, keys, located

# Only such values of these fields are repeated: others may be a secret in the wrong place.
_SHOWN: Final[dict[str, type]] = {
    "log-level": str,
    "aws-region": str,
    "worker-concurrency": int,
    "platform-concurrency": int,
    "worker-query-seconds": int,
    "drain-seconds": int,
    "kubernetes.worker-replicas": int,
    "kubernetes.prune-limit": int,
}


def wrong_environment(given: object, origin: str) -> NeedsOperator:
    """The environment is none that is known."""
    shown = f"{given!r:.40}" if isinstance(given, str) else "not a word"
    return NeedsOperator(
        f"{origin}: storage-environment is {shown}", "write development or production"
    )


def fault(
    error: ErrorDetails, models: Mapping[str, type[Frozen]], environment: str, origin: str
) -> NeedsOperator:
    """One validation error as one sentence, without a value that may be a secret."""
    field, _ = located(error["loc"], (models[environment],))
    match error["type"]:
        case "extra_forbidden":
            remedy = _offer(error["loc"], models, environment)
            return NeedsOperator(f"{origin}: unknown key {field!r:.80}", remedy)
        case "missing":
            return NeedsOperator(f"{origin}: {field} is missing", f"give {field}")
        case "value_error":
            reason, _, remedy = error["msg"].removeprefix("Value error, ").partition("; ")
            return NeedsOperator(f"{origin}: {f'{field} {reason}'.strip()}", remedy)
        case "dict_type" | "model_type" | "model_attributes_type":
            return NeedsOperator(f"{origin}: {field} is not a table", f"write it as [{field}]")
        case "union_tag_invalid" | "union_tag_not_found":
            kinds = _kinds(error["loc"], models[environment])
            return NeedsOperator(f"{origin}: {field}.kind is none that is known", f"write {kinds}")
    value = error["input"]
    shown = f" (given {value!r:.40})" if isinstance(value, _SHOWN.get(field, ())) else ""
    reason = error["msg"][0].lower() + error["msg"][1:]
    return NeedsOperator(f"{origin}: {field}{shown}: {reason}", f"correct {field}")


def _offer(
    place: tuple[int | str, ...], models: Mapping[str, type[Frozen]], environment: str
) -> str:
    key = kebab(str(place[-1]))
    tables = {name: located(place, (model,))[1] for name, model in models.items()}
    owners = [name for name in tables if key in keys(tables[name])]
    if owners:
        return f"it belongs to storage-environment {owners[0]!r}, this one is {environment!r}"
    return nearest(key, keys(tables[environment]))


def _kinds(place: tuple[int | str, ...], model: type[Frozen]) -> str:
    _, tables = located((*place, "kind"), (model,))
    annotations: list[Any] = [each.model_fields["kind"].default for each in tables]
    return " or ".join(annotations)
