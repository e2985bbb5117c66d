"""Restart what changed without losing a run: hold, drain, change, prove, release."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from secrets import token_hex
from typing import Any, Final, Protocol

from clinical_ai import names
from clinical_ai.change import Change, Did
from clinical_ai.errors import PlatformError, StillRunning, TimedOut
from clinical_ai.plans import Journal, Stage, needs_hold, pools_to_restore
from clinical_ai.ports import PrefectApi, ProcessSpec, Runtime
from clinical_ai.steps.health import await_api
from clinical_ai.steps.runs import runs_in
from clinical_ai.waiting import Sighting, lasting, outlasting, wait_until

log = logging.getLogger(__name__)

QUIET: Final = 2  # seconds without a run, on one machine


class JournalKeeper(Protocol):
    """Where the journal outlives whoever writes it."""

    def find_journal(self) -> Journal | None:
        """The last roll, or None."""

    def write_journal(self, journal: Journal) -> None:
        """The journal is safe when this returns."""


def new_journal(reason: str) -> Journal:
    """A roll that nothing was done for yet."""
    return Journal(id=token_hex(6), reason=reason, started=datetime.now(UTC).isoformat())


@dataclass(frozen=True)
class Reach:
    """What a roll talks to. The API may move: `before` is where it was, `after` where it will be.

    `check` raises when this machine can't run with the settings; `arrived` is called once the
    processes were changed, and makes `after` known to everybody.
    """

    before: PrefectApi
    after: PrefectApi
    runtime: Runtime
    keeper: JournalKeeper
    check: Callable[[], object]
    arrived: Callable[[], object]


def roll(
    reach: Reach, journal: Journal, specs: Sequence[ProcessSpec], *, drain_seconds: float
) -> list[Change]:
    """The processes run with these specs, and no running work was cut.

    Safe to repeat after a crash at any point: the journal remembers which pools were paused
    before. When work does not end within `drain_seconds`, nothing is changed, the hold is lifted
    and StillRunning tells what still ran.
    """
    keeper = reach.keeper
    plan = reach.runtime.plan(specs)
    journal = journal.planned(plan)
    keeper.write_journal(journal)
    try:
        reach.check()
        if needs_hold(plan):
            journal = journal.held(journal.paused_before or find_paused(reach.before))
            keeper.write_journal(journal)
            hold(reach.before, pools_to_restore(journal))
            drain(reach.before, list(journal.paused_before), drain_seconds)
    except PlatformError as error:
        lift(reach.before, pools_to_restore(journal))
        keeper.write_journal(journal.ended(Stage.GAVE_UP, str(error)))
        raise
    changes = reach.runtime.ensure(specs)
    journal = journal.changed(changes)
    keeper.write_journal(journal)
    reach.arrived()
    await_api(reach.after, reach.runtime)
    lift(reach.after, pools_to_restore(journal))
    restarted = ", ".join(journal.processes)
    outcome = f"restarted {restarted}" if restarted else "nothing had to restart"
    keeper.write_journal(journal.ended(Stage.DONE, outcome))
    return changes


def finish_roll(api: PrefectApi, keeper: JournalKeeper) -> list[Change]:
    """Pools that a killed roll left held are open again; call it while no roll is under way."""
    journal = keeper.find_journal()
    if journal is None or not journal.open:
        return []
    lift(api, pools_to_restore(journal))
    keeper.write_journal(journal.ended(Stage.DONE, "was interrupted; `make up` finished it"))
    return [Change(f"roll {journal.id}", Did.UPDATED, "was interrupted, finished")]


def hold(api: PrefectApi, pools: Sequence[str]) -> None:
    """No worker takes a new run from these pools; what runs goes on."""
    for pool in pools:
        api.patch(f"/work_pools/{pool}", {"is_paused": True})


def lift(api: PrefectApi, pools: Sequence[str]) -> None:
    """Workers take runs from these pools again."""
    for pool in pools:
        api.patch(f"/work_pools/{pool}", {"is_paused": False})


def drain(
    api: PrefectApi,
    pools: Sequence[str],
    seconds: float,
    beat: Callable[[], None] = lambda: None,
    *,
    quiet: int = QUIET,
) -> None:
    """Nothing runs in these held pools any more; StillRunning names what still does.

    A run that waits for its retry, or is paused, ends with its process too, and is waited for.
    A worker that asked just before they were held may have taken runs that nobody sees yet: they
    are pending two requests later. So none is seen for `quiet` seconds. `beat` is called at each
    look, as for a lease that must not run out meanwhile.
    """

    def look() -> Sighting:
        running = [_told(row) for pool in pools for row in runs_in(api, pool)]
        told = f"running: {', '.join(running[:5])}" if running else "nothing runs just now"
        return Sighting(done=not running, summary=told)

    # Twice, since a look takes its time, or meets an outage: with `seconds` of 0 a single one that
    # sees nothing would end the wait, and blame runs that are not there.
    what, longest = "the end of running work", seconds + 2 * quiet
    try:
        wait_until(what, outlasting(lasting(look, quiet), beat), seconds=longest, every=1)
    except TimedOut as error:
        raise StillRunning(
            f"{error}; their worker was not replaced: wait, resume what is paused or cancel these "
            "runs, or raise drain-seconds"
        ) from None


def _told(row: Mapping[str, Any]) -> str:
    state = row["state_name"]
    return str(row["name"] if state == "Running" else f"{row['name']} ({state})")


def find_paused(api: PrefectApi) -> dict[str, bool]:
    """Whether each of the platform's pools is paused; a pool that is not there yet is left out."""
    found = {name: api.get(f"/work_pools/{name}") for name in (names.PLATFORM_POOL, names.POOL)}
    return {name: bool(pool["is_paused"]) for name, pool in found.items() if pool}
