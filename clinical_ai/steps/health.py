"""Waits until the parts of the platform answer."""

from typing import Final

from clinical_ai import names
from clinical_ai.errors import NeedsOperator, PlatformError, Transient
from clinical_ai.ports import Database, PrefectApi, Runtime
from clinical_ai.steps.orchestration import find_workers, worker_of
from clinical_ai.waiting import Sighting, wait_until

_MOST_STARTS: Final = 3


def await_database(database: Database, *, seconds: float = 60) -> None:
    """`SELECT 1` is answered."""

    def look() -> Sighting:
        try:
            database.query("select 1")
        except Transient as error:
            return Sighting(done=False, summary=str(error))
        return Sighting(done=True, summary="answers")

    wait_until("the database", look, seconds=seconds, every=0.1)


def await_api(api: PrefectApi, runtime: Runtime, *, seconds: float = 120) -> None:
    """Prefect answers and reaches its database.

    Raises NeedsOperator at once when the server's process ends again and again.
    """
    pids: set[int] = set()

    def look() -> Sighting:
        try:
            api.get("/ready")
        except Transient as error:
            _watch(runtime, pids)
            return Sighting(done=False, summary=str(error))
        return Sighting(done=True, summary="ready")

    wait_until("Prefect's API", look, seconds=seconds, every=0.25)


def _watch(runtime: Runtime, pids: set[int]) -> None:
    for process in runtime.processes():
        if process.name == names.SERVER and process.pid:
            pids.add(process.pid)
    if len(pids) > _MOST_STARTS:
        raise NeedsOperator(
            f"{names.SERVER} ends as often as it is started", f"read {names.SERVER}.log"
        )


def await_workers(api: PrefectApi, *, seconds: float = 120) -> None:
    """The worker of each pool is online and polls."""

    def look() -> Sighting:
        missing = []
        for pool in (names.POOL, names.PLATFORM_POOL):
            try:
                online = {
                    row["name"] for row in find_workers(api, pool) if row["status"] == "ONLINE"
                }
            except PlatformError as error:
                return Sighting(done=False, summary=str(error))
            if worker_of(pool) not in online:
                missing.append(worker_of(pool))
        return Sighting(done=not missing, summary=f"not online: {', '.join(missing)}")

    wait_until("the workers", look, seconds=seconds, every=0.25)
