"""Fields by the paths that an API server writes: `.spec.containers[name="web"].image`."""

import json
import re
from copy import deepcopy
from typing import Any, Final

from clinical_ai.ports_cluster import Object

_ITEM: Final = re.compile(r'\[((?:[^"\]]|"(?:[^"\\]|\\.)*")*)\]')
_PAIR: Final = re.compile(r'(\w*)=("(?:[^"\\]|\\.)*"|[^,]*)')
_UNSAID: Final = {"protocol": "TCP"}  # part of a port's key, and left out by most people


def without(whole: Object, path: str) -> Object | None:
    """A copy without the field; None when the object has none there."""
    copy = deepcopy(whole)
    return copy if _remove(copy, path) else None


def _remove(inside: Any, path: str) -> bool:
    if isinstance(inside, dict):
        for name in sorted(inside, key=len, reverse=True):  # names may hold dots
            rest = path.removeprefix(f".{name}")
            if rest == path:
                continue
            if not rest:
                del inside[name]
                return True
            if rest[0] in ".[" and _remove(inside[name], rest):
                return True
        return False
    found = _ITEM.match(path) if isinstance(inside, list) else None
    if not found:
        return False
    place, rest = _place(inside, found[1]), path[found.end() :]
    if place is None:
        return False
    if rest:
        return _remove(inside[place], rest)
    del inside[place]
    return True


def _place(items: list[Any], told: str) -> int | None:
    """Which item `name="web"`, `="value"` or `3` means."""
    if told.isdecimal():
        return int(told) if int(told) < len(items) else None
    wanted = [(name, json.loads(value)) for name, value in _PAIR.findall(told)]
    for place, item in enumerate(items):
        if all(_value(item, name) == value for name, value in wanted):
            return place
    return None


def _value(item: Any, name: str) -> Any:
    if not name:
        return item
    return item.get(name, _UNSAID.get(name)) if isinstance(item, dict) else None
