"""Future runs of schedules, which every write to a deployment drops: counted and brought back."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from clinical_ai.ports import PrefectApi

# Not yet ended; of these only a run that its schedule made, and that is not due, can be made anew.
_OPEN: Final = ("SCHEDULED", "PENDING", "RUNNING", "PAUSED", "CANCELLING")
_ENDED: Final = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
_AT_ONCE: Final = 100  # deployments a request
_GAP: Final = timedelta(minutes=10)


@dataclass(frozen=True)
class Runs:
    """Open runs of one deployment: when its future scheduled ones are due, and how many others."""

    future: tuple[str, ...] = ()
    in_flight: int = 0


def read_runs(api: PrefectApi, deployments: Sequence[str]) -> dict[str, Runs]:
    """By id of the deployment; one that has no open run is left out. Reads by page."""
    found: dict[str, Runs] = {}
    now = datetime.now(UTC)
    for row in _runs(api, deployments, _OPEN):
        known = found.get(row["deployment_id"], Runs())
        if _can_be_made_anew(row, now):
            known = Runs((*known.future, row["expected_start_time"]), known.in_flight)
        else:
            known = Runs(known.future, known.in_flight + 1)
        found[row["deployment_id"]] = known
    return found


def make_anew(api: PrefectApi, deployment: str) -> None:
    """The deployment's schedules have their future runs again, before the scheduler comes.

    The server makes each run once, by deployment, schedule and time: this may be repeated, and the
    scheduler may run beside it.
    """
    api.post(f"/deployments/{deployment}/schedule")


def bring_back(api: PrefectApi, dropped: Mapping[str, Sequence[str]]) -> None:
    """Runs that were due between a write and `make_anew` exist, too; they are late, not lost.

    `dropped`: by id of the deployment, when those runs were due that a write has dropped.
    """
    owed = {found: Counter(map(_moment, due)) for found, due in dropped.items() if due}
    if not owed:
        return
    since = min(min(due) for due in owed.values()).isoformat()
    for row in _runs(api, list(owed), (*_OPEN, *_ENDED), since=since):
        owed[row["deployment_id"]][_moment(row["expected_start_time"])] -= 1
    for found, due in owed.items():
        for moment in +due:
            at = moment.isoformat()
            one = {"start_time": at, "end_time": at, "min_runs": 1, "max_runs": 1}
            api.post(f"/deployments/{found}/schedule", one)


def recover(api: PrefectApi, deployments: Sequence[Mapping[str, Any]], since: datetime) -> None:
    """Runs that a killed registration has dropped exist again, the future and the due ones.

    `deployments`: rows that it may have written. `since`: when it began; what came due in the
    minutes after that is made late. Longer the server's scheduler was not without work to do.
    """
    for row in deployments:
        if row["paused"] or not any(schedule["active"] for schedule in row["schedules"]):
            continue
        make_anew(api, row["id"])
        start = max(since, datetime.fromisoformat(row["created"].replace("Z", "+00:00")))
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


def _can_be_made_anew(row: Mapping[str, Any], now: datetime) -> bool:
    """A late run stays where it is, and is no run that a write drops."""
    return bool(
        row["state_type"] == "SCHEDULED"
        and row.get("auto_scheduled")
        and not row.get("run_count")
        and _moment(row["expected_start_time"]) > now
    )


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))
