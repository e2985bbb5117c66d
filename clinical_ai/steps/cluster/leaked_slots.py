"""Slots of concurrency limits whose leases went with the server's pod, free again.

Without a volume of their own, leases live in the pod of the server: when it is replaced, slots that
were taken stay so for good, since nobody is left who would give them back.
"""

from datetime import datetime
from typing import Any, Final

from clinical_ai import names
from clinical_ai.change import Change, Did
from clinical_ai.ports import PrefectApi
from clinical_ai.ports_cluster import Cluster
from clinical_ai.steps.cluster.workers import pods_of
from clinical_ai.steps.runs import active_runs

_LIMITS: Final = "/v2/concurrency_limits"


def free_leaked_slots(cluster: Cluster, api: PrefectApi, *, write: bool) -> list[Change]:
    """Slots taken before the oldest pod of the server began are free, once no holder can be left.

    A run that is older than the pod may still hold one, and go on without its lease, also when it
    waits for its retry or is paused: as long as there is such a run, nothing is freed. Without
    `write` they are only told.
    """
    since = _oldest(cluster)
    if since is None:
        return []
    leaked = [row for row in api.pages(f"{_LIMITS}/filter") if _is_leaked(row, since)]
    if not leaked or _goes_on(api, since):
        return []
    return [_free(api, row) if write else _told(row, Did.LEFT_OVER) for row in leaked]


def _oldest(cluster: Cluster) -> datetime | None:
    """When the oldest pod of the server was made; its leases are as old at most."""
    pods = pods_of(cluster, names.SERVER)
    made = [_moment(pod["metadata"]["creationTimestamp"]) for pod in pods]
    return min(made, default=None)


def _is_leaked(row: dict[str, Any], since: datetime) -> bool:
    return bool(row["active_slots"]) and _moment(row["updated"]) < since


def _goes_on(api: PrefectApi, since: datetime) -> bool:
    """Whether a run that began before is active."""
    older = active_runs(api, flow_runs={"start_time": {"before_": since.isoformat()}})
    return next(older, None) is not None


def _free(api: PrefectApi, row: dict[str, Any]) -> Change:
    found = api.get(f"{_LIMITS}/{row['id']}")
    if found is None or found["updated"] != row["updated"]:
        return _told(row, Did.UNCHANGED)  # somebody has just taken one or given one back
    api.patch(f"{_LIMITS}/{row['id']}", {"active_slots": 0})
    return _told(row, Did.TIDIED)


def _told(row: dict[str, Any], did: Did) -> Change:
    detail = "" if did is Did.UNCHANGED else f"{row['active_slots']} slots that nobody holds"
    return Change(f"concurrency limit {row['name']}", did, detail)


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)
