"""What validation found, as sentences for a person: the field as a file names it, and a remedy."""

from collections.abc import Mapping
from typing import Any, Final

from pydantic_core import ErrorDetails

from clinical_ai.errors import NeedsOperator, nearest
from clinical_ai.frozen import Frozen, kebab, keys, located, shape_of

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
    field, tables = located(error["loc"], (models[environment],))
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
            remedy = f"write it as {_heading(error['loc'], field)}"
            return NeedsOperator(f"{origin}: {field} is not a table", remedy)
        case "union_tag_invalid" | "union_tag_not_found":
            kinds = _kinds(error["loc"], models[environment])
            return NeedsOperator(f"{origin}: {field}.kind is none that is known", f"write {kinds}")
    value = error["input"]
    shown = f" (given {value!r:.40})" if isinstance(value, _SHOWN.get(field, ())) else ""
    reason, remedy = _told(error, field, of_tables=bool(shape_of(tables, _key(error)).models))
    return NeedsOperator(f"{origin}: {field}{shown} {reason}", remedy)


def _told(error: ErrorDetails, field: str, *, of_tables: bool) -> tuple[str, str]:
    """What is wrong with a value and what to write, in the words of TOML."""
    _, _, wanted = error["msg"].partition("nput should be ")
    match error["type"]:
        case "tuple_type":
            remedy = f"write it as [[{field}]]" if of_tables else "write a list, in brackets"
            return "is not a list", remedy
        case "too_short":
            return "is an empty list", f"write at least one [[{field}]]"
        case "string_type":
            return "is not text", "write it in quotes"
        case "int_type":
            return "is not a whole number", "write digits alone, without quotes"
        case "bool_type":
            return "is neither true nor false", "write true or false, without quotes"
        case "literal_error":
            return "is none that is known", f"write {wanted}"
        case "greater_than_equal" | "less_than_equal":
            return "is out of bounds", f"write a number {wanted}"
    reason = error["msg"][0].lower() + error["msg"][1:]
    return f"is not as it has to be: {reason}", f"correct {field}"


def _key(error: ErrorDetails) -> str:
    return str(error["loc"][-1]) if error["loc"] else ""


def _heading(place: tuple[int | str, ...], field: str) -> str:
    """How a file begins this table: in double brackets when it is one of a list."""
    if isinstance(place[-1], int):
        return f"[[{field.rpartition('.')[0]}]]"
    return f"[{field}]"


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
