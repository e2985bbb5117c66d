"""Every wait has an end, and tells what it sees; the clock stands still between looks here."""

import logging
from collections.abc import Callable, Iterator

import pytest

from clinical_ai.errors import Locked, NeedsOperator, PlatformError, TimedOut, Transient
from clinical_ai.waiting import Sighting, outlasting, persisting, wait_until


class Clock:
    """A monotonic clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("clinical_ai.waiting.monotonic", clock.monotonic)
    monkeypatch.setattr("clinical_ai.waiting.sleep", clock.sleep)
    return clock


def seen(*summaries: str) -> Iterator[Sighting]:
    """One sighting a look; the last one is what was waited for."""
    for number, summary in enumerate(summaries, 1):
        yield Sighting(done=number == len(summaries), summary=summary)


def test_what_is_there_already_is_given_at_once(clock: Clock) -> None:
    looks = seen("it answers")
    assert wait_until("the server", lambda: next(looks), seconds=5).summary == "it answers"
    assert clock.now == 1000


def test_the_wait_ends_with_the_look_that_is_done(clock: Clock) -> None:
    looks = seen("refused", "starting", "it answers")
    assert wait_until("the server", lambda: next(looks), seconds=5, every=1).done
    assert clock.now == 1002


def test_when_time_is_up_the_last_sighting_is_told(clock: Clock) -> None:
    away = Sighting(done=False, summary="connection refused")
    with pytest.raises(TimedOut, match="the server is not there after 5 s: connection refused"):
        wait_until("the server", lambda: away, seconds=5, every=1)
    assert clock.now == 1005


def test_what_takes_long_is_looked_at_less_often(clock: Clock) -> None:
    at: list[float] = []

    def look() -> Sighting:
        at.append(clock.now - 1000)
        return Sighting(done=len(at) == 64, summary="it starts")

    wait_until("the server", look, seconds=600, every=1)
    assert at == [*range(61), 64, 68, 72]


def test_a_wait_of_no_time_looks_once(clock: Clock) -> None:
    looks = seen("it answers")
    assert wait_until("the server", lambda: next(looks), seconds=0).done


def test_the_log_tells_each_change_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="clinical_ai.waiting")
    looks = seen("refused", "refused", "starting", "it answers")
    wait_until("the server", lambda: next(looks), seconds=5)
    assert caplog.messages == [
        "waiting for the server: refused",
        "waiting for the server: starting",
    ]


def meets(*errors: PlatformError) -> Callable[[], None]:
    """A guard that meets these, one a call, and then none."""
    coming = iter(errors)

    def beat() -> None:
        if error := next(coming, None):
            raise error

    return beat


def test_an_outage_is_waited_out_whether_the_guard_or_the_look_meets_it(clock: Clock) -> None:
    looks = seen("starting", "it answers")
    look = outlasting(lambda: next(looks), meets(Transient("away"), TimedOut("late")))
    assert wait_until("the server", look, seconds=5, every=1).summary == "it answers"
    assert clock.now == 1003


@pytest.mark.parametrize(
    "error", [Locked("lost to bob"), NeedsOperator("it is stopped", "let it go on")], ids=str
)
def test_a_guard_that_forbids_to_go_on_ends_the_wait(clock: Clock, error: PlatformError) -> None:
    looks = seen("starting", "it answers")
    look = outlasting(lambda: next(looks), meets(Transient("away"), error))
    with pytest.raises(type(error), match=str(error)):
        wait_until("the server", look, seconds=5, every=1)
    assert clock.now == 1001


def test_what_is_done_persistently_is_repeated_after_an_outage(clock: Clock) -> None:
    tries = meets(Transient("no answer"), Transient("no answer"))
    assert persisting("it", lambda: tries() or "done", seconds=10, every=2) == "done"
    assert clock.now == 1004


@pytest.mark.parametrize("error", [Locked("lost"), TimedOut("600 s"), NeedsOperator("no", "go")])
def test_only_an_outage_is_a_reason_to_repeat(clock: Clock, error: PlatformError) -> None:
    with pytest.raises(type(error), match=r"^(lost|600 s|No|no)"):
        persisting("it", meets(error), seconds=10)
    assert clock.now == 1000
