"""What deploy/self does about processes, its own worker and server among them."""

from collections.abc import Sequence

from clinical_ai import names
from clinical_ai.change import Change
from clinical_ai.plans import Stage
from clinical_ai.ports import ProcessSpec, Runtime
from clinical_ai.steps.roll import JournalKeeper, new_journal


def hand_over(
    runtime: Runtime, keeper: JournalKeeper, specs: Sequence[ProcessSpec]
) -> list[Change]:
    """Start the detached roll when a process is to change; it waits for this run to end.

    A flow that restarts its own worker or the server it talks to destroys itself, so the roll is
    a one-shot of the supervisor. The next run of deploy/self reports it.
    """
    plan = runtime.plan(specs)
    if not any(change.wrote for change in plan):
        return plan
    last = keeper.find_journal()
    if last is None or not last.open:
        keeper.write_journal(new_journal("deploy/self"))
    runtime.start(names.ROLL)
    return [
        change
        if not change.wrote
        else Change(change.what, change.did, f"{change.detail}; the roll restarts it next")
        for change in plan
    ]


def report_last_roll(keeper: JournalKeeper) -> str:
    """How the last roll ended, the first time it is asked; empty when there is nothing new."""
    journal = keeper.find_journal()
    if journal is None or journal.reported or journal.open:
        return ""
    keeper.write_journal(journal.told())
    how = "" if journal.stage is Stage.DONE else "gave up: "
    return f"The roll of {journal.started} ({journal.reason}): {how}{journal.outcome}."
