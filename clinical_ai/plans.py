"""What a roll has done so far, and what is next: pure decisions over a small journal."""

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from clinical_ai.change import Change, Did


class Stage(StrEnum):
    """Where a roll stands; each stage may be repeated after a crash."""

    PLANNED = "planned"
    HELD = "held"
    CHANGED = "changed"
    DONE = "done"
    GAVE_UP = "gave up"


@dataclass(frozen=True)
class Journal:
    """One roll: why, which processes, what was found before, how it ended.

    `paused_before`: pool name to whether it was paused; set before the first pool is held, so that
    whoever finishes the roll can restore it. `reported`: a flow run has told it.
    """

    id: str
    reason: str
    started: str
    stage: Stage = Stage.PLANNED
    processes: tuple[str, ...] = ()
    paused_before: dict[str, bool] = field(default_factory=dict)
    outcome: str = ""
    reported: bool = False

    @property
    def open(self) -> bool:
        """Whether somebody has to finish it."""
        return self.stage not in {Stage.DONE, Stage.GAVE_UP}

    def planned(self, changes: list[Change]) -> "Journal":
        """Which processes are to change; an earlier attempt's list is kept, it may have begun."""
        names = tuple(change.what for change in changes if change.wrote)
        return replace(self, processes=self.processes or names)

    def held(self, paused_before: dict[str, bool]) -> "Journal":
        """The pools were held; an earlier attempt's finding wins over this one's."""
        return replace(
            self, stage=Stage.HELD, paused_before=self.paused_before or dict(paused_before)
        )

    def changed(self, changes: list[Change]) -> "Journal":
        """The processes run with their new specs."""
        names = tuple(change.what for change in changes if change.wrote)
        return replace(self, stage=Stage.CHANGED, processes=names or self.processes)

    def ended(self, stage: Stage, outcome: str) -> "Journal":
        """Nothing is left to do."""
        return replace(self, stage=stage, outcome=outcome)

    def told(self) -> "Journal":
        """A run has reported it."""
        return replace(self, reported=True)

    def to_dict(self) -> dict[str, Any]:
        """What the file holds."""
        return {**self.__dict__, "stage": self.stage.value, "processes": list(self.processes)}


def from_dict(raw: dict[str, Any]) -> Journal:
    """The journal a file holds; KeyError, TypeError or ValueError when it is damaged."""
    return Journal(
        **{
            **raw,
            "stage": Stage(raw["stage"]),
            "processes": tuple(raw["processes"]),
            "paused_before": dict(raw.get("paused_before", {})),
        }
    )


def needs_hold(changes: list[Change]) -> bool:
    """Whether running work would be harmed: something that runs is to be replaced."""
    return any(
        change.did is Did.UPDATED and change.detail == "its spec changed" for change in changes
    )


def pools_to_restore(journal: Journal) -> list[str]:
    """Pools that the roll itself paused."""
    return sorted(name for name, paused in journal.paused_before.items() if not paused)
