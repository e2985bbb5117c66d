"""Processes that belong to one state folder, whoever their parent is.

The supervisor marks all it starts with CLINICAL_AI_STATE, and flow runs inherit it. When the
supervisor itself is killed its processes live on; this is how they are found again.
"""

import os
from pathlib import Path
from time import monotonic, sleep

import psutil

from clinical_ai import names
from clinical_ai.change import Change, Did

_RUN_VARIABLE = "PREFECT__FLOW_RUN_ID"


def processes_of(root: Path) -> list[psutil.Process]:
    """Living processes of the platform in this state folder, except the caller's own line."""
    mine = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    return [process for process, _ in _marked(root) if process.pid not in mine]


def flow_runs_of(root: Path) -> set[str]:
    """Ids of the flow runs that have a living process here."""
    return {run for _, environment in _marked(root) if (run := environment.get(_RUN_VARIABLE))}


def stop_processes(root: Path, *, seconds: float = 10) -> list[Change]:
    """None of them is left: asked first, PostgreSQL by its fast shutdown, then killed."""
    found = processes_of(root)
    for process in found:
        _ask_to_end(process)
    for process in _left_after(seconds, found):
        process.kill()
    _left_after(seconds, found)
    return [Change(f"process {process.pid}", Did.STOPPED, "left over") for process in found]


def _left_after(seconds: float, processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those that still run when the time is up; one that nobody reaps has ended all the same."""
    deadline = monotonic() + seconds
    while (left := [process for process in processes if _runs(process)]) and monotonic() < deadline:
        sleep(0.05)
    return left


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _marked(root: Path) -> list[tuple[psutil.Process, dict[str, str]]]:
    found = []
    for process in psutil.process_iter():
        try:
            environment = process.environ()
        except (psutil.Error, OSError):
            continue  # somebody else's, or gone meanwhile
        if environment.get(names.STATE_VARIABLE) == str(root) and _started_by_supervisor(
            environment
        ):
            found.append((process, environment))
    return found


def _started_by_supervisor(environment: dict[str, str]) -> bool:
    """An operator's shell may carry the variable too; only the supervisor's mark counts."""
    return "CLINICAL_AI_SPEC" in environment or "CLINICAL_AI_SUPERVISOR" in environment


def _ask_to_end(process: psutil.Process) -> None:
    try:
        if process.name().startswith("postgres"):
            process.send_signal(2)
        else:
            process.terminate()
    except psutil.NoSuchProcess:
        return


def is_supervisor(pid: int) -> bool:
    """Whether a process runs supervisord's code: itself, or a child that has no other yet."""
    try:
        return any("supervisord" in word for word in psutil.Process(pid).cmdline())
    except psutil.Error:
        return False
