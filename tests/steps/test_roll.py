"""A roll restarts what changed, loses no run, and may die anywhere."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import repeat
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from bootstrap.terminal import Terminal
from clinical_ai import names
from clinical_ai.commands import stop
from clinical_ai.errors import NeedsOperator, TimedOut, Transient
from clinical_ai.plans import Journal, Stage
from clinical_ai.ports import PrefectApi, ProcessSpec
from clinical_ai.state_folder import StateFolder
from clinical_ai.steps.roll import QUIET, Reach, drain, finish_roll, new_journal, roll
from clinical_ai.steps.runs import get_run
from clinical_ai.steps.self_deploy import hand_over, report_last_roll
from tests.support.clock import Clock
from tests.support.fake_prefect import FakePrefect
from tests.support.fakes import FakeRuntime, MemoryKeeper
from tests.support.sleeping_runs import runs_without_process, set_state, sleeping_runs

OLD = [ProcessSpec(names.SERVER, ("old",)), ProcessSpec(names.WORKER, ("old",))]
NEW = [ProcessSpec(names.SERVER, ("old",)), ProcessSpec(names.WORKER, ("new",))]


pytestmark = pytest.mark.usefixtures("clock")


class Killed(BaseException):
    """What SIGKILL is to a process: nothing catches it."""


class World:
    """A fake platform; the call with number `fatal` dies, before or after it took effect."""

    def __init__(self) -> None:
        self.api, self.runtime, self.keeper = FakePrefect(), FakeRuntime(), MemoryKeeper()
        self.runtime.ensure(OLD)
        for name in (names.POOL, names.PLATFORM_POOL):
            self.api.post("/work_pools/", {"name": name, "type": "process"})
        self.calls = 0
        self.fatal: tuple[int, bool] | None = None
        self.death: BaseException = Killed()
        self.arrivals = 0
        self.unfit: NeedsOperator | None = None

    def reach(self) -> Reach:
        api, runtime, keeper = (_Mortal(p, self) for p in (self.api, self.runtime, self.keeper))
        return Reach(api, api, runtime, keeper, self.check, self._arrive)  # type: ignore[arg-type]

    def check(self) -> None:
        if self.unfit:
            raise self.unfit

    def _arrive(self) -> None:
        self.arrivals += 1

    def roll(self, journal: Journal, seconds: float = 5) -> None:
        roll(self.reach(), journal, NEW, drain_seconds=seconds)

    def busy(self, pool: str = names.POOL) -> str:
        """A run that goes on in a pool."""
        flow = self.api.post("/flows/", {"name": "f"})
        body = {"name": "one", "flow_id": flow["id"], "work_pool_name": pool}
        deployment = self.api.post("/deployments/", body)["id"]
        given = {"name": "a-long-run", "state": {"type": "RUNNING"}}
        return str(self.api.post(f"/deployments/{deployment}/create_flow_run", given)["id"])

    def end(self, run: str) -> None:
        self.api.post(f"/flow_runs/{run}/set_state", {"state": {"type": "COMPLETED"}})

    def paused(self) -> list[bool]:
        return [self.api.pools[name]["is_paused"] for name in ("default", "platform")]


class _Mortal:
    """Passes calls on and counts them."""

    def __init__(self, target: Any, world: World) -> None:
        self._target, self._world = target, world

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._target, name)

        def call(*arguments: Any, **options: Any) -> Any:
            self._world.calls += 1
            fatal = self._world.fatal
            if fatal == (self._world.calls, False):
                raise self._world.death
            answer = method(*arguments, **options)
            if fatal == (self._world.calls, True):
                raise self._world.death
            return answer

        return call


def test_a_changed_worker_is_restarted_once_and_pools_are_open_again() -> None:
    world = World()
    world.roll(new_journal("test"))
    assert world.runtime.restarts == [names.WORKER]
    assert world.paused() == [False, False]
    assert world.arrivals == 1
    assert world.keeper.journal is not None
    assert world.keeper.journal.stage is Stage.DONE
    assert names.WORKER in world.keeper.journal.outcome


def test_nothing_to_change_holds_no_pool() -> None:
    world = World()
    roll(world.reach(), new_journal("test"), OLD, drain_seconds=5)
    assert world.runtime.restarts == []
    assert world.keeper.journal is not None
    assert world.keeper.journal.paused_before == {}


def test_a_pool_that_was_paused_by_hand_stays_paused() -> None:
    world = World()
    world.api.pools["default"]["is_paused"] = True
    world.roll(new_journal("test"))
    assert world.paused() == [True, False]


def test_work_that_does_not_end_makes_it_give_up_with_nothing_changed() -> None:
    world = World()
    world.busy()
    with pytest.raises(TimedOut, match=r"a-long-run.*their worker was not replaced"):
        world.roll(new_journal("test"), seconds=0)
    assert world.runtime.restarts == []
    assert world.paused() == [False, False]
    assert world.keeper.journal is not None
    assert world.keeper.journal.stage is Stage.GAVE_UP


def test_pools_are_held_while_work_ends_and_nothing_is_restarted_before(clock: Clock) -> None:
    world = World()
    run = world.busy(names.PLATFORM_POOL)
    seen: list[tuple[list[bool], list[str]]] = []
    look = lambda: seen.append((world.paused(), list(world.runtime.restarts)))  # noqa: E731
    clock.happens(look, lambda: (look(), world.end(run)))
    world.roll(new_journal("test"), seconds=60)
    assert seen == [([True, True], [])] * 2
    assert world.paused() == [False, False]
    assert world.runtime.restarts == [names.WORKER]


def test_the_api_is_awaited_where_it_moved_to_before_pools_are_opened(clock: Clock) -> None:
    world = World()
    moved = FakePrefect()
    for name in world.api.pools:
        moved.post("/work_pools/", {"name": name, "type": "process", "is_paused": True})
    moved.down = True
    clock.happens(*[lambda: None] * QUIET, lambda: None, lambda: setattr(moved, "down", False))
    reach = replace(world.reach(), after=moved)
    roll(reach, new_journal("test"), NEW, drain_seconds=5)
    assert clock.slept == QUIET + 2
    assert [pool["is_paused"] for pool in moved.pools.values()] == [False, False]


def test_a_platform_without_pools_is_rolled_all_the_same() -> None:
    world = World()
    world.api.pools.clear()
    world.roll(new_journal("test"))
    assert world.runtime.restarts == [names.WORKER]


def test_settings_that_this_machine_can_not_run_with_change_nothing() -> None:
    world = World()
    world.unfit = NeedsOperator("port 4201 is taken", "choose another")
    with pytest.raises(NeedsOperator, match="port 4201"):
        world.roll(new_journal("deploy/self"))
    assert (world.paused(), world.runtime.restarts, world.arrivals) == ([False, False], [], 0)
    told = report_last_roll(world.keeper)
    assert "gave up: port 4201 is taken. choose another" in told


def test_a_roll_with_nothing_to_restart_says_so() -> None:
    world = World()
    world.runtime.ensure(NEW)
    world.roll(new_journal("by hand"))
    assert report_last_roll(world.keeper).endswith(" (by hand): nothing had to restart.")


@pytest.mark.parametrize("took_effect", [False, True])
def test_killed_at_any_call_the_next_try_finishes_it(took_effect: bool) -> None:
    """Fully new, pools as before, each process restarted exactly once."""
    whole = World()
    whole.api.pools["platform"]["is_paused"] = True
    whole.roll(new_journal("test"))
    assert whole.calls > 10
    for number in range(1, whole.calls + 1):
        world = World()
        world.api.pools["platform"]["is_paused"] = True
        world.fatal = (number, took_effect)
        with pytest.raises(Killed):
            world.roll(new_journal("test"))
        world.fatal = None
        found = world.keeper.journal
        world.roll(found if found and found.open else new_journal("again"))
        assert world.paused() == [False, True], number
        assert world.runtime.restarts == [names.WORKER], number
        assert world.keeper.journal is not None
        assert world.keeper.journal.stage is Stage.DONE


@pytest.mark.parametrize("took_effect", [False, True])
@pytest.mark.parametrize(
    "error", [Transient("away"), NeedsOperator("no", "act"), OSError(28, "disk full")], ids=repr
)
def test_an_error_at_any_call_leaves_what_the_next_try_finishes(
    error: Exception, took_effect: bool, clock: Clock
) -> None:
    """Pools as before and specs fully old or fully new, then fully new; no journal is left open."""
    whole = World()
    whole.api.pools["platform"]["is_paused"] = True
    whole.roll(new_journal("test"))
    for number in range(1, whole.calls + 1):
        world = World()
        world.api.pools["platform"]["is_paused"] = True
        world.fatal, world.death = (number, took_effect), error
        met = _met(world)
        world.fatal = None
        found = world.keeper.journal
        if found and not found.open and met:
            assert world.paused() == [False, True], number
        if met:
            world.roll(found if found and found.open else new_journal("again"))
        assert world.paused() == [False, True], number
        assert list(world.runtime.running.values()) == NEW, number
        assert world.runtime.restarts == [names.WORKER], number
        assert world.keeper.journal is not None
        assert world.keeper.journal.stage is Stage.DONE


def _met(world: World) -> Exception | None:
    """What the roll raised; a wait bears a Transient."""
    try:
        world.roll(new_journal("test"))
    except (Transient, NeedsOperator, OSError) as error:
        return error
    return None


@pytest.mark.parametrize("took_effect", [False, True])
def test_killed_at_any_call_while_giving_up_nothing_changes(took_effect: bool) -> None:
    """Work that does not end: whoever finishes it opens the pools; processes are the old ones."""
    whole = World()
    whole.busy()
    with pytest.raises(TimedOut):
        whole.roll(new_journal("test"), seconds=0)
    for number in range(1, whole.calls + 1):
        world = World()
        world.busy()
        world.fatal = (number, took_effect)
        with pytest.raises((Killed, TimedOut)):
            world.roll(new_journal("test"), seconds=0)
        finish_roll(world.api, world.keeper)
        assert world.paused() == [False, False], number
        assert list(world.runtime.running.values()) == OLD, number
        assert world.keeper.journal is None or not world.keeper.journal.open


def test_the_journal_tells_each_stage_before_the_next_begins() -> None:
    world = World()
    stages: list[tuple[Stage, list[bool], list[str]]] = []
    write = world.keeper.write_journal

    def remember(journal: Journal) -> None:
        stages.append((journal.stage, world.paused(), list(world.runtime.restarts)))
        write(journal)

    world.keeper.write_journal = remember  # type: ignore[method-assign]
    world.roll(new_journal("test"))
    assert stages == [
        (Stage.PLANNED, [False, False], []),
        (Stage.HELD, [False, False], []),
        (Stage.CHANGED, [True, True], [names.WORKER]),
        (Stage.DONE, [False, False], [names.WORKER]),
    ]


def test_a_roll_that_was_continued_still_names_what_was_restarted() -> None:
    world = World()
    world.roll(new_journal("measure"))
    whole, world = world.calls, World()
    told = set()
    for number in range(1, whole + 1):
        world = World()
        world.fatal = (number, True)
        with pytest.raises(Killed):
            world.roll(new_journal("test"))
        world.fatal = None
        found = world.keeper.journal
        world.roll(found if found and found.open else new_journal("again"))
        assert world.keeper.journal is not None
        if found and found.open:
            told.add(world.keeper.journal.outcome)
    assert told == {f"restarted {names.WORKER}"}


def test_a_roll_that_nobody_continues_is_finished_by_opening_its_pools() -> None:
    world = World()
    held = new_journal("test").held({"default": False, "platform": True})
    world.keeper.write_journal(held)
    world.api.pools["default"]["is_paused"] = world.api.pools["platform"]["is_paused"] = True
    assert len(finish_roll(world.api, world.keeper)) == 1
    assert world.paused() == [False, True]
    assert finish_roll(world.api, world.keeper) == []


@dataclass
class Local:
    """The platform of one machine, as `down` sees it."""

    world: World
    state: StateFolder

    @property
    def api(self) -> FakePrefect:
        return self.world.api

    @property
    def runtime(self) -> FakeRuntime:
        return self.world.runtime

    @property
    def files(self) -> MemoryKeeper:
        return self.world.keeper


@pytest.mark.parametrize("by", ["down", "roll"])
def test_a_stop_takes_no_pause_for_a_persons_that_a_killed_stop_or_roll_left(
    by: str, clock: Clock, tmp_path: Path
) -> None:
    """As whoever has waited for long interrupts it, and stops without waiting."""
    world = World()
    world.api.pools[names.PLATFORM_POOL]["is_paused"] = True
    run = world.busy()
    local: Any = Local(world, StateFolder(tmp_path))
    clock.then = repeat(interrupt)
    with pytest.raises(KeyboardInterrupt):
        stop(local, 60, Terminal()) if by == "down" else world.roll(new_journal(by))
    assert world.paused() == [True, True]
    world.end(run)
    clock.then = iter(())
    stop(local, 0, Terminal())
    assert world.runtime.running == {}
    assert world.paused() == [False, True]
    assert world.keeper.journal is not None
    assert not world.keeper.journal.open


def interrupt() -> None:
    raise KeyboardInterrupt


def test_a_server_away_while_draining_is_waited_for(clock: Clock) -> None:
    world = World()
    looks = iter([Transient("away"), None])
    post = world.api.post

    def sometimes(path: str, body: Any = None) -> Any:
        if (error := next(looks, None)) is not None:
            raise error
        return post(path, body)

    world.api.post = sometimes  # type: ignore[method-assign]
    world.roll(new_journal("test"))
    assert world.runtime.restarts == [names.WORKER]


def test_an_outage_that_the_guard_meets_while_draining_is_waited_out(clock: Clock) -> None:
    looks = iter([Transient("away"), TimedOut("late")])

    def beat() -> None:
        if error := next(looks, None):
            raise error

    drain(World().api, [names.POOL], 5, beat, quiet=0)
    assert clock.slept == 2


@pytest.mark.parametrize("seconds", [0, 0.5])
def test_slow_looks_and_an_outage_are_no_running_work(clock: Clock, seconds: float) -> None:
    looks = iter([None, Transient("away"), Transient("away")])

    def beat() -> None:
        clock.now += 0.3
        if error := next(looks, None):
            raise error

    drain(World().api, [names.POOL], seconds, beat, quiet=10)


def test_a_run_that_was_taken_before_the_hold_and_is_seen_late_is_waited_for(clock: Clock) -> None:
    """Its worker asked before; it is pending two requests later."""
    world = World()
    runs: list[str] = []
    took = lambda: runs.append(world.busy(names.POOL))  # noqa: E731
    clock.happens(took, lambda: world.end(runs[0]))
    drain(world.api, [names.POOL], 5, quiet=2)
    assert clock.now == 4
    assert runs


def test_a_run_that_is_seen_late_and_does_not_end_is_named(clock: Clock) -> None:
    world = World()
    clock.happens(lambda: world.busy(names.POOL))
    with pytest.raises(TimedOut, match="a-long-run"):
        drain(world.api, [names.POOL], 5, quiet=2)


def test_a_run_that_sleeps_until_its_retry_or_while_it_is_paused_is_waited_for(
    api: PrefectApi, clock: Clock
) -> None:
    """Its process is its worker's, and no other worker is given it: a restart would end it."""
    pool = f"pool-{uuid4().hex[:8]}"
    asleep = sleeping_runs(api, pool)
    named = {state: get_run(api, run).name for state, run in asleep.items()}
    with pytest.raises(TimedOut, match="resume what is paused") as caught:
        drain(api, [pool], 5, quiet=2)
    for state, name in named.items():
        assert f"{name} ({state})" in str(caught.value)
    ends = lambda run: set_state(api, run, type="CANCELLED")  # noqa: E731
    clock.happens(*(lambda run=run: ends(run) for run in asleep.values()))
    began = clock.now
    drain(api, [pool], 60, quiet=2)
    assert clock.now - began == 4


def test_a_run_without_a_process_that_any_worker_may_take_holds_no_restart(
    api: PrefectApi, clock: Clock
) -> None:
    pool = f"pool-{uuid4().hex[:8]}"
    runs_without_process(api, pool)
    drain(api, [pool], 60, quiet=2)
    assert clock.now == 2


def test_work_that_has_ended_at_the_last_moment_has_ended(clock: Clock) -> None:
    world = World()
    run = world.busy(names.POOL)
    clock.happens(*[lambda: None] * 4, lambda: world.end(run))
    drain(world.api, [names.POOL], 5, quiet=2)


def test_deploy_self_hands_a_change_over_and_the_next_run_reports_it_once() -> None:
    world = World()
    changes = hand_over(world.runtime, world.keeper, NEW)
    assert [c.detail for c in changes if c.wrote] == ["its spec changed; the roll restarts it next"]
    assert world.runtime.started == [names.ROLL]
    assert world.runtime.restarts == []
    assert report_last_roll(world.keeper) == ""
    assert world.keeper.journal is not None
    world.roll(world.keeper.journal)
    assert names.WORKER in report_last_roll(world.keeper)
    assert report_last_roll(world.keeper) == ""
    assert [c.wrote for c in hand_over(world.runtime, world.keeper, NEW)] == [False, False]


def test_a_roll_that_gave_up_is_reported_as_such() -> None:
    keeper = MemoryKeeper()
    keeper.write_journal(new_journal("test").ended(Stage.GAVE_UP, "a run went on"))
    assert "gave up: a run went on" in report_last_roll(keeper)


def test_a_roll_that_is_still_open_is_continued_and_not_begun_anew() -> None:
    world = World()
    under_way = new_journal("an earlier run").held({"default": True, "platform": False})
    world.keeper.write_journal(under_way)
    hand_over(world.runtime, world.keeper, NEW)
    assert world.keeper.journal == under_way
    assert world.runtime.started == [names.ROLL]
    assert report_last_roll(world.keeper) == ""
