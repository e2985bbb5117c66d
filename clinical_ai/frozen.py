"""The base of all settings, and how its tables are found by the names that a file writes."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict

from clinical_ai.errors import NeedsOperator


def kebab(field: str) -> str:
    """A field's name as a file writes it."""
    return field.replace("_", "-")


class Frozen(BaseModel):
    """Base of all settings: immutable, no unknown key, kebab-case names outside."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=kebab,
        populate_by_name=True,
        hide_input_in_errors=True,
    )


Models = Sequence[type[Frozen]]


@dataclass(frozen=True)
class Shape:
    """What a value is: a table of one of these models, or several tables by name or by number."""

    models: Models = ()
    several: type | None = None  # dict: by names that the operator chose; tuple: by number


def keys(models: Models) -> set[str]:
    """Keys of these tables, as a file writes them."""
    return {kebab(name) for model in models for name in model.model_fields}


def shape_of(models: Models, key: str) -> Shape:
    """What stands at this key of one of these tables."""
    fields = [model.model_fields.get(key.replace("-", "_")) for model in models]
    return _merged(_shape(field.annotation) for field in fields if field)


def _shape(annotation: Any) -> Shape:
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _shape(inner[0])
    if origin in {Union, UnionType}:
        return _merged(_shape(each) for each in inner if each is not NoneType)
    if origin in {dict, tuple}:
        return Shape(_shape(inner[1 if origin is dict else 0]).models, origin)
    is_table = isinstance(annotation, type) and issubclass(annotation, Frozen)
    return Shape((annotation,) if is_table else ())


def _merged(shapes: Iterable[Shape]) -> Shape:
    found = list(shapes)
    several = [each.several for each in found if each.several]
    models = dict.fromkeys(model for each in found for model in each.models)
    return Shape(tuple(models), several[0] if several else None)


def written(
    raw: Mapping[Any, Any], models: Models, before: str, faults: list[NeedsOperator]
) -> dict[str, Any]:
    """The table with its keys as a file writes them, without null values, all tables in it too.

    Adds a fault for each key that is given twice, with `before` in front of its name.
    """
    present = {str(key): value for key, value in raw.items() if value is not None}
    faults += [
        NeedsOperator(f"{before}{kebab(key)} is given twice", f"keep {kebab(key)}, remove {key}")
        for key in present
        if key != kebab(key) and kebab(key) in present
    ]
    table = {kebab(key): value for key, value in present.items()}
    for key, value in table.items():
        table[key] = _value(value, shape_of(models, key), f"{before}{key}.", faults)
    return table


def _value(value: Any, shape: Shape, before: str, faults: list[NeedsOperator]) -> Any:
    if not shape.models:
        return value
    one = Shape(shape.models)
    if shape.several is dict and isinstance(value, Mapping):
        return {
            name: _value(inner, one, f"{before}{name}.", faults) for name, inner in value.items()
        }
    if shape.several is tuple and isinstance(value, list | tuple):
        return [
            _value(inner, one, f"{before}{number}.", faults) for number, inner in enumerate(value)
        ]
    if shape.several is None and isinstance(value, Mapping):
        return written(value, shape.models, before, faults)
    return value


def located(place: Sequence[int | str], models: Models) -> tuple[str, Models]:
    """A place of pydantic's as a file would name it, and the tables that its last key is of."""
    words: list[str] = []
    shape, last = Shape(models), models
    for part in map(str, place):
        if shape.several:
            words.append(part)
            shape = Shape(shape.models)
        elif part in (tagged := _by_tag(shape.models)):
            shape = Shape((tagged[part],))
        else:
            words.append(kebab(part) if shape.models else part)
            last = shape.models
            shape = shape_of(shape.models, part)
    return ".".join(words).removesuffix(".[key]"), last


def _by_tag(models: Models) -> dict[str, type[Frozen]]:
    """Tables of which a file chooses one by its `kind`; a place names the kind, a file doesn't."""
    if len(models) < 2:
        return {}
    return {
        tag: model
        for model in models
        if "kind" in model.model_fields
        for tag in get_args(model.model_fields["kind"].annotation)
    }
