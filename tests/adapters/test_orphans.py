"""Processes of one state folder are found by the supervisor's marks, whoever their parent is."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread
from time import sleep

import psutil
import pytest

from clinical_ai.adapters.orphans import flow_runs_of, processes_of, stop_processes
from clinical_ai.change import Did

_WAIT = "import sys; print('ready', flush=True); sys.stdin.read()"
_PAUSE = "import signal; print('ready', flush=True); signal.pause()"
_STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + _WAIT
_TELLS = (
    "import os, signal\n"
    # A signal may come while `ready` is still being printed, and a print in a print is an error.
    "def tell(number, _): os.write(1, signal.Signals(number).name.encode()); os._exit(0)\n"
    "for one in (signal.SIGINT, signal.SIGTERM): signal.signal(one, tell)\n"
) + _WAIT
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a process with these variables, of the state folder `tmp_path` unless told."""
    started: list[subprocess.Popen[str]] = []

    def begin(
        *, code: str = _WAIT, program: str = sys.executable, **marks: str
    ) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [program, "-c", code],
            env={"PATH": os.environ["PATH"], "CLINICAL_AI_STATE": str(tmp_path), **marks},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def last_word(process: "subprocess.Popen[str]") -> str:
    """What it said after `ready`, to its end."""
    assert process.stdout
    return process.stdout.read().strip()


def test_both_of_the_supervisors_marks_count_and_a_shell_has_none(
    start: Start, tmp_path: Path
) -> None:
    ours = [
        start(code=_TELLS, CLINICAL_AI_SPEC="0123"),
        start(code=_TELLS, CLINICAL_AI_SUPERVISOR="1"),
    ]
    shell = start()
    assert {process.pid for process in processes_of(tmp_path)} == {one.pid for one in ours}
    stopped = stop_processes(tmp_path)
    assert {(change.what, change.did) for change in stopped} == {
        (f"process {one.pid}", Did.STOPPED) for one in ours
    }
    assert [last_word(one) for one in ours] == ["SIGTERM"] * 2
    assert shell.poll() is None


def test_another_platforms_processes_are_left_alone(start: Start, tmp_path: Path) -> None:
    beside = start(CLINICAL_AI_STATE=f"{tmp_path}-2", CLINICAL_AI_SPEC="x")
    below = start(CLINICAL_AI_STATE=f"{tmp_path}/below", CLINICAL_AI_SPEC="x")
    assert processes_of(tmp_path) == []
    assert stop_processes(tmp_path) == []
    assert beside.poll() is below.poll() is None


def test_a_child_whose_parent_died_is_still_found(start: Start, tmp_path: Path) -> None:
    code = (
        "import subprocess, sys\n"
        f"child = subprocess.Popen([sys.executable, '-c', {_PAUSE!r}])\n"
        "sys.stdin.read()"
    )
    parent = start(code=code, CLINICAL_AI_SPEC="x")
    (child,) = psutil.Process(parent.pid).children()
    parent.kill()
    parent.wait()
    found = {process.pid for process in processes_of(tmp_path)}
    assert found == {child.pid}
    stop_processes(tmp_path)
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE
    assert processes_of(tmp_path) == []


def test_one_that_ignores_the_question_is_killed(start: Start, tmp_path: Path) -> None:
    stubborn = start(code=_STUBBORN, CLINICAL_AI_SPEC="x")
    assert len(stop_processes(tmp_path, seconds=0.2)) == 1
    assert last_word(stubborn) == ""
    assert stubborn.wait() == -signal.SIGKILL


def test_one_that_has_ended_and_nobody_reaps_is_not_waited_for(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []
    monkeypatch.setattr(
        "clinical_ai.adapters.orphans.sleep", lambda s: (waited.append(s), sleep(s))
    )
    start(code=_TELLS, CLINICAL_AI_SPEC="x")
    stop_processes(tmp_path, seconds=60)
    assert sum(waited) < 30


def test_postgresql_is_asked_for_its_fast_shutdown(start: Start, tmp_path: Path) -> None:
    # A name that starts with `postgres`, as the kernel tells it, is that of the program's file.
    (postgres := tmp_path / "postgres").symlink_to(os.path.realpath(sys.executable))
    database = start(code=_TELLS, program=str(postgres), CLINICAL_AI_SPEC="x")
    other = start(code=_TELLS, CLINICAL_AI_SPEC="x")
    stop_processes(tmp_path)
    assert last_word(database) == "SIGINT"
    assert last_word(other) == "SIGTERM"


def test_flow_runs_with_a_living_process_are_known_by_their_id(
    start: Start, tmp_path: Path
) -> None:
    run = start(CLINICAL_AI_SPEC="x", PREFECT__FLOW_RUN_ID="run-1")
    start(CLINICAL_AI_SPEC="x")
    start(PREFECT__FLOW_RUN_ID="of somebody's shell")
    assert flow_runs_of(tmp_path) == {"run-1"}
    run.kill()
    run.wait()
    assert flow_runs_of(tmp_path) == set()


def test_who_asks_and_its_parents_are_never_stopped(start: Start, tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path\n"
        "from clinical_ai.adapters.orphans import processes_of, stop_processes\n"
        f"stop_processes(Path({str(tmp_path)!r})); print('ready', flush=True); sys.stdin.read()"
    )
    other = start(code=_TELLS, CLINICAL_AI_SPEC="x")
    reaper = Thread(target=other.wait)  # its parent is this test, not the system's first process
    reaper.start()
    asking = start(code=code, CLINICAL_AI_SPEC="x", PYTHONPATH=":".join(sys.path))
    assert asking.poll() is None
    reaper.join(5)
    assert last_word(other) == "SIGTERM"
