"""What a step did: the log line, the report's row and the test's assertion."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum


class Did(StrEnum):
    """How an `ensure_` step ended."""

    CREATED = "created"
    UPDATED = "updated"
    UNCHANGED = "unchanged"
    REMOVED = "removed"
    STOPPED = "stopped"
    DRIFTED = "drifted"  # and left to somebody with more rights
    TIDIED = "tidied"  # what was left over, and no settings name
    LEFT_OVER = "left over"  # the same, and still there


@dataclass(frozen=True)
class Change:
    """One thing that a step looked at, and what became of it.

    `detail` fits on a line, and never holds a secret or a clinical value.
    """

    what: str
    did: Did
    detail: str = ""

    @property
    def details(self) -> list[str]:
        """All that there is to say of it, for a report: `detail` may leave some out."""
        return [self.detail] if self.detail else []

    @property
    def wrote(self) -> bool:
        """Whether something was written of what settings name."""
        return self.differs and self.did is not Did.DRIFTED

    @property
    def differs(self) -> bool:
        """Whether it was not as wanted."""
        return self.did is not Did.UNCHANGED and not self.leftover

    @property
    def leftover(self) -> bool:
        """Whether it is nothing that anybody wants otherwise: no drift, gone by now or not."""
        return self.did in {Did.TIDIED, Did.LEFT_OVER}

    @property
    def contested(self) -> bool:
        """Whether something of it was left to somebody else, who wants it otherwise."""
        return False

    @property
    def left(self) -> bool:
        """Whether something of it is not as wanted, and stays so: whoever asked has to know."""
        return self.contested or self.did is Did.DRIFTED

    def __str__(self) -> str:
        return f"{self.what}: {self.did}" + (f" ({self.detail})" if self.detail else "")


# Called with each change as soon as it is made: what raises later gives none back.
Note = Callable[[Change], None]


def unnoted(_change: Change) -> None:
    """The note of those who take none."""
