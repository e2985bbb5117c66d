"""Every wait has an end, and tells what it sees."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic, sleep

from clinical_ai.errors import Locked, TimedOut, Transient

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sighting:
    """What one look saw, and whether the wait is over."""

    done: bool
    summary: str


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
    neither shortens nor lengthens the wait. Raises TimedOut.
    """
    deadline = monotonic() + seconds
    last = ""
    while not (seen := look()).done:
        if monotonic() >= deadline:
            raise TimedOut(f"{what} is not there after {seconds:g} s: {seen.summary}")
        if seen.summary != last:
            log.info("waiting for %s: %s", what, seen.summary)
            last = seen.summary
        sleep(every)
    return seen
