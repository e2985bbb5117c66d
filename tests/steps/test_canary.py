"""A canary goes scheduler -> pool -> worker -> result, and leaves no schedule behind.

On the fake a scheduler and a worker are modelled; on the server the test schedules, since that one
runs without a scheduler.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from itertools import repeat
from typing import Any

import pytest

from clinical_ai import names
from clinical_ai.errors import NeedsOperator, TimedOut
from clinical_ai.ports import PrefectApi
from clinical_ai.steps.canary import ARTIFACT_KEY, fly_canary
from clinical_ai.steps.runs import get_deployment
from tests.support.clock import Clock
from tests.support.fake_prefect import FakePrefect

NOW = datetime(2026, 11, 24, 10, 0, tzinfo=UTC)
Row = dict[str, Any]


@pytest.fixture
def fake() -> FakePrefect:
    api = FakePrefect()
    register(api)
    return api


def register(api: PrefectApi) -> None:
    flow, name = names.CANARY.split("/")
    if api.get(f"/work_pools/{names.POOL}") is None:
        api.post("/work_pools/", {"name": names.POOL, "type": "process"})
    body = {"name": name, "work_pool_name": names.POOL, "entrypoint": "flows/canary.py:canary"}
    api.post("/deployments/", {**body, "flow_id": api.post("/flows/", {"name": flow})["id"]})


def schedules(api: PrefectApi) -> list[str]:
    return [row["slug"] for row in get_deployment(api, names.CANARY)["schedules"]]


def working(
    api: PrefectApi, *, state: str = "COMPLETED", result: str | None = None
) -> Callable[[Row, Row], None]:
    """A scheduler with a worker at once behind it."""

    def take(deployment: Row, schedule: Row) -> None:
        body = {"state": {"type": "SCHEDULED"}, "parameters": schedule["parameters"]}
        run = api.post(f"/deployments/{deployment['id']}/create_flow_run", body)["id"]
        ending = {"state": {"type": state, "message": "no luck"}, "force": True}
        api.post(f"/flow_runs/{run}/set_state", ending)
        data = result or schedule["parameters"].get("token")
        api.post("/artifacts/", {"key": ARTIFACT_KEY, "data": data, "flow_run_id": run})

    return take


def test_a_canary_that_came_back_tells_its_run(fake: FakePrefect) -> None:
    fake.on_schedule = working(fake)
    flown = fly_canary(fake, NOW)
    assert flown is not None
    assert flown.run.completed
    assert [flown.run.id] == list(fake.runs)


def test_it_is_due_soon_by_the_platforms_clock_and_once(fake: FakePrefect) -> None:
    seen: list[str] = []
    work = working(fake)
    fake.on_schedule = lambda deployment, schedule: (
        seen.append(schedule["schedule"]["rrule"]),
        work(deployment, schedule),
    )[1]
    fly_canary(fake, NOW)
    assert seen == ["DTSTART:20261124T100007Z\nRRULE:FREQ=SECONDLY;COUNT=1"]


def test_no_schedule_of_a_canary_is_left_not_even_of_a_killed_one(fake: FakePrefect) -> None:
    killed = {"slug": "canary-killed", "active": False, "schedule": {"interval": 3600}}
    fake.patch(f"/deployments/{next(iter(fake.deployments))}", {"schedules": [killed]})
    fake.on_schedule = working(fake)
    fly_canary(fake, NOW)
    fly_canary(fake, NOW)
    assert schedules(fake) == []


def test_the_schedule_goes_also_when_the_canary_fails(fake: FakePrefect, clock: Clock) -> None:
    with pytest.raises(TimedOut):
        fly_canary(fake, NOW)
    assert schedules(fake) == []


def test_schedules_of_an_operator_are_kept(fake: FakePrefect) -> None:
    mine = {"slug": "mine", "active": False, "schedule": {"interval": 3600}, "parameters": {"a": 1}}
    fake.patch(f"/deployments/{next(iter(fake.deployments))}", {"schedules": [mine]})
    fake.on_schedule = working(fake)
    fly_canary(fake, NOW)
    rows = {row["slug"]: row for row in get_deployment(fake, names.CANARY)["schedules"]}
    assert (rows["mine"]["active"], rows["mine"]["parameters"]) == (False, {"a": 1})


def test_schedules_made_in_the_ui_have_no_slug_and_are_kept(fake: FakePrefect) -> None:
    deployment = next(iter(fake.deployments))
    for seconds in (3600, 7200):
        fake.post(f"/deployments/{deployment}/schedules", [{"schedule": {"interval": seconds}}])
    fake.on_schedule = working(fake)
    fly_canary(fake, NOW)
    rows = get_deployment(fake, names.CANARY)["schedules"]
    assert [row["schedule"]["interval"] for row in rows] == [3600, 7200]


def test_a_scheduler_that_came_too_late_is_asked_again(
    fake: FakePrefect, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clinical_ai.steps.canary.monotonic", lambda: clock.now)
    seen: list[str] = []
    work = working(fake)

    def come_late(deployment: Row, schedule: Row) -> None:
        seen.append(schedule["schedule"]["rrule"].partition("\n")[0])
        if len(seen) == 3:
            work(deployment, schedule)

    fake.on_schedule = come_late
    assert fly_canary(fake, NOW) is not None
    assert seen == [f"DTSTART:20261124T1{time}Z" for time in ("00007", "00020", "00045")]
    assert schedules(fake) == []


def test_a_scheduler_that_makes_no_run_is_told(fake: FakePrefect, clock: Clock) -> None:
    with pytest.raises(TimedOut, match="the scheduler has made no run yet"):
        fly_canary(fake, NOW, seconds=30)
    assert 30 <= clock.now < 32


def test_a_worker_that_takes_no_run_is_told(fake: FakePrefect, clock: Clock) -> None:
    fake.on_schedule = working(fake, state="PENDING")
    with pytest.raises(TimedOut, match="is pending"):
        fly_canary(fake, NOW)


@pytest.mark.parametrize("state", ["FAILED", "CRASHED", "CANCELLED"])
def test_a_canary_that_ended_badly_is_told(fake: FakePrefect, state: str) -> None:
    fake.on_schedule = working(fake, state=state)
    with pytest.raises(NeedsOperator, match=f"ended {state.lower()}: no luck"):
        fly_canary(fake, NOW)


def test_another_result_than_it_was_given_is_told(fake: FakePrefect) -> None:
    fake.on_schedule = working(fake, result="another")
    with pytest.raises(NeedsOperator, match="not what it was given"):
        fly_canary(fake, NOW)


def test_a_missing_result_is_told(fake: FakePrefect) -> None:
    work = working(fake)

    def forgetful(deployment: Row, schedule: Row) -> None:
        work(deployment, schedule)
        fake.artifacts.clear()

    fake.on_schedule = forgetful
    with pytest.raises(NeedsOperator, match="not what it was given"):
        fly_canary(fake, NOW)


# One that has no turn.


def occupied(fake: FakePrefect, limit: int | None, *others: str) -> None:
    """A pool with this limit and other runs; the canary's is made, and nobody takes it."""
    fake.pools[names.POOL]["concurrency_limit"] = limit
    deployment = get_deployment(fake, names.CANARY)["id"]
    for state in others:
        fake.post(f"/deployments/{deployment}/create_flow_run", {"state": {"type": state}})
    fake.on_schedule = working(fake, state="SCHEDULED")


def test_one_that_a_full_pool_gives_no_turn_is_no_fault(fake: FakePrefect, clock: Clock) -> None:
    occupied(fake, 2, "RUNNING", "PENDING")
    assert fly_canary(fake, NOW) is None
    assert clock.now >= 119
    assert schedules(fake) == []


def test_a_full_pool_has_room_for_a_moment_between_two_runs(
    fake: FakePrefect, clock: Clock
) -> None:
    occupied(fake, 1)
    began = working(fake, state="RUNNING")
    deployment = next(iter(fake.deployments.values()))

    def next_one_begins() -> None:
        if clock.now > 125:
            began(deployment, {"parameters": {}})

    clock.then = repeat(next_one_begins)
    assert fly_canary(fake, NOW) is None


@pytest.mark.parametrize(
    ("limit", "others"),
    [
        (3, ["RUNNING", "PENDING"]),
        (None, ["RUNNING"]),
        (2, ["PENDING", "PENDING"]),
        (2, ["RUNNING", "SCHEDULED"]),
    ],
    ids=["room is left", "no limit", "a worker that begins none", "others wait as well"],
)
def test_one_that_waits_in_a_pool_with_room_is_told(
    fake: FakePrefect, clock: Clock, limit: int | None, others: list[str]
) -> None:
    occupied(fake, limit, *others)
    with pytest.raises(TimedOut, match="is scheduled"):
        fly_canary(fake, NOW)


# One that is lost with its worker.


def taken(api: FakePrefect, *ends: tuple[str, str]) -> Callable[[Row, Row], None]:
    """A scheduler and workers; `ends`: each run's state in turn, and the worker that took it."""
    coming = iter(ends)

    def take(deployment: Row, schedule: Row) -> None:
        state, worker = next(coming)
        working(api, state=state)(deployment, schedule)
        run = api.runs[list(api.runs)[-1]]
        api.patch(f"/flow_runs/{run['id']}/labels", {"prefect.worker.name": worker})

    return take


def lives(worker: str) -> bool:
    return worker == "alive"


def states(fake: FakePrefect) -> list[str]:
    return [row["state_type"] for row in fake.runs.values()]


@pytest.mark.parametrize("state", ["PENDING", "RUNNING", "CRASHED"])
def test_a_canary_that_is_lost_with_its_worker_is_flown_once_more(
    fake: FakePrefect, clock: Clock, state: str
) -> None:
    fake.on_schedule = taken(fake, (state, "gone"), ("COMPLETED", "alive"))
    flown = fly_canary(fake, NOW, lives=lives)
    assert flown is not None
    lost, second = fake.runs.values()
    assert (flown.run.id, flown.lost) == (second["id"], lost["name"])
    assert lost["parameters"] != second["parameters"]
    assert schedules(fake) == []


def test_one_that_no_process_has_is_not_waited_for_and_takes_no_slot(
    fake: FakePrefect, clock: Clock
) -> None:
    fake.on_schedule = taken(fake, ("PENDING", "gone"), ("COMPLETED", "alive"))
    fly_canary(fake, NOW, lives=lives)
    assert clock.now < 5
    assert states(fake) == ["CANCELLED", "COMPLETED"]


def test_one_whose_worker_goes_before_it_is_known_is_flown_once_more(
    fake: FakePrefect, clock: Clock
) -> None:
    """A worker takes a run first, and labels it with its name then."""
    fake.post(f"/work_pools/{names.POOL}/workers/heartbeat", {"name": "first"})
    going = {"first"}
    fake.on_schedule = taken(fake, ("PENDING", ""), ("COMPLETED", "alive"))
    clock.happens(going.clear)
    flown = fly_canary(fake, NOW, lives=lambda worker: worker in {"alive", *going})
    assert flown is not None
    assert flown.lost == next(iter(fake.runs.values()))["name"]
    assert states(fake) == ["CANCELLED", "COMPLETED"]


def test_one_that_nobody_is_known_to_have_is_not_flown_again_while_all_live(
    fake: FakePrefect, clock: Clock
) -> None:
    """Also when one was gone before: it took nothing that came later."""
    for worker in ("alive", "gone"):
        fake.post(f"/work_pools/{names.POOL}/workers/heartbeat", {"name": worker})
    fake.on_schedule = taken(fake, ("PENDING", ""), ("COMPLETED", "alive"))
    with pytest.raises(TimedOut, match="is pending"):
        fly_canary(fake, NOW, lives=lives)
    assert states(fake) == ["PENDING"]


def test_the_second_is_due_when_the_first_is_lost(
    fake: FakePrefect, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clinical_ai.steps.canary.monotonic", lambda: clock.now)
    seen: list[str] = []
    take = taken(fake, ("RUNNING", "gone"), ("COMPLETED", "alive"))
    fake.on_schedule = lambda deployment, schedule: (
        seen.append(schedule["schedule"]["rrule"].partition("\n")[0]),
        take(deployment, schedule),
    )[1]
    fly_canary(fake, NOW, lives=lives)
    assert seen == ["DTSTART:20261124T100007Z", "DTSTART:20261124T100207Z"]


def test_one_that_completes_although_its_worker_goes_is_good(fake: FakePrefect) -> None:
    fake.on_schedule = taken(fake, ("COMPLETED", "gone"))
    flown = fly_canary(fake, NOW, lives=lives)
    assert flown is not None
    assert flown.lost == ""


@pytest.mark.parametrize(
    ("state", "told"), [("PENDING", "is pending"), ("FAILED", "ended failed: no luck")]
)
def test_one_that_fails_while_its_worker_lives_is_not_flown_again(
    fake: FakePrefect, clock: Clock, state: str, told: str
) -> None:
    fake.on_schedule = taken(fake, (state, "alive"), ("COMPLETED", "alive"))
    with pytest.raises((TimedOut, NeedsOperator), match=told):
        fly_canary(fake, NOW, lives=lives)
    assert states(fake) == [state]


def test_a_second_one_that_is_lost_is_told(fake: FakePrefect, clock: Clock) -> None:
    fake.on_schedule = taken(fake, ("PENDING", "gone"), ("PENDING", "gone, too"))
    with pytest.raises(NeedsOperator, match="is lost with its worker gone, too, and so was"):
        fly_canary(fake, NOW, lives=lives)
    assert len(fake.runs) == 2
    assert schedules(fake) == []


def test_no_schedule_is_left_where_no_scheduler_runs(api: PrefectApi, clock: Clock) -> None:
    """The same on both: nobody makes a run, and the schedule goes all the same."""
    register(api)
    with pytest.raises(TimedOut, match="the scheduler has made no run yet"):
        fly_canary(api, NOW, seconds=1)
    left = schedules(api)
    api.delete(f"/deployments/{get_deployment(api, names.CANARY)['id']}")
    assert left == []
