"""Whether the scheduled run mends drift, or waits for a person after a change that failed."""

import json
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any, Final

from clinical_ai.ports_cluster import Object
from clinical_ai.steps.cluster.records import Records

WAITS: Final = (
    "The last change failed and is still wanted. Scheduled runs heal nothing until the block is "
    "corrected, or deploy/self is run and succeeds."
)


def mark_of(objects: Sequence[Object], pools: Sequence[Mapping[str, Any]]) -> str:
    """Tells what is wanted from anything else that might be: a hash."""
    return sha256(json.dumps([objects, pools], sort_keys=True).encode()).hexdigest()


def waits(records: Records, mark: str) -> bool:
    """Whether what is wanted failed and was never good: it would be tried, and fail, each hour.

    What was good before fails by something else, which may be over by the next run.
    """
    last: dict[str, Any] = next(reversed(records.read_ledger()), {})
    return "failed" in last and last.get("wanted") == mark != records.find_mark()


def completed(
    entry: Mapping[str, Any], records: Records, mark: str, *, heals: bool
) -> dict[str, Any]:
    """The ledger's entry, with what was wanted, and what that means for drift when it failed."""
    whole = {**entry, "wanted": mark}
    if heals and "failed" in entry and mark != records.find_mark():
        whole["healing"] = WAITS
    return whole
