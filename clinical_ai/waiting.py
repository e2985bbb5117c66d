"""Every wait has an end, and tells what it sees."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic, sleep

from clinical_ai.errors import TimedOut

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sighting:
    """What one look saw, and whether the wait is over."""

    done: bool
    summary: str


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
