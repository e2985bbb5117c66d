"""Two families of errors: wait and try again, or a person must act."""

from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


class PlatformError(Exception):
    """Base of every error this project raises; printed without a backtrace."""


class Transient(PlatformError):  # noqa: N818 - named for what should happen next
    """May heal by itself: an outage, a time-out, a lock that somebody holds."""


class TimedOut(Transient):
    """A wait had an end and reached it; the text tells what was last seen."""


class StillRunning(TimedOut):
    """Runs, or a migration, went on for longer than a change may wait, which is no fault of it."""


class Locked(Transient):
    """Somebody else holds what this needs; it is free again when they have ended."""


class NeedsOperator(PlatformError):  # noqa: N818 - named for what should happen next
    """Will not heal by itself; `remedy` says what a person can do."""

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(problem, remedy)
        self.problem = problem
        self.remedy = remedy

    def __str__(self) -> str:
        return " ".join(_sentence(part) for part in (self.problem, self.remedy) if part)


def _sentence(text: str) -> str:
    """The text, ended once."""
    return text if text.endswith((".", "?", "!")) else f"{text}."


class ManyFaults(PlatformError):  # noqa: N818 - named for what should happen next
    """Several things are wrong at once; all are told, each with its remedy."""

    def __init__(self, faults: list[NeedsOperator]) -> None:
        super().__init__(faults)
        self.faults = faults

    def __str__(self) -> str:
        return "\n".join(f"- {fault}" for fault in self.faults)


def all_found(looks: "Iterable[Callable[[], str]]") -> list[str]:
    """What each look found; ManyFaults with what all of them hold against it, at once."""
    faults: list[NeedsOperator] = []
    found: list[str] = []
    for look in looks:
        try:
            found.append(look())
        except ManyFaults as many:
            faults += many.faults
        except NeedsOperator as fault:
            faults.append(fault)
    if faults:
        raise ManyFaults(faults)
    return found


def nearest(wrong: str, known: "Iterable[str]") -> str:
    """A sentence that offers the nearest valid name, or lists them all."""
    names = sorted(known)
    close = get_close_matches(wrong, names, n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"known are: {', '.join(names)}" if names else "none is known yet"
