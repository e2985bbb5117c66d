"""Every wait has an end, and tells what it sees."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic, sleep, time
from typing import Final, TypeVar

from clinical_ai.errors import Locked, TimedOut, Transient

log = logging.getLogger(__name__)

_OFTEN: Final = 60.0  # seconds
_SELDOM: Final = 4  # times as long between two looks

_T = TypeVar("_T")


@dataclass(frozen=True)
class Sighting:
    """What one look saw, and whether the wait is over."""

    done: bool
    summary: str


class Moment:
    """By two clocks: the monotonic one stands still while a machine sleeps, the other may jump."""

    def __init__(self) -> None:
        self._clocks = monotonic(), time()

    def after(self, before: "Moment") -> float:
        """Seconds that may have passed; more where the clock jumped."""
        return max(abs(a - b) for a, b in zip(self._clocks, before._clocks, strict=True))


def lasting(look: Callable[[], Sighting], quiet: int) -> Callable[[], Sighting]:
    """Done once the look has been so more than `quiet` times in a row."""
    done = 0

    def again() -> Sighting:
        nonlocal done
        seen = look()
        done = done + 1 if seen.done else 0
        return Sighting(done > quiet, seen.summary)

    return again


def outlasting(
    look: Callable[[], Sighting], beat: Callable[[], None] = lambda: None
) -> Callable[[], Sighting]:
    """`look`, after `beat`: an outage that either meets is a sight like any other.

    But Locked ends the wait: a lease that was lost is somebody else's by now.
    """

    def seen() -> Sighting:
        try:
            beat()
            return look()
        except Locked:
            raise
        except Transient as error:
            return Sighting(done=False, summary=str(error))

    return seen


def wait_until(
    what: str, look: Callable[[], Sighting], *, seconds: float, every: float = 0.5
) -> Sighting:
    """Look until it is done; when time is up, say what was last seen.

    `seconds` and `every` are seconds of the monotonic clock, so that a step of the wall clock
    neither shortens nor lengthens the wait. What has taken a minute is looked at less often.
    Raises TimedOut.
    """
    begun = monotonic()
    deadline = begun + seconds
    last = ""
    while not (seen := look()).done:
        if monotonic() >= deadline:
            raise TimedOut(f"{what} is not there after {seconds:g} s: {seen.summary}")
        if seen.summary != last:
            log.info("waiting for %s: %s", what, seen.summary)
            last = seen.summary
        sleep(every if monotonic() - begun < _OFTEN else _SELDOM * every)
    return seen


def persisting(what: str, act: Callable[[], _T], *, seconds: float, every: float = 2) -> _T:
    """What `act` gives, also when an outage meets it first: it is repeated, and has to bear that.

    TimedOut when it meets one for so many seconds; `what` names what is there once it is done. A
    wait of its own that came to its end has taken all the time that it may.
    """
    given: list[_T] = []

    def look() -> Sighting:
        try:
            given.append(act())
        except (Locked, TimedOut):
            raise
        except Transient as error:
            return Sighting(done=False, summary=str(error))
        return Sighting(done=True, summary=what)

    wait_until(what, look, seconds=seconds, every=every)
    return given[0]
