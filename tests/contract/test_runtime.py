"""What every Runtime promises, on a fake and on a real supervisor with small processes."""

import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import mkdtemp

import psutil
import pytest

from clinical_ai import names
from clinical_ai.adapters.orphans import processes_of
from clinical_ai.adapters.supervisor import SupervisorRuntime, owner_of
from clinical_ai.change import Did
from clinical_ai.errors import NeedsOperator, Transient
from clinical_ai.ports import ProcessSpec, Runtime
from clinical_ai.state_folder import StateFolder
from clinical_ai.waiting import Sighting, wait_until
from tests.support.fakes import FakeRuntime

_SLEEP = "while True: __import__('time').sleep(1)"
_NOBODY = (65534, 65534)


@pytest.fixture
def state() -> Iterator[StateFolder]:
    root = Path(mkdtemp(prefix="cai-rt ", dir="/tmp"))
    root.chmod(0o755)
    found = StateFolder(root)
    for folder in found.owned():
        folder.mkdir()
        if os.geteuid() == 0:
            os.chown(folder, *_NOBODY)
    yield found
    supervised(found).stop_all()
    shutil.rmtree(root)


def supervised(state: StateFolder) -> SupervisorRuntime:
    user = _NOBODY if os.geteuid() == 0 else None
    return SupervisorRuntime(state, sys.executable, user)


@pytest.fixture(params=["fake", "supervisor"])
def runtime(request: pytest.FixtureRequest) -> Runtime:
    if request.param == "fake":
        return FakeRuntime()
    return supervised(request.getfixturevalue("state"))


def spec(name: str, mark: str = "a") -> ProcessSpec:
    return ProcessSpec(
        name, (sys.executable, "-c", _SLEEP, mark), {names.STATE_VARIABLE: "set by a test"}
    )


def once() -> ProcessSpec:
    return ProcessSpec(names.ROLL, (sys.executable, "-c", "pass"), one_shot=True)


def pids(runtime: Runtime) -> dict[str, int | None]:
    return {status.name: status.pid for status in runtime.processes() if status.running}


def test_nothing_runs_before_anything_is_wanted(runtime: Runtime) -> None:
    assert runtime.processes() == []
    assert [change.did for change in runtime.plan([spec("one")])] == [Did.CREATED]
    assert runtime.processes() == []


def test_what_is_wanted_runs_and_wanting_it_again_changes_nothing(runtime: Runtime) -> None:
    wanted = [spec(names.SERVER), spec(names.WORKER), once()]
    assert {change.did for change in runtime.ensure(wanted)} == {Did.CREATED}
    before = pids(runtime)
    assert {names.SERVER, names.WORKER} <= before.keys()
    assert {change.did for change in runtime.ensure(wanted)} == {Did.UNCHANGED}
    assert pids(runtime) == before


def test_only_the_process_whose_spec_changed_is_restarted(runtime: Runtime) -> None:
    runtime.ensure([spec(names.SERVER), spec(names.WORKER)])
    changes = runtime.ensure([spec(names.SERVER), spec(names.WORKER, "b")])
    assert [(change.what, change.did) for change in changes] == [
        (names.SERVER, Did.UNCHANGED),
        (names.WORKER, Did.UPDATED),
    ]
    assert {change.did for change in runtime.plan([spec(names.WORKER, "b")])} == {Did.UNCHANGED}


def test_one_more_process_leaves_those_that_run_alone(runtime: Runtime) -> None:
    runtime.ensure([spec(names.SERVER)])
    before = pids(runtime)[names.SERVER]
    changes = runtime.ensure([spec(names.SERVER), spec(names.WORKER)])
    assert [change.did for change in changes] == [Did.UNCHANGED, Did.CREATED]
    after = pids(runtime)
    assert after.keys() == {names.SERVER, names.WORKER}
    assert after[names.SERVER] == before


def test_a_process_that_was_stopped_runs_again_when_it_is_wanted(runtime: Runtime) -> None:
    wanted = [spec(names.SERVER), spec(names.WORKER)]
    runtime.ensure(wanted)
    runtime.stop(names.WORKER)
    assert pids(runtime).keys() == {names.SERVER}
    assert [change.wrote for change in runtime.plan(wanted)] == [False, True]
    assert [change.wrote for change in runtime.ensure(wanted)] == [False, True]
    assert pids(runtime).keys() == {names.SERVER, names.WORKER}


def test_a_plan_changes_nothing(runtime: Runtime) -> None:
    runtime.ensure([spec(names.SERVER)])
    before = pids(runtime)
    wanted = [spec(names.SERVER, "b"), spec(names.WORKER)]
    for _ in range(2):
        assert [change.did for change in runtime.plan(wanted)] == [Did.UPDATED, Did.CREATED]
    assert pids(runtime) == before


def test_since_when_and_as_what_a_process_runs_is_told(runtime: Runtime) -> None:
    runtime.ensure([spec(names.SERVER)])
    status = runtime.processes()[0]
    assert (status.name, status.running) == (names.SERVER, True)
    assert status.since is not None
    assert abs((datetime.now(UTC) - status.since).total_seconds()) < 60


def test_stop_all_leaves_nothing(runtime: Runtime) -> None:
    runtime.ensure([spec(names.SERVER), spec(names.WORKER)])
    stopped = {change.what for change in runtime.stop_all()}
    assert {names.SERVER, names.WORKER} <= stopped
    assert runtime.processes() == []


def test_a_killed_process_is_started_again(state: StateFolder) -> None:
    runtime = supervised(state)
    runtime.ensure([spec(names.SERVER)])
    before = pids(runtime)[names.SERVER]
    psutil.Process(before).kill()
    look = lambda: Sighting(pids(runtime).get(names.SERVER) not in {None, before}, "not yet")  # noqa: E731
    wait_until("a new process", look, seconds=20)


def test_after_the_supervisor_was_killed_nothing_runs_twice(state: StateFolder) -> None:
    runtime = supervised(state)
    wanted = [marked(spec(names.SERVER), state), marked(spec(names.WORKER), state)]
    runtime.ensure(wanted)
    orphans = set(pids(runtime).values())
    found = lambda: {process.pid for process in processes_of(state.root)}  # noqa: E731
    look = lambda: Sighting(orphans <= found(), "not all have begun")  # noqa: E731
    wait_until("each process to have its own environment", look, seconds=20, every=0.05)
    supervisor = next(p for p in processes_of(state.root) if "supervisord" in str(p.cmdline()))
    supervisor.kill()
    supervisor.wait(10)
    assert runtime.processes() == []
    assert orphans <= found()
    runtime.ensure(wanted)
    assert pids(runtime).keys() == {names.SERVER, names.WORKER}
    assert not orphans & found()


def marked(wanted: ProcessSpec, state: StateFolder) -> ProcessSpec:
    return replace(wanted, environment={names.STATE_VARIABLE: str(state.root)})


def test_a_one_shot_runs_when_it_is_started_and_is_not_kept_alive(state: StateFolder) -> None:
    runtime, ran = supervised(state), state.record / "ran"
    code = f"open({str(ran)!r}, 'a').write('x')"
    runtime.ensure([ProcessSpec(names.ROLL, (sys.executable, "-c", code), one_shot=True)])
    assert not ran.exists()
    runtime.start(names.ROLL)
    wait_until("its end", lambda: Sighting(ran.exists() and not pids(runtime), "runs"), seconds=20)
    assert ran.read_text() == "x"


def test_a_process_that_does_not_exist_is_told(state: StateFolder) -> None:
    runtime = supervised(state)
    runtime.ensure([spec(names.SERVER)])
    with pytest.raises(NeedsOperator, match="the supervisor refused startProcess"):
        runtime.start("nothing")
    runtime.start(names.SERVER)
    runtime.stop(names.SERVER)
    runtime.stop(names.SERVER)
    assert pids(runtime) == {}
    assert [c.detail for c in runtime.ensure([spec(names.SERVER)])] == ["it was not running"]
    assert pids(runtime).keys() == {names.SERVER}


def test_a_process_that_is_no_longer_wanted_is_ended_with_the_next_change(
    state: StateFolder,
) -> None:
    runtime = supervised(state)
    runtime.ensure([spec(names.SERVER), spec(names.WORKER)])
    gone = pids(runtime)[names.WORKER]
    runtime.ensure([spec(names.SERVER, "b")])
    assert pids(runtime).keys() == {names.SERVER}
    assert gone not in {process.pid for process in processes_of(state.root)}


def test_processes_run_as_the_folders_owner_and_not_as_root(state: StateFolder) -> None:
    runtime = supervised(state)
    runtime.ensure([spec(names.SERVER)])
    pid = pids(runtime)[names.SERVER]
    assert psutil.Process(pid).uids().effective == state.run.stat().st_uid
    assert owner_of(state.run) == (_NOBODY if os.geteuid() == 0 else None)


def test_a_supervisor_that_does_not_answer_is_no_reason_to_fail_a_look(state: StateFolder) -> None:
    runtime = supervised(state)
    state.socket.write_text("not a socket")
    assert runtime.processes() == []
    with pytest.raises(Transient, match="the supervisor does not answer"):
        runtime.start(names.SERVER)
    runtime.ensure([spec(names.SERVER)])
    assert pids(runtime).keys() == {names.SERVER}
