"""CPU and memory at rest, against PostgreSQL, server and two plain workers."""

import contextlib
import time

import psutil

from benchmarks import by_hand
from benchmarks.imports import Row
from benchmarks.up import PORT, Place
from clinical_ai import names
from clinical_ai.adapters.orphans import processes_of

SETTLING = 30  # seconds: both have to come to rest first


def measure(seconds: int) -> list[Row]:
    """Both at once, so that noise meets both."""
    with Place(PORT + 9) as place, by_hand.folder() as root, contextlib.ExitStack() as running:
        place.up()
        # Rest: the hourly report of drift is not to begin meanwhile.
        place.platform().api.patch(f"/work_pools/{names.PLATFORM_POOL}", {"is_paused": True})
        by_hand.prefect_of(root, running, by_hand.database_of(root, running))
        time.sleep(SETTLING)
        both = (
            _with_children(processes_of(place.root / "state")),
            _with_children(psutil.Process().children()),
        )
        before = [_cpu(each) for each in both]
        time.sleep(seconds)
        ours, other = (_cpu(each) - used for each, used in zip(both, before, strict=True))
        return [
            Row(f"CPU at rest in {seconds} s", ours, other, 1.3),
            Row("memory at rest", _megabytes(both[0]), _megabytes(both[1]), 1.3, "MB"),
        ]


def _with_children(roots: list[psutil.Process]) -> list[psutil.Process]:
    found = {process.pid: process for process in roots}
    for root in roots:
        found |= {child.pid: child for child in root.children(recursive=True)}
    return list(found.values())


def _cpu(processes: list[psutil.Process]) -> float:
    return sum(sum(process.cpu_times()[:2]) for process in processes if process.is_running())


def _megabytes(processes: list[psutil.Process]) -> float:
    """Proportional set size: a page that processes share, as PostgreSQL's buffers, counts once."""
    told = [process.memory_full_info() for process in processes if process.is_running()]
    return sum(getattr(each, "pss", each.rss) for each in told) / 1e6
