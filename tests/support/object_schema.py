"""Kubernetes' own schemas: which fields a kind has, and how server-side apply merges its lists."""

from collections.abc import Callable
from functools import cache, wraps
from typing import Any, Final, TypeVar

from kubernetes_validate import utils, validate

utils.schema_contents = cache(utils.schema_contents)  # it reads megabytes for every object

VERSION: Final = "1.34"
_MOST_KNOWN: Final = 2_000  # objects of which it is kept what was found in them
Found = TypeVar("Found")
_FREE: Final[dict[str, Any]] = {"additionalProperties": True}
_NAMES: Final = {
    str: "string",
    bool: "boolean",
    int: "integer",
    float: "number",
    list: "array",
    dict: "object",
}


@cache
def _definitions() -> dict[str, Any]:
    file = f"kubernetes-json-schema/v{VERSION}.0-local/_definitions.json"
    found: dict[str, Any] = utils.schema_contents(file, VERSION)["$defs"]
    return found


@cache
def _by_kind() -> dict[tuple[str, str], dict[str, Any]]:
    return {
        (f"{it['group']}/{it['version']}".lstrip("/"), it["kind"]): definition
        for definition in _definitions().values()
        for it in definition.get("x-kubernetes-group-version-kind", [])
    }


def check(found: dict[str, Any], version: str = VERSION) -> None:
    """Raises ValidationError when a cluster of that version would not accept the object."""
    validate(found, version, strict=True)


def schema_of(api_version: str, kind: str) -> dict[str, Any]:
    """The kind's schema; one that allows everything for kinds that are not Kubernetes' own."""
    return _by_kind().get((api_version, kind), _FREE)


# By what refers to them, which stays: a schema is asked for a thousand times in a test.
_RESOLVED: Final[dict[int, tuple[dict[str, Any], dict[str, Any]]]] = {}
_KEYS: Final[dict[int, tuple[dict[str, Any], list[tuple[str, Any]]]]] = {}


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema that a reference names, with what stands beside the reference."""
    if "$ref" not in schema:
        return schema
    if (known := _RESOLVED.get(id(schema))) is None:
        named = _definitions()[schema["$ref"].removeprefix("#/$defs/")]
        beside = {key: value for key, value in schema.items() if key != "$ref"}
        known = _RESOLVED[id(schema)] = (schema, {**named, **beside})
    return known[1]


def field(schema: dict[str, Any], name: str) -> dict[str, Any] | None:
    """The schema of a field; None when there is no such field."""
    if (properties := schema.get("properties")) and name in properties:
        return resolved(properties[name])
    more = schema.get("additionalProperties")
    if isinstance(more, dict):
        return resolved(more)
    return _FREE if more or not schema.get("properties") else None


def is_merged(schema: dict[str, Any], value: object) -> bool:
    """Whether the fields of this value have owners of their own."""
    if isinstance(value, dict):
        return schema.get("x-kubernetes-map-type") != "atomic"
    return isinstance(value, list) and schema.get("x-kubernetes-list-type") in {"map", "set"}


def key_of(schema: dict[str, Any], item: Any) -> tuple[Any, ...]:
    """What tells an item of a merged list from the others."""
    if schema["x-kubernetes-list-type"] == "set":
        return ("=", item)
    if (known := _KEYS.get(id(schema))) is None:
        inner, named = resolved(schema["items"]), sorted(schema["x-kubernetes-list-map-keys"])
        known = _KEYS[id(schema)] = (schema, [(name, _default(inner, name)) for name in named])
    return tuple((name, item.get(name, default)) for name, default in known[1])


def _default(schema: dict[str, Any], name: str) -> Any:
    """As of `protocol`, which is part of a port's key and may be left out."""
    return (
        schema.get("properties", {})
        .get(name, {})
        .get("default", "TCP" if name == "protocol" else None)
    )


def copied(value: Any) -> Any:
    """A copy of what is made of maps, lists and plain values: a tenth of deepcopy's time."""
    if isinstance(value, dict):
        return {name: copied(inner) for name, inner in value.items()}
    return [copied(inner) for inner in value] if isinstance(value, list) else value


def told_once(
    find: Callable[[dict[str, Any], object], Found],
) -> Callable[[dict[str, Any], object], Found]:
    """`find`, which goes once through what looks the same: most writes are of a few objects.

    Whoever asks only looks at what is found, and what it is found in is a copy.
    """
    known: dict[tuple[int, str], tuple[dict[str, Any], Found]] = {}

    @wraps(find)
    def told(schema: dict[str, Any], value: object) -> Found:
        key = (id(schema), repr(value))  # of a schema that stays: it is kept beside what is found
        if key not in known:
            if len(known) >= _MOST_KNOWN:
                known.clear()
            known[key] = (schema, find(schema, copied(value)))
        return known[key][1]

    return told


@told_once
def faults(schema: dict[str, Any], value: object) -> list[tuple[str, str]]:
    """Fields that don't exist, are missing or have the wrong type: path, and which of the three."""
    return _faults(schema, value)


def _faults(schema: dict[str, Any], value: object) -> list[tuple[str, str]]:
    if value is None:
        return []
    if not _fits(schema, value):
        return [("", "type")]
    found = []
    if isinstance(value, dict):
        found += [
            (f".{name}", "required") for name in schema.get("required", []) if name not in value
        ]
        for name, inner in value.items():
            known = field(schema, name)
            below = [("", "unknown")] if known is None else _faults(known, inner)
            found += [(f".{name}{path}", what) for path, what in below]
    if isinstance(value, list):
        items = resolved(schema.get("items", _FREE))
        for place, item in enumerate(value):
            found += [(f"[{place}]{path}", what) for path, what in _faults(items, item)]
    return found


def _fits(schema: dict[str, Any], value: object) -> bool:
    if "oneOf" in schema:
        return any(_fits(each, value) for each in schema["oneOf"])
    allowed = schema.get("type")
    if allowed is None:
        return True
    named = [allowed] if isinstance(allowed, str) else allowed
    told = _NAMES[type(value)]
    return told in named or (told == "integer" and "number" in named)
