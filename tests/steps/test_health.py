"""Waits for the parts of a platform: each ends, and tells what it saw last."""

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from clinical_ai import names
from clinical_ai.errors import NeedsOperator, TimedOut, Transient
from clinical_ai.ports import PrefectApi, ProcessSpec, ProcessStatus
from clinical_ai.steps.health import (
    await_api,
    await_database,
    await_workers,
    lacks_tables,
    offline_workers,
)
from tests.support.clock import Clock
from tests.support.fake_prefect import FakePrefect
from tests.support.fakes import FakeRuntime
from tests.support.postgres import PostgresServer


class Starting:
    """A database that refuses some questions, then answers."""

    def __init__(self, refusals: int) -> None:
        self.refusals = refusals

    def query(self, sql: str, parameters: Sequence[object] = ()) -> list[dict[str, Any]]:
        self.refusals -= 1
        if self.refusals >= 0:
            raise Transient("it is starting up")
        return [{"one": 1}]


class Restarting(FakeRuntime):
    """The server has another process id at each look."""

    def __init__(self, every: int) -> None:
        super().__init__()
        self.looks, self.every = 0, every
        self.ensure([ProcessSpec(names.SERVER, ("a",)), ProcessSpec(names.WORKER, ("a",))])

    def processes(self) -> list[ProcessStatus]:
        self.looks += 1
        pid = 1000 + self.looks // self.every
        return [
            ProcessStatus(names.SERVER, running=True, state="starting", pid=pid),
            ProcessStatus(names.WORKER, running=True, state="running", pid=2000 + self.looks),
        ]


def platform(api: FakePrefect) -> None:
    for pool, worker in (
        (names.POOL, names.WORKER),
        (names.PLATFORM_POOL, names.PLATFORM_WORKER),
    ):
        api.post("/work_pools/", {"name": pool, "type": "process"})
        api.post(f"/work_pools/{pool}/workers/heartbeat", {"name": worker})


def test_a_database_that_starts_is_waited_for(clock: Clock) -> None:
    await_database(Starting(3))  # type: ignore[arg-type]
    assert clock.slept == 3


def test_a_database_that_never_answers_is_told_with_its_reason(clock: Clock) -> None:
    with pytest.raises(TimedOut, match="the database is not there after 60 s: it is starting up"):
        await_database(Starting(10_000))  # type: ignore[arg-type]


def test_an_api_that_comes_up_is_waited_for(clock: Clock) -> None:
    api, runtime = FakePrefect(), Restarting(every=100)
    api.down = True
    clock.happens(lambda: None, lambda: None, lambda: setattr(api, "down", False))
    await_api(api, runtime)
    assert clock.slept == 3


def test_a_server_that_ends_again_and_again_is_told_at_once(clock: Clock) -> None:
    api = FakePrefect()
    api.down = True
    with pytest.raises(NeedsOperator, match=rf"ends as often.*read {names.SERVER}\.log"):
        await_api(api, Restarting(every=1))
    assert clock.now < 5


def test_a_server_that_was_restarted_thrice_is_still_waited_for(clock: Clock) -> None:
    api = FakePrefect()
    api.down = True
    with pytest.raises(TimedOut, match="Prefect's API is not there after 120 s: no answer"):
        await_api(api, Restarting(every=300))


def test_a_supervisor_that_ended_is_told_at_once(clock: Clock) -> None:
    api = FakePrefect()
    api.down = True
    with pytest.raises(NeedsOperator, match=r"the supervisor has ended.*disk"):
        await_api(api, FakeRuntime())
    assert clock.slept == 0


def test_what_answers_and_is_not_prefect_is_not_ready(clock: Clock) -> None:
    class Stranger(FakePrefect):
        def get(self, path: str) -> Any:
            return None  # 404

    with pytest.raises(TimedOut, match="what answers is not Prefect"):
        await_api(Stranger(), Restarting(every=300))


def test_a_refusal_of_the_api_is_not_waited_for(clock: Clock) -> None:
    class Refusing(FakePrefect):
        def get(self, path: str) -> Any:
            raise NeedsOperator("refused the password", "look")

    with pytest.raises(NeedsOperator, match="password"):
        await_api(Refusing(), Restarting(every=1))


@pytest.fixture
def emptied(api: PrefectApi, request: pytest.FixtureRequest) -> Iterator[PrefectApi]:
    """Its tables are where it does not look, until the test has ended."""
    if isinstance(api, FakePrefect):
        api.emptied = True
        yield api
        return
    postgres: PostgresServer = request.getfixturevalue("postgres_server")
    postgres.run("alter schema public rename to elsewhere", "prefect")
    try:
        yield api
    finally:
        postgres.run("alter schema elsewhere rename to public", "prefect")


def test_a_server_is_ready_behind_an_emptied_database(emptied: PrefectApi, clock: Clock) -> None:
    assert emptied.get("/ready") is not None
    with pytest.raises(Transient, match="503"):
        emptied.get(f"/work_pools/{names.POOL}")
    assert lacks_tables(emptied)


def test_a_server_whose_tables_are_there_lacks_none(api: PrefectApi) -> None:
    assert not lacks_tables(api)


def test_a_database_that_hesitates_is_not_emptied(clock: Clock) -> None:
    api = FakePrefect()
    api.emptied = True

    def goes_on() -> None:
        api.emptied = False

    clock.happens(lambda: None, goes_on)
    assert not lacks_tables(api)


def test_an_outage_is_no_emptied_database() -> None:
    api = FakePrefect()
    api.down = True
    with pytest.raises(Transient, match="no answer"):
        lacks_tables(api)


def test_workers_are_online_when_the_server_and_they_themselves_say_so() -> None:
    api = FakePrefect()
    platform(api)
    assert offline_workers(api, lambda _name: True) == []
    assert offline_workers(api, lambda name: name != names.WORKER) == [names.WORKER]
    api.workers[names.PLATFORM_POOL, names.PLATFORM_WORKER]["status"] = "OFFLINE"
    assert offline_workers(api, lambda _name: True) == [names.PLATFORM_WORKER]


def test_a_worker_of_another_name_stands_in_for_nobody() -> None:
    api = FakePrefect()
    platform(api)
    del api.workers[names.POOL, names.WORKER]
    api.post(f"/work_pools/{names.POOL}/workers/heartbeat", {"name": "somebody-elses"})
    assert offline_workers(api, lambda _name: True) == [names.WORKER]


def test_workers_are_waited_for_through_an_outage(clock: Clock) -> None:
    api = FakePrefect()
    api.down = True
    clock.happens(
        lambda: setattr(api, "down", False),  # the pools are not there yet: refused
        lambda: platform(api),
    )
    await_workers(api, lambda _name: True)
    assert clock.slept == 2


def test_workers_that_never_come_are_named(clock: Clock) -> None:
    api = FakePrefect()
    platform(api)
    with pytest.raises(TimedOut, match=f"not online: {names.WORKER}$"):
        await_workers(api, lambda name: name != names.WORKER, seconds=9)
    assert clock.now >= 9
