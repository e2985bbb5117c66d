"""What self-management costs in a cluster when nothing happens: CPU, and rows that Prefect keeps.

The node is this machine: what pods used is read from its control groups, those that have ended
included. Nothing else may run in the cluster meanwhile.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from benchmarks.cluster_install import fresh_site
from benchmarks.imports import Row
from clinical_ai import names
from clinical_ai.steps.cluster.workers import pods_of
from clinical_ai.steps.runs import run_to_end
from tests.support.cluster_site import ClusterSite

_USAGE: Final = "cpuacct.usage"
_ALL: Final = Path("/sys/fs/cgroup/cpuacct/kubepods")
_DAY: Final = 86_400
_HOUR: Final = 3600
_SETTLING: Final = 120  # seconds: what runs leave is done by then, the wait for silence, too
# By default once an hour, and once a day.
_RUNS: Final[tuple[tuple[str, dict[str, Any], int], ...]] = (
    (names.DEPLOY_SELF, {"drift_check": True}, 24),
    (names.REGISTER, {"report_only": True}, 24),
    (names.VERIFY, {}, 1),
)
_ROWS: Final = (
    "select coalesce(sum((xpath('/row/n/text()', query_to_xml(format("
    "'select count(*) as n from %I.%I', schemaname, tablename), false, true, '')))"
    "[1]::text::bigint), 0) from pg_tables where schemaname = 'prefect'"
)


def measure(seconds: int) -> list[Row]:
    """One platform at rest for so long, then each run that its schedules start."""
    with fresh_site("bench-rest") as site:
        site.up()
        site.quiet_schedules()
        time.sleep(_SETTLING)
        [worker] = pods_of(site.api, names.PLATFORM_WORKER)
        own = next(_ALL.rglob(f"pod{worker['metadata']['uid']}"))
        all_of_it, rows, worker_used = _during(site, lambda: time.sleep(seconds), own)
        cpu_rate, row_rate = all_of_it / seconds, rows / seconds
        cpu, kept = worker_used / seconds * _DAY, row_rate * _DAY
        for name, parameters, times in _RUNS:
            started = time.monotonic()
            used, rows, _ = _during(site, _run(site, name, parameters), own)
            lasted = time.monotonic() - started
            cpu += times * (used - cpu_rate * lasted)
            kept += times * (rows - row_rate * lasted)
    return [
        Row("CPU of self-management in an hour, of one core's", cpu / 24, _HOUR, 0.05),
        Row("rows that a day leaves in Prefect's database", kept, 20_000, 1.0, "rows"),
    ]


def _run(site: ClusterSite, name: str, parameters: dict[str, Any]) -> Callable[[], object]:
    def run() -> None:
        with site.reach() as api:
            assert run_to_end(api, name, parameters, seconds=_HOUR).completed  # noqa: S101
        time.sleep(_SETTLING)  # its events are stored by then

    return run


def _during(site: ClusterSite, work: Callable[[], object], own: Path) -> tuple[float, int, float]:
    """CPU seconds of all pods, rows that came, and CPU seconds of that pod, meanwhile."""
    before = _seconds(_ALL), int(site.sql(_ROWS)), _seconds(own)
    work()
    after = _seconds(_ALL), int(site.sql(_ROWS)), _seconds(own)
    return after[0] - before[0], after[1] - before[1], after[2] - before[2]


def _seconds(group: Path) -> float:
    return int((group / _USAGE).read_text()) / 1e9
