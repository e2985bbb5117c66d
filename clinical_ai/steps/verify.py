"""Every check of the guide that has a meaning on one machine, each with its evidence."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Protocol

from clinical_ai import names
from clinical_ai.errors import ManyFaults, NeedsOperator, PlatformError, TimedOut, Transient
from clinical_ai.ports import Database, ObjectStore, PrefectApi, Runtime
from clinical_ai.settings import Development, Production
from clinical_ai.steps.canary import Flown, fly_canary
from clinical_ai.steps.catalog import ensure_catalog
from clinical_ai.steps.health import offline_workers
from clinical_ai.steps.runs import lost_runs, read_deployment_rows

POOLS: Final = (names.POOL, names.PLATFORM_POOL)
_CANARIES: Final = {names.POOL: names.CANARY, names.PLATFORM_POOL: names.PLATFORM_CANARY}
_PROBE: Final = "verify.probe"
CANARIES: Final = "canary runs"  # the name of that check


class SharedParts(Protocol):
    """What of a platform is looked at, wherever it runs."""

    @property
    def settings(self) -> Development | Production:
        """The settings block, parsed."""

    @property
    def api(self) -> PrefectApi:
        """Prefect's API."""

    @property
    def database(self) -> Database:
        """`cai_data`."""

    @property
    def prefect_database(self) -> Database:
        """Prefect's schema, as Prefect's role."""

    @property
    def storage(self) -> ObjectStore:
        """The object store."""

    @property
    def rendered(self) -> dict[str, Any]:
        """What the release registers."""

    @property
    def repair(self) -> str:
        """What brings the platform to its settings: a command, or a deployment to run."""

    def find_ui(self) -> str | None:
        """The title of the page the UI serves, or None."""


class Parts(SharedParts, Protocol):
    """And on one machine."""

    @property
    def runtime(self) -> Runtime:
        """The supervised processes."""

    def living_runs(self) -> set[str]:
        """Ids of the flow runs with a process."""

    def worker_answers(self, name: str) -> bool:
        """Whether the health check of the worker with this name says that it polls."""


@dataclass(frozen=True)
class Result:
    """One row of the table. `remedy` is empty when the check passed.

    `shown` off: nothing is wrong, and what the check is for could not be shown.
    """

    check: str
    passed: bool
    evidence: str
    remedy: str = ""
    shown: bool = True


class NotShown(PlatformError):  # noqa: N818 - no fault of what is looked at
    """A check could not show what it is for, and nothing is wrong."""


def verify_platform(parts: Parts) -> list[Result]:
    """All checks, in the order in which one depends on another; none stops the next."""
    return [run(check, partial(look, parts), parts.repair) for check, look in CHECKS]


def run(check: str, look: Callable[[], str], repair: str) -> Result:
    """What the check found, or why it failed."""
    try:
        return Result(check, passed=True, evidence=look())
    except NotShown as error:
        return Result(check, passed=True, evidence=str(error), shown=False)
    except ManyFaults as error:
        problems = "; ".join(fault.problem for fault in error.faults)
        return Result(check, passed=False, evidence=problems, remedy=error.faults[0].remedy)
    except NeedsOperator as error:
        return Result(check, passed=False, evidence=error.problem, remedy=error.remedy)
    except TimedOut as error:
        return Result(check, passed=False, evidence=str(error), remedy="read the logs it names")
    except Transient as error:
        return Result(
            check, passed=False, evidence=str(error), remedy=f"wait a moment, then run {repair}"
        )


def _processes(parts: Parts) -> str:
    found = {status.name: status for status in parts.runtime.processes()}
    wanted = (names.POSTGRES, names.SERVER, names.PLATFORM_WORKER, names.WORKER)
    missing = [name for name in wanted if name not in found or not found[name].running]
    if missing:
        raise NeedsOperator(f"not running: {', '.join(missing)}", "run `make up`")
    return ", ".join(f"{name} (pid {found[name].pid})" for name in wanted)


def _health(parts: SharedParts) -> str:
    _demand_answer(parts, "/health")
    return f"/api/health answers, version {parts.api.get('/admin/version')}"


def _ready(parts: SharedParts) -> str:
    _demand_answer(parts, "/ready")
    return "/api/ready answers: the server reaches its database"


def _demand_answer(parts: SharedParts, path: str) -> None:
    if parts.api.get(path) is None:
        raise NeedsOperator(f"what answers does not know /api{path}", f"run {parts.repair}")


def _database(parts: SharedParts) -> str:
    rows = parts.database.query(
        "select current_database() as name, current_setting('server_version') as version"
    )
    return f"SELECT 1 in {rows[0]['name']}, PostgreSQL {rows[0]['version']}"


def _revision(parts: SharedParts) -> str:
    rows = parts.prefect_database.query(
        f"select version_num from {names.PREFECT_SCHEMA}.alembic_version"
    )
    wanted = parts.rendered["revision"]
    found = rows[0]["version_num"] if rows else "none"
    if found != wanted:
        raise NeedsOperator(
            f"database revision {found}, this release needs {wanted}",
            "when it is the older one, as after a backup was restored, `make down` and `make up`, "
            "in a cluster `up` of this release, migrate it; else run the release that made it, or "
            "a newer one",
        )
    return f"revision {found}"


def _schema(parts: SharedParts) -> str:
    rows = parts.prefect_database.query(
        "select count(*) as n, pg_catalog.pg_get_userbyid(min(nspowner::int)::oid) as owner "
        "from pg_class join pg_namespace s on s.oid = relnamespace "
        "where nspname = %s and relkind = 'r'",
        [names.PREFECT_SCHEMA],
    )
    if not rows[0]["n"]:
        raise NeedsOperator(
            f"schema {names.PREFECT_SCHEMA} has no tables",
            "run `make up`, in a cluster bootstrap, which makes them",
        )
    return f"{rows[0]['n']} tables in schema {names.PREFECT_SCHEMA}, owner {rows[0]['owner']}"


def _pools(parts: SharedParts) -> str:
    told = []
    for name in POOLS:
        pool = parts.api.get(f"/work_pools/{name}")
        if pool is None:
            raise NeedsOperator(f"work pool {name} does not exist", f"run {parts.repair}")
        if pool["is_paused"]:
            raise NeedsOperator(
                f"work pool {name} is paused", f"resume it: prefect work-pool resume {name}"
            )
        told.append(f"{name} ({pool['type']}, limit {pool['concurrency_limit']})")
    return ", ".join(told)


def _workers(parts: Parts) -> str:
    offline = offline_workers(parts.api, parts.worker_answers)
    if offline:
        raise NeedsOperator(
            f"not online: {', '.join(offline)}", "read the worker's log, then run `make up`"
        )
    return ", ".join(names.WORKERS[pool] for pool in POOLS)


def _queue(parts: SharedParts) -> str:
    queue = parts.api.get(f"/work_pools/{names.POOL}/queues/{names.QUEUE}")
    if queue is None:
        raise NeedsOperator(
            f"work queue {names.QUEUE} of pool {names.POOL} does not exist",
            f"prefect work-queue create {names.QUEUE} --pool {names.POOL}",
        )
    if queue["is_paused"]:
        raise NeedsOperator(
            f"work queue {names.QUEUE} is paused",
            f"prefect work-queue resume {names.QUEUE} --pool {names.POOL}",
        )
    return f"{names.POOL}/{names.QUEUE}, priority {queue['priority']}"


def _storage(parts: SharedParts) -> str:
    buckets = parts.storage.buckets()
    if not buckets:
        raise NeedsOperator("the storage has no bucket", "create one, or run `make up`")
    token = b"verify"
    parts.storage.put(buckets[0], _PROBE, token)
    try:
        with parts.storage.open(buckets[0], _PROBE) as stream:
            if stream.read() != token:
                raise NeedsOperator("what was written reads back differently", "check the storage")
    finally:
        parts.storage.delete(buckets[0], _PROBE)
    return f"{len(buckets)} bucket(s) listed, an object written, read and deleted"


def _tables(parts: SharedParts) -> str:
    for table in (names.SOURCES_TABLE, names.DESTINATIONS_TABLE):
        if not parts.database.query("select to_regclass(%s) as t", [table])[0]["t"]:
            raise NeedsOperator(
                f"table {table} does not exist", f"run {parts.repair}, which makes it"
            )
    ensure_catalog(parts.database, parts.settings)
    counts = [
        f"{table}: {parts.database.query(f'select count(*) as n from {table}')[0]['n']} rows"
        for table in (names.SOURCES_TABLE, names.DESTINATIONS_TABLE)
    ]
    return ", ".join(counts)


def _deployments(parts: SharedParts) -> str:
    """Ours are registered; everybody's name a pool and an entrypoint that exist."""
    pools = {row["name"] for row in parts.api.pages("/work_pools/filter")}
    known = read_deployment_rows(parts.api).values()
    ours = {(d["body"]["name"], d["body"]["entrypoint"]) for d in parts.rendered["deployments"]}
    missing = ours - {(row["name"], row["entrypoint"]) for row in known}
    if missing:
        told = ", ".join(sorted(name for name, _ in missing))
        raise NeedsOperator(f"not registered: {told}", f"run {parts.repair}, which registers them")
    lost = sorted(row["name"] for row in known if row["work_pool_name"] not in pools)
    if lost:
        raise NeedsOperator(
            f"deployments without a work pool: {', '.join(lost)}", "give them one of the pools"
        )
    return f"{len(known)} deployments, {len(ours)} of them the platform's"


def _runs(parts: Parts) -> str:
    living = parts.living_runs()
    lost = [row["name"] for pool in POOLS for row in lost_runs(parts.api, pool, living)]
    if lost:
        raise NeedsOperator(
            f"active without a process: {', '.join(lost)}",
            "wait two minutes: the zombie automation reports them as Crashed",
        )
    return f"{len(living)} run(s) with a process, none without"


def canaries(parts: SharedParts, lives: Callable[[str], bool] = lambda _: True) -> str:
    """One run through each pool at the same time: scheduled, taken, completed, read back.

    That a pool is paused, so that nothing can fly there, is told by a check of its own. One that is
    full is no fault, and shows nothing: NotShown. `lives`: whether the worker of that name does; a
    canary that is lost with one is flown once more.
    """

    def fly(of: str) -> Flown | None:
        return fly_canary(parts.api, now, of=of, lives=lives)

    now = parts.database.query("select now() as now")[0]["now"]
    paused = {
        pool for pool in POOLS if (parts.api.get(f"/work_pools/{pool}") or {}).get("is_paused")
    }
    going = {pool: of for pool, of in _CANARIES.items() if pool not in paused}
    with ThreadPoolExecutor(max_workers=len(POOLS)) as workers:
        flown = list(workers.map(fly, going.values()))
    told = [f"{pool}: {_flight(each)}" for pool, each in zip(going, flown, strict=True)] + [
        f"{pool}: paused, none flown" for pool in sorted(paused)
    ]
    evidence = f"scheduled, taken, completed, read back: {', '.join(told)}"
    if None in flown:
        raise NotShown(evidence)
    return evidence


def _flight(flown: Flown | None) -> str:
    if flown is None:
        return "full, none flown"
    again = f" (flown again: {flown.lost} was lost with its worker)" if flown.lost else ""
    return f"{flown.run.name} in {flown.seconds:.1f} s{again}"


def _ui(parts: SharedParts) -> str:
    title = parts.find_ui()
    if title is None:
        raise NeedsOperator(
            "the UI does not answer", f"read the server's log, then run {parts.repair}"
        )
    return f"the UI answers ({title})"


_OF_SERVER: Final[Sequence[tuple[str, Callable[[SharedParts], str]]]] = (
    ("API health", _health),
    ("API ready", _ready),
    ("database", _database),
    ("database revision", _revision),
    ("schema prefect", _schema),
    ("work pools", _pools),
)
CHECKS: Final[Sequence[tuple[str, Callable[[Parts], str]]]] = (
    ("processes run", _processes),
    *_OF_SERVER,
    ("workers online", _workers),
    ("work queue", _queue),
    ("storage", _storage),
    ("connector tables", _tables),
    ("deployments", _deployments),
    ("runs have processes", _runs),
    (CANARIES, canaries),
    ("UI", _ui),
)
# Of any runtime; what only one machine can tell is left out.
SHARED: Final[Sequence[tuple[str, Callable[[SharedParts], str]]]] = (
    *_OF_SERVER,
    ("work queue", _queue),
    ("connector tables", _tables),
    ("deployments", _deployments),
    ("UI", _ui),
)


def as_rows(results: Sequence[Result]) -> list[dict[str, Any]]:
    """The table for an artifact or a script."""
    return [
        {
            "check": result.check,
            "result": "passed" if result.passed else "FAILED",
            "evidence": result.evidence,
            "what to do": result.remedy,
        }
        for result in results
    ]


def from_rows(rows: Sequence[Mapping[str, Any]]) -> list[Result]:
    """What `as_rows` told."""
    return [
        Result(row["check"], row["result"] == "passed", row["evidence"], row["what to do"])
        for row in rows
    ]


def table(results: Sequence[Result]) -> list[str]:
    """The table for a terminal."""
    lines = []
    for result in results:
        lines.append(f"{'ok  ' if result.passed else 'FAIL'}  {result.check:<20} {result.evidence}")
        if not result.passed:
            lines.append(f"{'':26} what to do: {result.remedy}")
    failed = sum(not result.passed for result in results)
    lines.append(f"{len(results) - failed} passed, {failed} failed")
    return lines


def starts_no_run(results: Sequence[Result]) -> bool:
    """Whether a canary was flown and did not come through."""
    return any(each.check == CANARIES and not each.passed for each in results)


def sentence(results: Sequence[Result]) -> str:
    """The run's final message."""
    failed = [result.check for result in results if not result.passed]
    if failed:
        return f"failed: {', '.join(failed)}"
    missed = not_shown(results)
    rest = f", not shown: {', '.join(missed)}" if missed else ""
    return f"{len(results) - len(missed)} checks passed{rest}"


def not_shown(results: Sequence[Result]) -> list[str]:
    """Checks that could not show what they are for."""
    return [result.check for result in results if not result.shown]
