"""The entries of a prefect.yaml, and what a fault in one of them is told as."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from clinical_ai.adapters.yaml_lines import KeyPath, Located


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong, where, and what to do about it."""

    line: int
    problem: str
    remedy: str


def entries(located: Located) -> Iterator[tuple[KeyPath, Mapping[str, Any]]]:
    """Path and mapping of each deployment."""
    for number, entry in enumerate(as_list(located.content.get("deployments"))):
        if isinstance(entry, Mapping):
            yield ("deployments", number), entry


def tables(path: KeyPath, entry: Mapping[str, Any], key: str) -> Iterator[tuple[KeyPath, Any]]:
    """Path and mapping of each item in the list below this key of the entry."""
    for number, item in enumerate(as_list(entry.get(key))):
        if isinstance(item, Mapping):
            yield (*path, key, number), item


def called(entry: Mapping[str, Any]) -> str:
    """How a fault names the deployment."""
    return f"deployment {entry['name']!r:.60}" if entry.get("name") else "a deployment"


def as_table(found: Any) -> Mapping[str, Any]:
    """The mapping, or an empty one where something else stands."""
    return found if isinstance(found, Mapping) else {}


def as_list(found: Any) -> list[Any]:
    """The list, or an empty one where something else stands."""
    return found if isinstance(found, list) else []
