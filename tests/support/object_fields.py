"""Who owns which field of an object: paths, and what server-side apply does with them."""

import json
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

from tests.support.object_schema import copied, field, is_merged, key_of, resolved, told_once

Path = tuple[Any, ...]
Schema = dict[str, Any]
# Set by the server, or by the address: they have no owner.
_UNOWNED = {
    *(("apiVersion",), ("kind",), ("metadata", "name"), ("metadata", "namespace")),
    *(("metadata", "uid"), ("metadata", "resourceVersion"), ("metadata", "generation")),
    *(("metadata", "creationTimestamp"), ("metadata", "managedFields")),
    *(("metadata", "deletionTimestamp"), ("metadata", "deletionGracePeriodSeconds")),
}


@told_once
def paths(schema: Schema, value: object) -> set[Path]:
    """The fields of an object that can have an owner."""
    return {
        path
        for path in _walk(schema, value, ())
        if path[:2] not in _UNOWNED and path[:1] not in _UNOWNED
    }


def _walk(schema: Schema, value: object, at: Path) -> Iterator[Path]:
    if not is_merged(schema, value) or value in ({}, []):
        yield at
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from _walk(field(schema, name) or {}, inner, (*at, name))
    elif isinstance(value, list):
        items = resolved(schema["items"])
        for item in value:
            place = (*at, key_of(schema, item))
            yield place
            if isinstance(item, dict):
                yield from _walk(items, item, place)


@told_once
def values(schema: Schema, value: object) -> dict[Path, Any]:
    """What `value_at` finds at each path of an object, also on the way to its fields."""
    found: dict[Path, Any] = {}
    _note(schema, value, (), found)
    return found


def _note(schema: Schema, value: object, at: Path, found: dict[Path, Any]) -> None:
    if at in found:
        return  # of items with the same key the first is the one
    found[at] = value
    if not value or not is_merged(schema, value):
        return
    if isinstance(value, dict):
        for name, inner in value.items():
            _note(field(schema, name) or {}, inner, (*at, name), found)
    elif isinstance(value, list):
        items = resolved(schema["items"])
        for item in value:
            _note(items, item, (*at, key_of(schema, item)), found)


def value_at(schema: Schema, value: Any, path: Path) -> Any:
    """What stands there; None when nothing does."""
    for part in path:
        if value is None:
            return None
        if isinstance(part, tuple):
            value = next((item for item in value if key_of(schema, item) == part), None)
            schema = resolved(schema["items"])
        else:
            value = value.get(part) if isinstance(value, dict) else None
            schema = field(schema, part) or {}
    return value


def put(schema: Schema, whole: Any, path: Path, wanted: Any) -> None:
    """The value stands there, with all that leads to it."""
    head, rest = path[0], path[1:]
    if isinstance(head, tuple):
        item = next((each for each in whole if key_of(schema, each) == head), None)
        if item is None:
            item = (
                head[1]
                if head[0] == "="
                else {name: told for name, told in head if told is not None}
            )
            whole.append(item)
        if rest:
            put(resolved(schema["items"]), item, rest, wanted)
        return
    inner = field(schema, head) or {}
    if not rest:
        whole[head] = copied(wanted)
        return
    if not whole.get(head):
        whole[head] = [] if isinstance(rest[0], tuple) else {}
    put(inner, whole[head], rest, wanted)


def remove(schema: Schema, whole: Any, path: Path) -> None:
    """Nothing stands there any more."""
    parent = value_at(schema, whole, path[:-1])
    if isinstance(parent, dict):
        parent.pop(path[-1], None)
    elif isinstance(parent, list):
        inner = schema
        for part in path[:-1]:
            inner = (
                resolved(inner["items"]) if isinstance(part, tuple) else field(inner, part) or {}
            )
        parent[:] = [item for item in parent if key_of(inner, item) != path[-1]]


def as_text(path: Path) -> str:
    """As the API server writes it in a conflict: `.spec.containers[name="a"].image`."""
    told = ""
    for part in path:
        if not isinstance(part, tuple):
            told += f".{part}"
        elif part[0] == "=":
            told += f"[={json.dumps(part[1])}]"
        else:
            told += "[" + ",".join(f"{name}={json.dumps(value)}" for name, value in part) + "]"
    return told


def as_fields(owned: Iterable[Path]) -> dict[str, Any]:
    """As `managedFields` writes it: `{"f:spec": {"f:replicas": {}}}`."""
    whole: dict[str, Any] = {}
    for path in sorted(owned, key=_order):
        inner = whole
        for part in path:
            inner = inner.setdefault(_part(part), {})
        if isinstance(path[-1], tuple):
            inner["."] = {}
    return whole


@cache
def _order(path: Path) -> str:
    return repr(path)


@cache
def _part(part: Any) -> str:
    if not isinstance(part, tuple):
        return f"f:{part}"
    if part[0] == "=":
        return f"v:{json.dumps(part[1])}"
    return "k:" + json.dumps(dict(part), separators=(",", ":"))
