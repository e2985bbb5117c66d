"""A canary: a run that the scheduler makes, a worker takes and that leaves a result."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from secrets import token_hex
from time import monotonic
from typing import Any, Final

from clinical_ai import names
from clinical_ai.errors import NeedsOperator
from clinical_ai.ports import PrefectApi
from clinical_ai.steps.runs import Run, follow_run, get_deployment
from clinical_ai.waiting import Sighting, wait_until

ARTIFACT_KEY: Final = "canary"
_SLUG: Final = "canary-"
_NOTICE: Final = 10  # seconds: more than the scheduler's loop, no more than a worker looks ahead
# A busy scheduler may come too late for that time, or miss the change in the round that meets it.
_AGAIN: Final = 25


@dataclass(frozen=True)
class Flown:
    """A canary that came back; `seconds` from its schedule to its result."""

    run: Run
    seconds: float


def fly_canary(
    api: PrefectApi, now: datetime, *, of: str = names.CANARY, seconds: float = 120
) -> Flown:
    """One run through scheduler, pool and worker, its result read back.

    The run is not created here: a schedule is, and the server's scheduler must turn it into a run,
    because a server whose scheduler fails looks healthy otherwise. `now`: by the clock of the
    platform, which the caller's may not follow. `of`: the deployment, which tells the pool. Raises
    TimedOut with the place where it got stuck, NeedsOperator when the result is wrong.
    """
    token, started = token_hex(8), monotonic()
    deployment = get_deployment(api, of)["id"]
    try:
        run_id = _await_run(api, deployment, token, now, seconds)
        run = follow_run(api, run_id, seconds=max(1.0, seconds - (monotonic() - started)))
    finally:
        _clear(api, f"/deployments/{deployment}")
    if not run.completed:
        raise NeedsOperator(
            f"the canary run ended {run.state.lower()}: {run.message}", "read the run's log"
        )
    if _result(api, run.id) != token:
        raise NeedsOperator("the canary's result is not what it was given", "read the run's log")
    return Flown(run, monotonic() - started)


def _schedule_once(api: PrefectApi, path: str, token: str, start: datetime) -> None:
    """A schedule with a single time, soon, in the place of any that a canary left.

    Set by a change of the deployment, because the scheduler looks every five seconds at those
    that changed and only once a minute at the rest.
    """
    # One without a slug, as the UI makes them, would be lost if it were not sent along.
    kept = [
        {key: schedule[key] for key in ("schedule", "active", "slug", "parameters")}
        for schedule in _clear(api, path)
    ]
    once = {
        "schedule": {
            "rrule": f"DTSTART:{start.astimezone(UTC):%Y%m%dT%H%M%SZ}\nRRULE:FREQ=SECONDLY;COUNT=1",
            "timezone": "UTC",
        },
        "active": True,
        "slug": f"{_SLUG}{token_hex(4)}",
        "parameters": {"token": token},
    }
    api.patch(path, {"schedules": [*kept, once]})


def _clear(api: PrefectApi, path: str) -> list[dict[str, Any]]:
    """No schedule of a canary is left, only these; Prefect takes none away that is left out."""
    others = []
    for schedule in (api.get(path) or {}).get("schedules", []):
        if str(schedule.get("slug")).startswith(_SLUG):
            api.delete(f"{path}/schedules/{schedule['id']}")
        else:
            others.append(schedule)
    return others


def _await_run(
    api: PrefectApi, deployment_id: str, token: str, now: datetime, seconds: float
) -> str:
    found: list[str] = []
    started, asked = monotonic(), 0

    def look() -> Sighting:
        nonlocal asked
        waited = monotonic() - started
        if waited >= asked * _AGAIN:
            asked += 1
            start = now + timedelta(seconds=waited + _NOTICE)
            _schedule_once(api, f"/deployments/{deployment_id}", token, start)
        rows = api.post(
            "/flow_runs/filter",
            {
                "flow_runs": {"deployment_id": {"any_": [deployment_id]}},
                "sort": "EXPECTED_START_TIME_DESC",
                "limit": 20,
            },
        )
        found[:] = [row["id"] for row in rows if row["parameters"].get("token") == token]
        return Sighting(done=bool(found), summary="the scheduler has made no run yet")

    wait_until("the canary's run", look, seconds=seconds)
    return found[0]


def _result(api: PrefectApi, run_id: str) -> str | None:
    rows = api.post(
        "/artifacts/filter",
        {"artifacts": {"flow_run_id": {"any_": [run_id]}, "key": {"any_": [ARTIFACT_KEY]}}},
    )
    return rows[0]["data"] if rows else None
