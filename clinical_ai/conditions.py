"""What controllers say of their objects: conditions, and which are unmet. Pure."""

from collections.abc import Iterable, Mapping
from typing import Any

from clinical_ai.ports_cluster import Object


def conditions_of(found: Object) -> list[Mapping[str, Any]]:
    """Of its status; none when it has no status yet."""
    return list(found.get("status", {}).get("conditions") or [])


def is_ready(found: Object) -> bool:
    """Whether it says of itself that it is Ready."""
    said = conditions_of(found)
    return any((it.get("type"), it.get("status")) == ("Ready", "True") for it in said)


def unmet(found: Object, wanted: Iterable[str], generation: int | None = None) -> list[str]:
    """Which of these conditions it does not meet, in its controller's own words.

    `generation`: of what it is about; a condition that tells of an earlier one counts for nothing.
    """
    said = {each["type"]: each for each in conditions_of(found)}
    told = []
    for kind in wanted:
        each = said.get(kind, {})
        if generation is not None and each.get("observedGeneration", generation) != generation:
            told.append(f"{kind} is of an earlier change")
        elif each.get("status") != "True":
            why = f"{each.get('reason', 'no reason')}: {each.get('message', '')}"
            told.append(f"{kind} is {each.get('status', 'not told')} ({shortened(why)})")
    return told


def shortened(message: str) -> str:
    """What a person reads of it."""
    return message if len(message) <= 300 else f"{message[:300]}..."
