"""While a worker or the server is replaced pools hand out no run; no kill holds one for good."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from clinical_ai import names
from clinical_ai.errors import Locked, PlatformError, TimedOut
from clinical_ai.manifests.orchestration import hold_automation
from clinical_ai.plans import Journal, Stage, pools_to_restore
from clinical_ai.ports import PrefectApi
from clinical_ai.ports_cluster import Cluster
from clinical_ai.steps.cluster.break_glass import guarded
from clinical_ai.steps.cluster.ensure import Guard
from clinical_ai.steps.cluster.lease import cluster_lease
from clinical_ai.steps.cluster.records import Records
from clinical_ai.steps.orchestration import ensure_automation, has_acted, remove_automation
from clinical_ai.steps.roll import drain, hold, lift, new_journal
from clinical_ai.steps.runs import runs_in
from clinical_ai.waiting import Sighting, lasting, outlasting, wait_until

log = logging.getLogger(__name__)

# Seconds without a run: an answer to a worker may be on the way, and the server be slow.
_QUIET: Final = 10
_TO_BEGIN: Final = 60
_BEGUN: Final = 2  # the same for runs that are to begin only: they are pending a request later
_TO_ANSWER: Final = 60  # a port that is forwarded moves to the next server's pod


@contextmanager
def holding(
    records: Records,
    api: PrefectApi,
    pools: Sequence[str],
    why: str,
    settle: Callable[[], None],
    run: str,
) -> Iterator[None]:
    """Pools' earlier pause states are in the journal before they are paused, so a kill loses none.

    `settle` waits for what has to come to its end first, once they are. Who is killed, or may not
    write any more, leaves the pools held, which the journal tells to whoever goes on. Where a flow
    run holds them, of this id, Prefect opens them at that run's end: none that could do so begins.
    """
    found = {pool: it for pool in pools if (it := api.get(f"/work_pools/{pool}"))}
    remove_automation(api, names.HOLD_AUTOMATION)  # a run that was killed may have left its own
    journal = new_journal(why).held({pool: bool(it["is_paused"]) for pool, it in found.items()})
    records.write_journal(journal)
    try:
        ours = pools_to_restore(journal)
        if run and ours:
            ids = [str(found[pool]["id"]) for pool in ours]
            ensure_automation(api, hold_automation(ids, run))
        hold(api, ours)
        settle()
        yield
    except BaseException:
        try:
            _lift(records, api, journal, "lifted")
        except PlatformError as error:  # it hides nothing; the journal is open
            told = ", ".join(pools)
            log.error("%s held until the next run: %s", told, error)  # noqa: TRY400
        raise
    _await_answer(api)
    _lift(records, api, journal, "lifted")


def drain_worker(api: PrefectApi, pool: str, drain_seconds: float, guard: Guard) -> None:
    """Runs of the clinical pool are processes of its worker, and end before that is replaced.

    Those of the platform's pool are Jobs, which live on without theirs once they have begun. One
    that its worker has taken and made no Job of yet would be lost with it.
    """
    if pool == names.POOL:
        drain(api, [pool], drain_seconds, guard, quiet=_QUIET)
    else:
        await_beginnings(api, [pool], guard)


def await_beginnings(api: PrefectApi, pools: Sequence[str], guard: Guard) -> None:
    """Runs that a worker has taken have begun, before it or the server is replaced.

    A slot that one was given by a server is not known to the next, which cancels a run that would
    begin. Not for ever: a pod may wait for a node.
    """

    def look() -> Sighting:
        rows = [row["name"] for pool in pools for row in runs_in(api, pool, ("PENDING",))]
        return Sighting(not rows, f"about to begin: {', '.join(rows[:5])}")

    try:
        begun = outlasting(lasting(look, _BEGUN), guard)
        wait_until("runs to begin", begun, seconds=_TO_BEGIN, every=1)
    except TimedOut as error:
        log.warning("goes on all the same: %s", error)


def _await_answer(api: PrefectApi) -> None:
    """Prefect answers, if it does in time; if not, lifting tells why, which takes nothing back.

    The server may just have been replaced, and what was connected to that of before is cut.
    """

    def look() -> Sighting:
        return Sighting(api.get("/ready") is not None, "what answers is not Prefect")

    try:
        wait_until("Prefect's API", outlasting(look), seconds=_TO_ANSWER)
    except TimedOut as error:
        log.warning("%s", error)


def finish_hold(records: Records, api: PrefectApi) -> None:
    """Pools that a killed run left held are open again; for whoever holds the lease."""
    if (journal := find_open(records)) is None:
        return
    if is_held(api, journal):
        _lift(records, api, journal, "was interrupted; the next run lifted it")
    else:
        _close(records, api, journal, "was interrupted; its pool was open, or is paused by hand")


def finish_abandoned_hold(cluster: Cluster, api: PrefectApi, who: str) -> None:
    """The same for whoever starts a run of deploy/self, which a held pool would never hand out.

    One whose holder lives is its own affair. Writes nothing, no lease either, without a hold.
    `api`: guarded.
    """
    if find_open(Records(cluster)) is None:
        return
    try:
        with cluster_lease(cluster, who) as lease:
            finish_hold(Records(cluster, guarded(cluster, lease.renew)), api)
    except Locked as error:
        log.info("its pools stay held: %s", error)


def find_open(records: Records) -> Journal | None:
    """The journal of a hold that nobody has ended."""
    journal = records.find_journal()
    return journal if journal is not None and journal.open else None


def is_held(api: PrefectApi, journal: Journal) -> bool:
    """Whether a pool is paused by this hold.

    Once Prefect has opened it at the end of its run, a pause that is found is a person's. That the
    run has ended says less: Prefect may not have come to it yet, or have been away just then.
    """
    found = [api.get(f"/work_pools/{name}") for name in pools_to_restore(journal)]
    paused = any(pool["is_paused"] for pool in found if pool)
    return paused and not has_acted(api, names.HOLD_AUTOMATION)


def _lift(records: Records, api: PrefectApi, journal: Journal, outcome: str) -> None:
    lift(api, pools_to_restore(journal))
    _close(records, api, journal, outcome)


def _close(records: Records, api: PrefectApi, journal: Journal, outcome: str) -> None:
    """The automation goes last: while the journal is open, it tells whose a pause is."""
    records.write_journal(journal.ended(Stage.DONE, outcome))
    remove_automation(api, names.HOLD_AUTOMATION)
