"""Progress for a person: one line a step, with what it found and what it changed."""

import sys
from collections.abc import Iterable
from time import monotonic

from clinical_ai.change import Change

_SHOWN = 3  # changes a line
_TAKE_BACK = "to take back what is left alone, delete the object and run this again, or keep it so"

_GREEN, _GREY, _RED, _PLAIN = "\033[32m", "\033[90m", "\033[31m", "\033[0m"


def _with_remedy(change: Change) -> str:
    """The change as a person reads it; with the way out when it is contested."""
    return f"{change}; {_TAKE_BACK}" if change.contested else str(change)


def field_by_field(change: Change) -> str:
    """The change with all of its details, each on a line of its own."""
    rest = [_TAKE_BACK] if change.contested else []
    return "\n    ".join([f"{change.what}: {change.did}", *change.details, *rest])


class Terminal:
    """Writes lines to standard output; colour only on a terminal."""

    def __init__(self) -> None:
        self._colour = sys.stdout.isatty()
        self._started = monotonic()

    def step(self, name: str, *changes: Change | Iterable[Change]) -> list[Change]:
        """One line for a step, from the changes it made, and one for each that it left to others.

        Gives those changes back.
        """
        flat = [
            change
            for group in changes
            for change in ([group] if isinstance(group, Change) else group)
        ]
        left = [change for change in flat if change.left]
        wrote = [change for change in flat if change.wrote and not change.left]
        if not wrote and not left:
            self.line(name, "unchanged", _GREY)
        if wrote:
            shown = [str(change) for change in wrote[:_SHOWN]]
            if len(wrote) > _SHOWN:
                shown.append(f"and {len(wrote) - _SHOWN} more")
            self.line(name, "; ".join(shown), _GREEN)
        for change in left:
            self.line(name, _with_remedy(change))
        return flat

    def line(self, name: str, text: str, colour: str = _PLAIN) -> None:
        """`name` and what there is to say about it, after the seconds since the start."""
        seconds = f"{monotonic() - self._started:6.1f} s"
        painted = self._paint(text, colour if self._colour else "")
        sys.stdout.write(f"{seconds}  {name:<20} {painted}\n")
        sys.stdout.flush()

    def note(self, text: str) -> None:
        """What happens meanwhile, on standard error: scripts read the other."""
        colour = _GREY if sys.stderr.isatty() else ""
        for line in text.splitlines():
            sys.stderr.write(f"{'':30} {self._paint(line, colour)}\n")
        sys.stderr.flush()

    def plain(self, text: str) -> None:
        """A line as it is."""
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()

    def fault(self, text: str) -> None:
        """What went wrong, on standard error."""
        painted = f"{_RED}{text}{_PLAIN}" if sys.stderr.isatty() else text
        sys.stderr.write(f"{painted}\n")

    def _paint(self, text: str, colour: str) -> str:
        return f"{colour}{text}{_PLAIN}" if colour else text
