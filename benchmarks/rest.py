"""CPU and memory at rest, against PostgreSQL, server and two plain workers."""

import contextlib
import time

import psutil

from benchmarks import by_hand
from benchmarks.imports import Row
from benchmarks.up import PORT, Place
from clinical_ai.adapters.orphans import processes_of


def measure(seconds: int) -> list[Row]:
    """Both at once, so that noise meets both; proportional memory where the system tells it."""
    with Place(PORT + 9) as place, by_hand._folder() as root, contextlib.ExitStack() as running:
        place.up()
        database = by_hand._database(root, running)
        by_hand._prefect(root, running, database)
        time.sleep(30)  # both have to come to rest first
        ours = _with_children(processes_of(place.root / "state"))
        theirs = _with_children(psutil.Process().children())
        before = _cpu(ours), _cpu(theirs)
        time.sleep(seconds)
        cpu = _cpu(ours) - before[0], _cpu(theirs) - before[1]
        memory = _memory(ours), _memory(theirs)
    return [
        Row(f"CPU at rest in {seconds} s", *cpu, 1.3),
        Row("memory at rest", *memory, 1.3, "MB"),
    ]


def _with_children(roots: list[psutil.Process]) -> list[psutil.Process]:
    found = {process.pid: process for process in roots}
    for root in roots:
        found |= {child.pid: child for child in root.children(recursive=True)}
    return list(found.values())


def _cpu(processes: list[psutil.Process]) -> float:
    return sum(sum(process.cpu_times()[:2]) for process in processes if process.is_running())


def _memory(processes: list[psutil.Process]) -> float:
    return (
        sum(
            getattr(process.memory_full_info(), "pss", process.memory_info().rss)
            for process in processes
            if process.is_running()
        )
        / 1e6
    )
