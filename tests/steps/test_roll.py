"""A roll restarts what changed, loses no run, and may die anywhere."""

from collections.abc import Callable
from typing import Any

import pytest

from clinical_ai import names
from clinical_ai.errors import TimedOut, Transient
from clinical_ai.plans import Journal, Stage
from clinical_ai.ports import ProcessSpec
from clinical_ai.steps.roll import Reach, finish_roll, new_journal, roll
from clinical_ai.steps.self_deploy import hand_over, report_last_roll
from tests.support.fakes import FakePrefect, FakeRuntime, MemoryKeeper

OLD = [ProcessSpec(names.SERVER, ("old",)), ProcessSpec(names.WORKER, ("old",))]
NEW = [ProcessSpec(names.SERVER, ("old",)), ProcessSpec(names.WORKER, ("new",))]


class Killed(BaseException):
    """What SIGKILL is to a process: nothing catches it."""


class World:
    """A fake platform; the call with number `fatal` dies, before or after it took effect."""

    def __init__(self) -> None:
        self.api, self.runtime, self.keeper = FakePrefect(), FakeRuntime(), MemoryKeeper()
        self.runtime.ensure(OLD)
        self.calls = 0
        self.fatal: tuple[int, bool] | None = None
        self.arrivals = 0

    def reach(self) -> Reach:
        api, runtime, keeper = (_Mortal(p, self) for p in (self.api, self.runtime, self.keeper))
        return Reach(api, api, runtime, keeper, self._arrive)  # type: ignore[arg-type]

    def _arrive(self) -> None:
        self.arrivals += 1

    def roll(self, journal: Journal, seconds: float = 5) -> None:
        roll(self.reach(), journal, NEW, drain_seconds=seconds)

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
                raise Killed
            answer = method(*arguments, **options)
            if fatal == (self._world.calls, True):
                raise Killed
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
    world.api.runs = [{"id": "1", "name": "a-long-run", "state_type": "RUNNING"}]
    with pytest.raises(TimedOut, match=r"a-long-run.*nothing was changed"):
        world.roll(new_journal("test"), seconds=0)
    assert world.runtime.restarts == []
    assert world.paused() == [False, False]
    assert world.keeper.journal is not None
    assert world.keeper.journal.stage is Stage.GAVE_UP


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


def test_a_roll_that_nobody_continues_is_finished_by_opening_its_pools() -> None:
    world = World()
    held = new_journal("test").held({"default": False, "platform": True})
    world.keeper.write_journal(held)
    world.api.pools["default"]["is_paused"] = world.api.pools["platform"]["is_paused"] = True
    assert len(finish_roll(world.api, world.keeper)) == 1
    assert world.paused() == [False, True]
    assert finish_roll(world.api, world.keeper) == []


def test_a_server_away_while_draining_is_waited_for() -> None:
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
