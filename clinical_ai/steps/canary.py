"""A canary: a run that the scheduler makes, a worker takes and that leaves a result."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import chain, repeat
from secrets import token_hex
from time import monotonic
from typing import Any, Final

from clinical_ai import names
from clinical_ai.errors import NeedsOperator, TimedOut
from clinical_ai.ports import PrefectApi
from clinical_ai.steps.orchestration import find_workers
from clinical_ai.steps.runs import FINAL, Run, follow_run, get_deployment, get_run, runs_in
from clinical_ai.waiting import Sighting, wait_until

ARTIFACT_KEY: Final = "canary"
_SLUG: Final = "canary-"
# Seconds until a canary is due, and until it is scheduled anew when no run was made of that. A
# notice is more than the scheduler's loop of five, no more than a worker looks ahead. A busy
# scheduler may come too late for the first, or miss a change in the round that meets it.
_FIRST: Final = (7, 10)
_LATER: Final = (10, 25)
# Between the end of a run and the begin of the next one a full pool has room: the worker asks every
# ten seconds or so, and a process takes some to begin.
_BETWEEN: Final = 20


@dataclass(frozen=True)
class Flown:
    """A canary that came back; `seconds` from its schedule to its result.

    `lost`: the name of one before it that its worker took along.
    """

    run: Run
    seconds: float
    lost: str = ""


class _Lost(NeedsOperator):
    """The worker that took the run is gone, and so is the run."""

    def __init__(self, run: Run) -> None:
        super().__init__(
            f"the canary run {run.name} is lost with {_worker_of(run)}, and so was another",
            "`kubectl get events` tells why its pods go; then verify again",
        )
        self.args = (run,)
        self.run = run


def fly_canary(
    api: PrefectApi,
    now: datetime,
    *,
    of: str = names.CANARY,
    seconds: float = 120,
    lives: Callable[[str], bool] = lambda _: True,
) -> Flown | None:
    """One run through scheduler, pool and worker, its result read back.

    The run is not created here: a schedule is, and the server's scheduler must turn it into a run,
    because a server whose scheduler fails looks healthy otherwise. `now`: by the clock of the
    platform, which the caller's may not follow. `of`: the deployment, which tells the pool.
    `lives`: whether the worker of that name does. A worker may go while nothing is wrong, so a run
    that is lost with it is flown once more. None when its pool was full, so that it had no turn.
    Raises TimedOut with the place where it got stuck, NeedsOperator when the result is wrong.
    """
    started, deployment = monotonic(), get_deployment(api, of)
    try:
        try:
            return _fly(api, deployment, now, seconds, lives)
        except _Lost as lost:
            _cancel(api, lost.run)
            now += timedelta(seconds=monotonic() - started)
            again = _fly(api, deployment, now, seconds, lives)
            return again and replace(again, lost=lost.run.name)
    finally:
        _clear(api, f"/deployments/{deployment['id']}")


def _fly(
    api: PrefectApi,
    deployment: Mapping[str, Any],
    now: datetime,
    seconds: float,
    lives: Callable[[str], bool],
) -> Flown | None:
    token, started = token_hex(8), monotonic()
    there = _living_workers(api, deployment["work_pool_name"], lives)

    def is_gone(run: Run) -> bool:
        if run.worker:
            return not lives(run.worker)
        # A worker takes a run, and a moment later says that it was it. Who lives has said so by
        # the end of all this time, so that was one of those who are gone.
        return over and run.state == "PENDING" and not all(map(lives, there))

    over = False
    run_id = _await_run(api, deployment["id"], token, now, seconds)
    left = max(1.0, seconds - (monotonic() - started))
    try:
        # What runs may outlive its worker: a Job does.
        run = follow_run(
            api, run_id, seconds=left, is_lost=lambda it: it.state == "PENDING" and is_gone(it)
        )
    except TimedOut:
        run, over = get_run(api, run_id), True
        if run.state == "SCHEDULED" and _is_full(api, deployment["work_pool_name"]):
            return None
        if not is_gone(run):
            raise
    if not run.completed and is_gone(run):
        raise _Lost(run)
    if not run.completed:
        raise NeedsOperator(
            f"the canary run ended {run.state.lower()}: {run.message}", "read the run's log"
        )
    if _result(api, run.id) != token:
        raise NeedsOperator("the canary's result is not what it was given", "read the run's log")
    return Flown(run, monotonic() - started)


def _worker_of(run: Run) -> str:
    return f"its worker {run.worker}" if run.worker else "its worker"


def _living_workers(api: PrefectApi, pool: str, lives: Callable[[str], bool]) -> list[str]:
    if api.get(f"/work_pools/{pool}") is None:
        return []  # a check of its own tells
    online = [row["name"] for row in find_workers(api, pool) if row["status"] == "ONLINE"]
    return [worker for worker in online if lives(worker)]


def _is_full(api: PrefectApi, pool: str) -> bool:
    """Whether as many runs as may go on at once do, so that others wait for their turn.

    Not where all of them only wait to begin: then it is the worker that begins none.
    """

    def look() -> Sighting:
        limit = (api.get(f"/work_pools/{pool}") or {}).get("concurrency_limit")
        states = [row["state_type"] for row in runs_in(api, pool, ("RUNNING", "PENDING"))]
        full = limit is not None and len(states) >= limit and "RUNNING" in states
        return Sighting(full, f"{len(states)} of {limit} runs go on")

    try:
        wait_until(f"pool {pool} to be full", look, seconds=_BETWEEN, every=1)
    except TimedOut:
        return False
    return True


def _cancel(api: PrefectApi, run: Run) -> None:
    """What is lost takes no slot of the pool, and is reported by nobody as Crashed."""
    if run.state not in FINAL:
        state = {"type": "CANCELLED", "message": f"Lost with {_worker_of(run)}."}
        api.post(f"/flow_runs/{run.id}/set_state", {"state": state, "force": True})


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
    started, tries, next_one = monotonic(), chain([_FIRST], repeat(_LATER)), 0.0

    def look() -> Sighting:
        nonlocal next_one
        waited = monotonic() - started
        if waited >= next_one:
            notice, patience = next(tries)
            next_one = waited + patience
            start = now + timedelta(seconds=waited + notice)
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
