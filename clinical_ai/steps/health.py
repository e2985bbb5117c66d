"""Waits until the parts of the platform answer."""

from collections.abc import Callable
from typing import Final

from clinical_ai import names
from clinical_ai.errors import NeedsOperator, PlatformError, TimedOut, Transient
from clinical_ai.ports import Database, PrefectApi, Runtime
from clinical_ai.steps.orchestration import find_workers
from clinical_ai.waiting import Sighting, outlasting, wait_until

_MOST_STARTS: Final = 3
_LASTING: Final = 15  # seconds


def await_database(database: Database, *, seconds: float = 60) -> None:
    """`SELECT 1` is answered."""

    def look() -> Sighting:
        database.query("select 1")
        return Sighting(done=True, summary="answers")

    wait_until("the database", outlasting(look), seconds=seconds, every=0.1)


def await_api(api: PrefectApi, runtime: Runtime, *, seconds: float = 120) -> None:
    """Prefect answers and reaches its database.

    Raises NeedsOperator at once when the server's process ends again and again.
    """
    pids: set[int] = set()

    def look() -> Sighting:
        try:
            ready = api.get("/ready") is not None
        except Transient as error:
            _watch(runtime, pids)
            return Sighting(done=False, summary=str(error))
        return Sighting(done=ready, summary="ready" if ready else "what answers is not Prefect")

    wait_until("Prefect's API", look, seconds=seconds, every=0.25)


def lacks_tables(api: PrefectApi) -> bool:
    """Whether Prefect reaches its database, and finds nothing of its own there.

    Neither /health nor /ready tells: a server is ready behind an empty database, and answers all
    else with 503, as it does when its database hesitates; so it has to last. It needs no restart
    once its tables are back.
    """

    def look() -> Sighting:
        if api.get("/ready") is None:
            return Sighting(done=True, summary="what answers is not Prefect")
        try:
            api.get(f"/work_pools/{names.POOL}")
        except Transient as error:
            return Sighting(done=False, summary=str(error))
        return Sighting(done=True, summary="it has tables")

    try:
        wait_until("Prefect to read its tables", look, seconds=_LASTING, every=1)
    except TimedOut:
        return True
    return False


def _watch(runtime: Runtime, pids: set[int]) -> None:
    processes = runtime.processes()
    if not processes:
        raise NeedsOperator(
            "the supervisor has ended", "see that the disk is not full, then run `make up` again"
        )
    for process in processes:
        if process.name == names.SERVER and process.pid:
            pids.add(process.pid)
    if len(pids) > _MOST_STARTS:
        raise NeedsOperator(
            f"{names.SERVER} ends as often as it is started", f"read {names.SERVER}.log"
        )


def await_workers(api: PrefectApi, answers: Callable[[str], bool], *, seconds: float = 120) -> None:
    """The worker of each pool answers and the server knows it. `answers`: see there."""

    def look() -> Sighting:
        try:
            offline = offline_workers(api, answers)
        except PlatformError as error:
            return Sighting(done=False, summary=str(error))
        return Sighting(done=not offline, summary=f"not online: {', '.join(offline)}")

    wait_until("the workers", look, seconds=seconds, every=0.25)


def offline_workers(api: PrefectApi, answers: Callable[[str], bool]) -> list[str]:
    """Workers that the server calls offline, or that do not answer themselves.

    The server calls a killed worker online for a minute and a half; so each is asked: `answers`
    takes the worker's name and tells whether its health check says that it polls.
    """
    offline = []
    for pool, name in names.WORKERS.items():
        online = {row["name"] for row in find_workers(api, pool) if row["status"] == "ONLINE"}
        if name not in online or not answers(name):
            offline.append(name)
    return offline
