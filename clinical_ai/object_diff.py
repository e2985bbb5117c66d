"""What differs between two versions of an object, for people: pure, secrets masked."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

from clinical_ai.ports_cluster import Object
from clinical_ai.secret_forms import names_a_secret, without_secrets

HIDDEN: Final = "(hidden)"
_LONGEST: Final = 1000  # characters of a value
_SHORT: Final = 200
_CONTEXT: Final = 40  # characters that are shown on either side of what differs
_CUT: Final = "..."
# Bookkeeping of the server: they differ by nature, or whenever something else does.
_BOOKKEEPING: Final = frozenset({"managedFields", "resourceVersion", "generation", "selfLink"})
_SECRET_FIELDS: Final = frozenset({"data", "stringData"})
_COPY: Final = "kubectl.kubernetes.io/last-applied-configuration"  # holds the whole object
_KEYS: Final = ("name", "mountPath", "containerPort", "port")  # of items that lists merge by
_OPTION: Final = re.compile(r"--?([A-Za-z][\w-]*)")
_ABSENT: Final = object()


@dataclass(frozen=True)
class FieldChange:
    """One field: its values as JSON, None where it is absent."""

    path: str
    before: str | None
    after: str | None

    @property
    def short(self) -> "FieldChange":
        """The same for a line; what differs is still in it."""
        before, after = (it and _cut(it, _SHORT) for it in (self.before, self.after))
        return replace(self, before=before, after=after)

    def __str__(self) -> str:
        match self.before, self.after:
            case None, after:
                return f"{self.path}: {after} is new"
            case before, None:
                return f"{self.path}: {before} goes"
            case before, after:
                return f"{self.path}: {before} becomes {after}"


@dataclass(frozen=True)
class _Secret:
    """A value that is, or holds, a secret: compared as it is, told as `shown`."""

    value: Any
    shown: str


def differences(before: Object, after: Object) -> list[FieldChange]:
    """Fields that differ, in the order of the object; of a Secret, only which ones.

    Both texts of a field differ, unless what differs is a secret. Nothing of ours holds one in
    clear elsewhere; what somebody else wrote there may.
    """
    return [
        FieldChange(path, *_texts(old, new))
        for path, old, new in _compare(_bare(before), _bare(after), "")
    ]


def places(before: Any, after: Any) -> list[str]:
    """Where two JSON values differ, in the order of the first; no value of either is in it."""
    return [path for path, _, _ in _compare(before, after, "")]


def _bare(whole: Object) -> Object:
    """Without bookkeeping, and with its secrets marked."""
    about = whole.get("metadata", {})
    kept = {name: value for name, value in about.items() if name not in _BOOKKEEPING}
    bare = {name: value for name, value in whole.items() if name != "status"}
    marked: Object = _marked("", {**bare, "metadata": kept})
    for name in _SECRET_FIELDS & whole.keys() if whole.get("kind") == "Secret" else ():
        marked[name] = _hidden(whole[name])
    return marked


def _marked(name: str, value: Any) -> Any:
    """The value with texts as _Secret that have the name of one, or its form.

    The name is that of a field, of a variable of a pod, or of the option before it in a list.
    """
    if isinstance(value, dict):
        called = str(value.get("name", name))
        return {key: _marked(called if key == "value" else key, it) for key, it in value.items()}
    if isinstance(value, list):
        before = (_OPTION.fullmatch(it) if isinstance(it, str) else None for it in value)
        options = ["", *(found[1] if found else "" for found in before)]
        return [_marked(option or name, it) for option, it in zip(options, value, strict=False)]
    if name == _COPY or (names_a_secret(name) and isinstance(value, str | int | float)):
        return value if isinstance(value, bool) else _Secret(value, HIDDEN)
    if isinstance(value, str) and (shown := without_secrets(value)) != value:
        return _Secret(value, shown)
    return value


def _hidden(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _hidden(it) for name, it in value.items()}
    return _Secret(value, HIDDEN)


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
    elif _canonical(before) != _canonical(after):
        if isinstance(before, list) and isinstance(after, list):
            yield from _compare_items(before, after, path)
        else:
            yield path or ".", before, after


def _compare_items(
    before: list[Any], after: list[Any], path: str
) -> Iterator[tuple[str, Any, Any]]:
    """Of lists without a key: items that only one has; two at the same place are one, changed."""
    gone, new = _without(before, after), _without(after, before)
    for place in sorted({*gone, *new}):
        old_item, new_item = gone.get(place, _ABSENT), new.get(place, _ABSENT)
        yield from _compare(old_item, new_item, f"{path}[{place}]")
    if not gone and not new:
        yield f"{path} (order)", before, after


def _without(items: list[Any], others: list[Any]) -> dict[int, Any]:
    """Items by their place that the others do not have, or not as often."""
    left = Counter(map(_canonical, others))
    found = {}
    for place, item in enumerate(items):
        left[_canonical(item)] -= 1
        if left[_canonical(item)] < 0:
            found[place] = item
    return found


def _canonical(value: Any) -> str:
    """As JSON, where 1 is not true; of secrets with their values, never to be shown."""
    if value is _ABSENT:
        return ""
    return json.dumps(value, sort_keys=True, default=lambda it: {"secret": it.value})


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


def _texts(before: Any, after: Any) -> tuple[str | None, str | None]:
    """Both values as texts; of long ones the part around what differs first."""
    old, new = (_text(each) for each in (before, after))
    if old is None or new is None:
        return (old and _cut(old, _LONGEST)), (new and _cut(new, _LONGEST))
    if old == new:
        return HIDDEN, HIDDEN
    if max(len(old), len(new)) <= _SHORT:
        return old, new
    same = _in_common(old, new)
    start = max(0, same - _CONTEXT)
    end = _in_common(old[same:][::-1], new[same:][::-1]) - _CONTEXT
    return _part(old, start, end), _part(new, start, end)


def _in_common(one: str, other: str) -> int:
    """How many characters both begin with."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((at for at, (a, b) in pairs if a != b), min(len(one), len(other)))


def _part(text: str, start: int, end: int) -> str:
    """From `start`, and without the last `end` characters."""
    shown = text[start:-end] + _CUT if end > 0 else text[start:]
    return _cut(f"{_CUT if start else ''}{shown}", _LONGEST)


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[:longest]}{_CUT}"


def _text(value: Any) -> str | None:
    if value is _ABSENT:
        return None
    told = json.dumps(value, ensure_ascii=False, sort_keys=True, default=lambda it: it.shown)
    return told.replace(f'"{HIDDEN}"', HIDDEN)
