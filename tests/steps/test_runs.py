"""Runs are started, found and followed; those whose process is gone are settled."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from clinical_ai import names
from clinical_ai.errors import NeedsOperator, TimedOut, Transient
from clinical_ai.ports import PrefectApi
from clinical_ai.steps.runs import (
    as_run,
    find_tagged_run,
    follow_run,
    get_deployment,
    get_run,
    lost_runs,
    read_table,
    run_to_end,
    runs_in,
    settle_lost_runs,
    start_run,
)
from tests.support.clock import Clock
from tests.support.fake_prefect import FakePrefect
from tests.support.sleeping_runs import runs_without_process, set_state, sleeping_runs


@pytest.fixture
def full_name(api: PrefectApi) -> str:
    """A deployment of the test's own, in the pool that our worker serves."""
    return registered(api, f"flow-{uuid4().hex[:8]}")


def registered(api: PrefectApi, flow: str) -> str:
    if api.get(f"/work_pools/{names.POOL}") is None:
        api.post("/work_pools/", {"name": names.POOL, "type": "process"})
    body = {
        "name": "one",
        "work_pool_name": names.POOL,
        "entrypoint": "a:b",
        "tags": ["theirs"],
        "parameters": {"a": 1, "b": 1},
    }
    api.post("/deployments/", {**body, "flow_id": api.post("/flows/", {"name": flow})["id"]})
    return f"{flow}/one"


def enter(api: PrefectApi, run: str, state: str, message: str | None = None) -> None:
    body = {"state": {"type": state, "message": message}, "force": True}
    api.post(f"/flow_runs/{run}/set_state", body)


def test_a_started_run_is_due_now_with_its_parameters_and_tags(
    api: PrefectApi, full_name: str
) -> None:
    run = start_run(api, full_name, {"b": 2}, tags=["mine"])
    found = get_run(api, run)
    assert (found.id, found.state, found.completed) == (run, "SCHEDULED", False)
    assert found.parameters == {"a": 1, "b": 2}
    assert found.deployment_id == get_deployment(api, full_name)["id"]
    row = api.get(f"/flow_runs/{run}")
    assert set(row["tags"]) == {"theirs", "mine"}
    due = datetime.fromisoformat(row["expected_start_time"])
    if not isinstance(api, FakePrefect):
        assert abs((due - datetime.now(UTC)).total_seconds()) < 30


def test_what_is_not_registered_is_told_with_what_registers_it(api: PrefectApi) -> None:
    for ask in (
        lambda: get_deployment(api, "nothing/never"),
        lambda: start_run(api, "nothing/never", {}),
        lambda: find_tagged_run(api, "nothing/never", "t"),
    ):
        with pytest.raises(
            NeedsOperator,
            match=r"nothing/never is not registered.*`make up`, in a cluster bootstrap",
        ):
            ask()


def test_a_run_that_is_gone_is_told(api: PrefectApi) -> None:
    with pytest.raises(NeedsOperator, match="does not exist any more"):
        get_run(api, str(uuid4()))


def test_a_tagged_run_is_the_one_under_way_else_the_last_one_if_it_completed(
    api: PrefectApi, full_name: str
) -> None:
    assert find_tagged_run(api, full_name, "t") is None
    for state in ("SCHEDULED", "PENDING", "RUNNING"):
        under_way = start_run(api, full_name, {}, tags=[state])
        enter(api, under_way, state)
        found = find_tagged_run(api, full_name, state)
        assert found is not None
        assert (found.id, found.state) == (under_way, state)
    done = start_run(api, full_name, {}, tags=["t"])
    enter(api, done, "COMPLETED")
    found = find_tagged_run(api, full_name, "t")
    assert found is not None
    assert (found.id, found.completed) == (done, True)
    assert find_tagged_run(api, full_name, "t", completed=False) is None
    again = start_run(api, full_name, {}, tags=["t"])
    for wanted in (True, False):
        found = find_tagged_run(api, full_name, "t", completed=wanted)
        assert found is not None
        assert found.id == again
    enter(api, again, "FAILED")
    assert find_tagged_run(api, full_name, "t") is None
    other = registered(api, f"flow-{uuid4().hex[:8]}")
    assert find_tagged_run(api, other, "t") is None


def test_runs_without_a_process_are_settled_by_how_far_they_came(
    api: PrefectApi, full_name: str
) -> None:
    settle_lost_runs(api, names.POOL, ())  # what other tests left on the shared server
    runs = {}
    for what, state, worker in (
        ("submitted", "PENDING", names.WORKER),
        ("cut", "RUNNING", names.WORKER),
        ("cut before its label", "RUNNING", None),
        ("cancelled", "CANCELLING", names.WORKER),
        ("alive", "RUNNING", names.WORKER),
        ("elsewhere", "RUNNING", "a-worker-of-another-machine"),
        ("elsewhere submitted", "PENDING", "a-worker-of-another-machine"),
        ("waiting", "SCHEDULED", None),
        ("done", "COMPLETED", names.WORKER),
    ):
        runs[what] = start_run(api, full_name, {})
        if state == "CANCELLING":  # of a run that never started Prefect makes Cancelled at once
            enter(api, runs[what], "RUNNING")
        enter(api, runs[what], state)
        if worker:
            api.patch(f"/flow_runs/{runs[what]}/labels", {"prefect.worker.name": worker})
    before = {what: api.get(f"/flow_runs/{run}")["updated"] for what, run in runs.items()}
    lost = {row["id"] for row in lost_runs(api, names.POOL, {runs["alive"]})}
    changes = settle_lost_runs(api, names.POOL, {runs["alive"]})
    assert {what: get_run(api, run).state for what, run in runs.items()} == {
        "submitted": "SCHEDULED",
        "cut": "CRASHED",
        "cut before its label": "CRASHED",
        "cancelled": "CANCELLED",
        "alive": "RUNNING",
        "elsewhere": "RUNNING",
        "elsewhere submitted": "PENDING",
        "waiting": "SCHEDULED",
        "done": "COMPLETED",
    }
    assert len(changes) == len(lost) == 4
    after = {what: api.get(f"/flow_runs/{run}")["updated"] for what, run in runs.items()}
    untouched = {"alive", "elsewhere", "elsewhere submitted", "waiting", "done"}
    assert {what for what in runs if before[what] == after[what]} == untouched
    assert "process is gone" in get_run(api, runs["cut"]).message
    assert settle_lost_runs(api, names.POOL, {runs["alive"]}) == []
    for what in ("alive", "elsewhere", "elsewhere submitted"):
        enter(api, runs[what], "COMPLETED")
    assert runs_in(api, names.POOL) == []


def test_a_run_that_sleeps_in_its_process_is_active_and_one_that_left_it_is_not(
    api: PrefectApi,
) -> None:
    pool = f"pool-{uuid4().hex[:8]}"
    asleep, elsewhere = sleeping_runs(api, pool), runs_without_process(api, pool)
    seen = {row["id"]: row["state_name"] for row in runs_in(api, pool)}
    assert seen == {asleep["AwaitingRetry"]: "AwaitingRetry", asleep["Paused"]: "Paused"}
    assert {api.get(f"/flow_runs/{run}")["state_name"] for run in elsewhere.values()} == {
        "Scheduled",
        "AwaitingRetry",
        "Suspended",
        "Resuming",
    }
    assert runs_in(api, pool, ["RUNNING", "PENDING"]) == []
    enter(api, asleep["AwaitingRetry"], "RUNNING")
    assert [row["id"] for row in runs_in(api, pool, ["RUNNING"])] == [asleep["AwaitingRetry"]]
    set_state(api, asleep["Paused"], type="RUNNING")
    assert {row["id"] for row in runs_in(api, pool)} == set(asleep.values())


def test_a_run_whose_process_went_while_it_slept_is_settled(api: PrefectApi) -> None:
    """No other worker would ever take it."""
    pool = f"pool-{uuid4().hex[:8]}"
    asleep, elsewhere = sleeping_runs(api, pool), runs_without_process(api, pool)
    kept = {what: api.get(f"/flow_runs/{run}")["updated"] for what, run in elsewhere.items()}
    changes = settle_lost_runs(api, pool, {asleep["Paused"]})
    assert [change.detail for change in changes] == ["AwaitingRetry to Crashed"]
    changes = settle_lost_runs(api, pool, ())
    assert [change.detail for change in changes] == ["Paused to Crashed"]
    assert {get_run(api, run).state for run in asleep.values()} == {"CRASHED"}
    for what, run in elsewhere.items():
        assert api.get(f"/flow_runs/{run}")["updated"] == kept[what]


def test_a_run_is_followed_to_its_end_with_what_its_flow_logs(
    api: PrefectApi, full_name: str, clock: Clock
) -> None:
    run, heard = start_run(api, full_name, {}), list[str]()
    log = lines(api, run)
    clock.happens(
        lambda: log("prefect.flow_runs", "one"),
        lambda: log("prefect.worker.process", "from its worker"),
        lambda: log("clinical_ai.steps", "two"),
        lambda: (log("prefect.flow_runs", "last"), enter(api, run, "FAILED", "no luck")),
    )
    ended = follow_run(api, run, seconds=60, tell=heard.append)
    assert (ended.state, ended.message, ended.completed) == ("FAILED", "no luck", False)
    assert heard == ["one", "two", "last"]


def test_every_line_is_told_once_however_many_come_at_a_time(
    api: PrefectApi, full_name: str, clock: Clock
) -> None:
    run, heard = start_run(api, full_name, {}), list[str]()
    log = lines(api, run)
    many = [str(number) for number in range(450)]

    def end() -> None:
        for each in many:
            log("prefect.flow_runs", each)
        enter(api, run, "COMPLETED")

    clock.happens(end)
    follow_run(api, run, seconds=60, tell=heard.append)
    assert heard == many


@pytest.fixture
def fake(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> FakePrefect:
    """A server whose clock the test turns."""
    monkeypatch.setattr("clinical_ai.steps.runs.monotonic", lambda: clock.now)
    return FakePrefect()


def away(fake: FakePrefect, seconds: float) -> list[Callable[[], object]]:
    """What happens at each sleep while the server is away for so long, and then is back."""
    between = int(seconds / 0.5) - 1
    goes, comes = (lambda down=down: setattr(fake, "down", down) for down in (True, False))
    return [goes, *[lambda: None] * between, comes]


def test_a_server_that_is_silent_for_less_than_a_minute_is_waited_for(
    fake: FakePrefect, clock: Clock
) -> None:
    run = start_run(fake, registered(fake, "f"), {})
    heard: list[str] = []
    log = lines(fake, run)
    log("prefect.flow_runs", "before")
    clock.happens(
        *away(fake, 55),
        *away(fake, 18),  # each silence counts by itself, and now takes four times as long
        lambda: (log("prefect.flow_runs", "after"), enter(fake, run, "COMPLETED")),
    )
    assert follow_run(fake, run, seconds=600, tell=heard.append).completed
    assert heard == ["before", "after"]
    assert clock.now > 110


def test_a_server_that_stays_away_is_told_after_a_minute(fake: FakePrefect, clock: Clock) -> None:
    run = start_run(fake, registered(fake, "f"), {})
    clock.happens(*away(fake, 900))
    with pytest.raises(Transient, match="no answer from Prefect"):
        follow_run(fake, run, seconds=1800)
    assert 60 < clock.now < 65


def test_a_run_that_is_gone_meanwhile_is_not_waited_for(fake: FakePrefect, clock: Clock) -> None:
    run = start_run(fake, registered(fake, "f"), {})
    clock.happens(fake.runs.clear)
    with pytest.raises(NeedsOperator, match="does not exist any more"):
        follow_run(fake, run, seconds=1800)


def test_an_end_that_was_seen_counts_although_the_server_goes_away_just_then(
    fake: FakePrefect, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = start_run(fake, registered(fake, "f"), {})
    enter(fake, run, "COMPLETED", "all is as wanted")
    real = fake.get

    def last_answer(path: str) -> Any:
        answer = real(path)
        fake.down = True
        return answer

    monkeypatch.setattr(fake, "get", last_answer)
    assert follow_run(fake, run, seconds=60).message == "all is as wanted"


def test_a_new_run_is_followed_to_its_end(fake: FakePrefect, clock: Clock) -> None:
    full_name = registered(fake, "f")
    clock.happens(lambda: enter(fake, next(iter(fake.runs)), "FAILED", "no luck"))
    ended = run_to_end(fake, full_name, {"b": 2}, seconds=60)
    assert (ended.state, ended.message, ended.parameters) == ("FAILED", "no luck", {"a": 1, "b": 2})


def test_the_table_of_a_run_is_the_last_one_that_it_left(api: PrefectApi, full_name: str) -> None:
    run, other = (start_run(api, full_name, {}) for _ in range(2))
    assert read_table(api, run, "k") == []
    for owner, key, data in (
        (run, "k", json.dumps([{"check": "a retried attempt"}])),
        (run, "k", json.dumps([{"check": "b"}])),
        (run, "another-key", "[]"),
        (other, "k", "[]"),
    ):
        body = {"key": key, "type": "table", "data": data, "flow_run_id": owner}
        api.post("/artifacts/", body)
    assert read_table(api, run, "k") == [{"check": "b"}]


def test_a_table_that_was_sent_as_rows_is_read_as_well(api: PrefectApi, full_name: str) -> None:
    run = start_run(api, full_name, {})
    for rows in ([{"check": "a"}], []):
        api.post("/artifacts/", {"key": "k", "type": "table", "data": rows, "flow_run_id": run})
        assert read_table(api, run, "k") == rows


def lines(api: PrefectApi, run: str) -> Callable[[str, str], None]:
    """Write log lines, each later than the one before."""
    start, written = datetime.now(UTC), list[str]()

    def write(logger: str, message: str) -> None:
        written.append(message)
        moment = (start + timedelta(seconds=len(written))).isoformat()
        line = {"level": 20, "timestamp": moment, "flow_run_id": run}
        api.post("/logs/", [{**line, "name": logger, "message": message}])

    return write


@pytest.mark.parametrize("state", ["COMPLETED", "FAILED", "CRASHED", "CANCELLED"])
def test_a_run_is_followed_in_silence(api: PrefectApi, full_name: str, state: str) -> None:
    run = start_run(api, full_name, {})
    enter(api, run, state)
    assert follow_run(api, run, seconds=0).state == state


def test_a_run_that_does_not_end_in_time_is_told_with_its_state(
    api: PrefectApi, full_name: str, clock: Clock
) -> None:
    run = start_run(api, full_name, {})
    enter(api, run, "PENDING")
    name = get_run(api, run).name
    with pytest.raises(TimedOut, match=f"{name} is pending"):
        follow_run(api, run, seconds=5)
    assert clock.now >= 5
    enter(api, run, "COMPLETED")


def test_a_row_without_a_state_is_scheduled() -> None:
    run = as_run({"id": 1, "name": "n", "state": None, "state_type": None})
    assert (run.id, run.state, run.message, run.parameters) == ("1", "SCHEDULED", "", {})
