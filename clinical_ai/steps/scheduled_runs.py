"""Future runs of schedules, which every write to a deployment drops: counted and brought back."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from clinical_ai.deployment_plan import Runs
from clinical_ai.ports import PrefectApi
from clinical_ai.side_by_side import AT_ONCE, each

_OPEN: Final = ("SCHEDULED", "PENDING", "RUNNING", "PAUSED", "CANCELLING")
_ENDED: Final = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
_AT_ONCE: Final = 100  # deployments a request
_MOST: Final = 1000  # runs of one schedule, made at once
_GAP: Final = timedelta(minutes=10)

Dropped = Sequence[tuple[str, str]]  # of each run the time of its schedule and when it is due


def read_runs(api: PrefectApi, deployments: Sequence[str]) -> dict[str, Runs]:
    """By id of the deployment; one that has no open run is left out. Reads by page."""
    found: dict[str, Runs] = {}
    now = datetime.now(UTC)
    for row in _runs(api, deployments, _OPEN):
        known = found.get(row["deployment_id"], Runs())
        made, due = row["expected_start_time"], _due(row)
        by_schedule = _of_schedule(row)
        future = by_schedule and _moment(due) > now
        found[row["deployment_id"]] = Runs(
            (*known.future, due) if future else known.future,
            (*known.scheduled, (made, due)) if by_schedule else known.scheduled,
            known.in_flight + (not future),
        )
    return found


def make_anew(api: PrefectApi, deployment: str) -> None:
    """The deployment's schedules have their future runs again, before the scheduler comes.

    The server makes each run once, by deployment, schedule and time: this may be repeated, and the
    scheduler may run beside it.
    """
    api.post(f"/deployments/{deployment}/schedule")


def bring_back(
    api: PrefectApi, dropped: Mapping[str, Dropped], renew: Callable[[], None] = lambda: None
) -> None:
    """Runs that a write has dropped are there again.

    Most the scheduler has made anew meanwhile; the rest is made here. What it would not make, since
    it came due meanwhile or lies beyond what it plans, is late then, not lost. `dropped`: by id of
    the deployment, the `scheduled` ones before the write. A run that is there in whatever state is
    not made again.
    """

    def anew(found: str) -> None:
        renew()
        make_anew(api, found)

    missing = _missing(api, dropped)
    with ThreadPoolExecutor(AT_ONCE) as workers:
        each(workers, anew, missing)
    for found, moments in _missing(api, {found: dropped[found] for found in missing}).items():
        renew()
        start, end = min(moments), max(moments)
        window: dict[str, Any] = {"start_time": start.isoformat(), "end_time": end.isoformat()}
        # Else the server stops at the first one that is an hour after the start.
        window |= {"min_time": (end - start).total_seconds(), "max_runs": _MOST}
        api.post(f"/deployments/{found}/schedule", window)
    _put_off_again(api, dropped, renew)


def _missing(api: PrefectApi, dropped: Mapping[str, Dropped]) -> dict[str, Counter[datetime]]:
    """Of the dropped runs those that are not there, by deployment; reads by page."""
    owed = {found: Counter(_moment(made) for made, _ in runs) for found, runs in dropped.items()}
    owed = {found: moments for found, moments in owed.items() if moments}
    if not owed:
        return {}
    since = min(min(moments) for moments in owed.values()).isoformat()
    for row in _runs(api, list(owed), (*_OPEN, *_ENDED), since=since):
        owed[row["deployment_id"]][_moment(row["expected_start_time"])] -= 1
    return {found: missing for found, moments in owed.items() if (missing := +moments)}


def _put_off_again(
    api: PrefectApi,
    dropped: Mapping[str, Dropped],
    renew: Callable[[], None],
) -> None:
    """Runs that somebody had moved to another time are due then again."""
    moved = {
        (found, _moment(made)): due
        for found, runs in dropped.items()
        for made, due in runs
        if _moment(made) != _moment(due)
    }
    if not moved:
        return
    for row in list(_runs(api, list({found for found, _ in moved}), ("SCHEDULED",))):
        due = moved.get((row["deployment_id"], _moment(row["expected_start_time"])))
        if due and _of_schedule(row) and _moment(_due(row)) != _moment(due):
            renew()
            details = {"scheduled_time": due}
            state = {"type": "SCHEDULED", "name": "Scheduled", "state_details": details}
            api.post(f"/flow_runs/{row['id']}/set_state", {"state": state, "force": True})


def recover(
    api: PrefectApi,
    deployments: Sequence[Mapping[str, Any]],
    since: datetime,
    renew: Callable[[], None],
) -> None:
    """Runs that a killed registration has dropped exist again, the future and the due ones.

    `deployments`: rows that it may have written. `since`: when it began; what came due in the
    minutes after that is made late. Longer the server's scheduler was not without work to do.
    """
    for row in deployments:
        if row["paused"] or not any(schedule["active"] for schedule in row["schedules"]):
            continue
        renew()
        make_anew(api, row["id"])
        start = max(since, _moment(row["created"]))
        end = min(start + _GAP, datetime.now(UTC))
        window = {"start_time": start.isoformat(), "end_time": end.isoformat()}
        api.post(f"/deployments/{row['id']}/schedule", window)


def _runs(
    api: PrefectApi, deployments: Sequence[str], states: Sequence[str], since: str | None = None
) -> Iterator[Mapping[str, Any]]:
    for first in range(0, len(deployments), _AT_ONCE):
        wanted: dict[str, Any] = {
            "deployment_id": {"any_": list(deployments[first : first + _AT_ONCE])},
            "state": {"type": {"any_": list(states)}},
        }
        if since:
            wanted["expected_start_time"] = {"after_": since}
        yield from api.pages("/flow_runs/filter", {"flow_runs": wanted, "sort": "ID_DESC"})


def _of_schedule(row: Mapping[str, Any]) -> bool:
    """Whether a schedule made the run and it has not begun: such a write may drop."""
    return bool(
        row["state_type"] == "SCHEDULED" and row.get("auto_scheduled") and not row.get("run_count")
    )


def _due(row: Mapping[str, Any]) -> str:
    """When it is due; somebody may have put it off."""
    return str(row.get("next_scheduled_start_time") or row["expected_start_time"])


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)
