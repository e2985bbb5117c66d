"""What differs between two versions of an object, for people: pure, secrets masked."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from clinical_ai.ports_cluster import Object
from clinical_ai.secret_forms import names_a_secret, without_secrets

HIDDEN: Final = "(hidden)"
_LONGEST: Final = 200  # characters of a value
# Bookkeeping of the server: they differ by nature, or whenever something else does.
_BOOKKEEPING: Final = frozenset({"managedFields", "resourceVersion", "generation", "selfLink"})
_SECRET_FIELDS: Final = frozenset({"data", "stringData"})
_COPY: Final = "kubectl.kubernetes.io/last-applied-configuration"  # holds the whole object
_KEYS: Final = ("name", "mountPath", "containerPort", "port")  # of items that lists merge by
_LAST: Final = re.compile(r"([^.\[\]=]+)\]?(\.value)?$")  # of a path, which names its value
_ABSENT: Final = object()


@dataclass(frozen=True)
class FieldChange:
    """One field: its values as JSON, None where it is absent."""

    path: str
    before: str | None
    after: str | None

    def __str__(self) -> str:
        match self.before, self.after:
            case None, after:
                return f"{self.path}: {after} is new"
            case before, None:
                return f"{self.path}: {before} goes"
            case before, after:
                return f"{self.path}: {before} becomes {after}"


def differences(before: Object, after: Object) -> list[FieldChange]:
    """Fields that differ, in the order of the object; of a Secret, only which ones.

    Nothing of ours holds a secret in clear elsewhere; what somebody else wrote there may.
    """
    return [
        FieldChange(path, *(_text(path, each, hidden=hidden) for each in (old, new)))
        for path, old, new in _compare(_bare(before), _bare(after), "")
        for hidden in [_is_secret(after, path)]
    ]


def places(before: Any, after: Any) -> list[str]:
    """Where two JSON values differ, in the order of the first; no value of either is in it."""
    return [path for path, _, _ in _compare(before, after, "")]


def _bare(whole: Object) -> Object:
    about = whole.get("metadata", {})
    kept = {name: value for name, value in about.items() if name not in _BOOKKEEPING}
    return {**{name: value for name, value in whole.items() if name != "status"}, "metadata": kept}


def _compare(before: Any, after: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(before, dict) and isinstance(after, dict):
        for name in (*before, *(new for new in after if new not in before)):
            old, new = before.get(name, _ABSENT), after.get(name, _ABSENT)
            yield from _compare(old, new, f"{path}.{name}")
    elif (key := _key(before, after)) is not None:
        old_items, new_items = ({item[key]: item for item in each} for each in (before, after))
        for name in (*old_items, *(new for new in new_items if new not in old_items)):
            old, new = old_items.get(name, _ABSENT), new_items.get(name, _ABSENT)
            yield from _compare(old, new, f"{path}[{key}={name}]")
        if list(old_items) != list(new_items) and old_items.keys() == new_items.keys():
            yield f"{path} (order)", list(old_items), list(new_items)
    elif not _is_same(before, after):
        yield path or ".", before, after


def _is_same(before: Any, after: Any) -> bool:
    """As JSON, where 1 is not true."""
    if before is _ABSENT or after is _ABSENT:
        return before is after
    return json.dumps(before, sort_keys=True) == json.dumps(after, sort_keys=True)


def _key(before: Any, after: Any) -> str | None:
    """What tells the items of both lists apart; None when nothing does."""
    if not (isinstance(before, list) and isinstance(after, list)):
        return None
    for key in _KEYS:
        if all(_tells_apart(items, key) for items in (before, after)):
            return key
    return None


def _tells_apart(items: list[Any], key: str) -> bool:
    if not all(isinstance(item, dict) and isinstance(item.get(key), str | int) for item in items):
        return False
    return len({str(item[key]) for item in items}) == len(items)


def _is_secret(whole: Object, path: str) -> bool:
    if path.startswith(f".metadata.annotations.{_COPY}") or _holds_copy(path):
        return True
    field = path.removeprefix(".").partition(".")[0]
    return whole.get("kind") == "Secret" and field in _SECRET_FIELDS


def _holds_copy(path: str) -> bool:
    """All annotations, or the metadata whole, come or go at once."""
    return path in {".metadata", ".metadata.annotations", "."}


def _text(path: str, value: Any, *, hidden: bool) -> str | None:
    if value is _ABSENT:
        return None
    if hidden:
        return HIDDEN
    last = _LAST.search(path)
    name = last[1] if last else ""
    text = without_secrets(json.dumps(_masked(name, value), ensure_ascii=False))
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def _masked(name: str, value: Any) -> Any:
    """The value without texts that have a secret's name, as fields or as variables of a pod."""
    if isinstance(value, dict):
        called = str(value.get("name", "value"))
        return {key: _masked(called if key == "value" else key, it) for key, it in value.items()}
    if isinstance(value, list):
        return [_masked("", it) for it in value]
    return HIDDEN if isinstance(value, str) and names_a_secret(name) else value
