"""Lock, release and records of one machine's state folder."""

import os
import shutil
import signal
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clinical_ai import names
from clinical_ai.adapters.change_lock import change_lock
from clinical_ai.adapters.files import write_atomically
from clinical_ai.adapters.journal_file import StateFiles
from clinical_ai.adapters.local_postgres import data_version, ensure_programs
from clinical_ai.adapters.local_release import (
    ensure_release,
    find_python,
    find_versions,
    release_hash,
)
from clinical_ai.adapters.orphans import processes_of, stop_processes
from clinical_ai.adapters.rendered import find_rendered
from clinical_ai.adapters.service_user import ensure_service_user, find_service_user
from clinical_ai.change import Change, Did
from clinical_ai.errors import ManyFaults, NeedsOperator
from clinical_ai.instance import Instance, find_instance, get_instance
from clinical_ai.manifests.release import content_hash
from clinical_ai.plans import Journal, Stage, from_dict, needs_hold
from clinical_ai.settings import Development
from clinical_ai.state_folder import StateFolder

PYTHON = Path(os.path.realpath(sys.executable))


@pytest.fixture
def state(tmp_path: Path) -> StateFolder:
    found = StateFolder(tmp_path / "state")
    for folder in (found.root, found.releases, found.postgres, *found.owned()):
        folder.mkdir(exist_ok=True)
    return found


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "checkout"
    (folder / "flows").mkdir(parents=True)
    (folder / "flows" / "one.py").write_text("ONE = 1\n")
    (folder / "prefect.yaml").write_text("name: x\n")
    pins = "".join(f"{name}=={version(name)} \\\n" for name in ("idna", "typing-extensions"))
    (folder / "requirements.lock").write_text(pins + "absent==1 ; sys_platform == 'win32'\n")
    return folder


def test_the_second_holder_is_told_who_has_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with (
        change_lock(path, "first"),
        pytest.raises(NeedsOperator, match=rf"first by .*, process {os.getpid()}, since"),
        change_lock(path, "second"),
    ):
        pass
    with change_lock(path, "third"):
        assert "third" in path.read_text()


def test_a_killed_holder_leaves_the_lock_free(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path\n"
        "from clinical_ai.adapters.change_lock import change_lock\n"
        "with change_lock(Path(sys.argv[1]), 'child'):\n"
        "    print('held', flush=True); time.sleep(60)\n"
    )
    path = tmp_path / "lock"
    command = [sys.executable, "-c", code, str(path)]
    holder = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert holder.stdout
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(NeedsOperator, match="child by"), change_lock(path, "me"):
        pass
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with change_lock(path, "me", seconds=5):
        pass


def test_a_lock_in_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(NeedsOperator, match="can't be used"), change_lock(tmp_path / "a/b", "me"):
        pass


def test_a_full_disk_leaves_the_old_file_whole(small_disk: Path) -> None:
    path = small_disk / "record"
    write_atomically(path, "old")
    with pytest.raises(NeedsOperator, match="free some disk space"):
        write_atomically(path, "x" * 1_000_000)
    assert path.read_text() == "old"
    assert [entry.name for entry in small_disk.iterdir()] == ["record"]


def test_a_release_is_made_once_and_the_checkout_can_not_change_it(
    state: StateFolder, checkout: Path
) -> None:
    name, made = ensure_release(state, checkout, PYTHON, None)
    code = state.releases / name / "code" / "flows" / "one.py"
    assert made.did is Did.CREATED
    assert ensure_release(state, checkout, PYTHON, None) == (
        name,
        Change(f"release {name}", Did.UNCHANGED),
    )
    with (checkout / "flows" / "one.py").open("a") as file:
        file.write("ONE = 2\n")
    assert code.read_text() == "ONE = 1\n"
    assert release_hash(checkout, PYTHON) != name
    package = next((state.releases / name).glob("venv/lib/*/site-packages/idna/__init__.py"))
    assert not (code.stat().st_mode | package.stat().st_mode) & 0o222
    assert find_versions(state.releases / name)["prefect"] == version("prefect")
    ran = subprocess.run(
        [
            state.releases / name / "venv/bin/python",
            "-c",
            "import idna, flows.one as o; print(o.ONE)",
        ],
        capture_output=True,
        text=True,
        check=True,
        cwd="/",
    )
    assert ran.stdout == "1\n"


def test_a_release_that_a_kill_left_half_made_is_made_anew(
    state: StateFolder, checkout: Path
) -> None:
    left = state.releases / ".new.0123"
    (left / "code").mkdir(parents=True)
    ensure_release(state, checkout, PYTHON, None)
    assert not left.exists()


@pytest.mark.parametrize(
    ("pin", "told"),
    [
        ("idna==0.1", "package idna is .*, the lock says 0.1"),
        ("no-such-package==1", "no-such-package is not installed"),
    ],
)
def test_an_environment_that_does_not_fit_the_lock_is_refused(
    state: StateFolder, checkout: Path, pin: str, told: str
) -> None:
    (checkout / "requirements.lock").write_text(f"{pin} \\\n")
    with pytest.raises(NeedsOperator, match=told):
        ensure_release(state, checkout, PYTHON, None)
    assert list(state.releases.iterdir()) == []


def test_a_python_that_does_not_run_is_told(state: StateFolder, checkout: Path) -> None:
    broken = state.root / "python"
    broken.write_text("#!/bin/false\n")
    broken.chmod(0o755)
    with pytest.raises(NeedsOperator, match="does not run"):
        ensure_release(state, checkout, broken, None)
    assert find_python(None) == PYTHON


def test_postgresqls_programs_are_there_once(state: StateFolder) -> None:
    assert ensure_programs(state).did is Did.CREATED
    assert ensure_programs(state).did is Did.UNCHANGED
    assert data_version(state) is None


def test_what_a_state_folder_remembers_comes_back(state: StateFolder) -> None:
    files = StateFiles(state)
    assert (files.find_journal(), files.find_applied(), files.ledger()) == (None, None, [])
    journal = Journal("1", "test", "now").held({"default": True})
    files.write_journal(journal)
    files.write_applied(Development(worker_concurrency=8))
    files.write_ledger({"n": 1})
    with state.ledger.open("a") as file:
        file.write('{"n": 2, "cut')
    files.write_ledger({"n": 3})
    assert files.find_journal() == journal
    assert files.find_applied() == Development(worker_concurrency=8)
    assert files.ledger() == [{"n": 1}, {"n": 3}]


def test_damaged_records_are_refused_and_never_guessed(state: StateFolder) -> None:
    files = StateFiles(state)
    for text in ("[]", "{", '{"id": 1}'):
        state.journal.write_text(text)
        with pytest.raises(NeedsOperator, match="is damaged"):
            files.find_journal()
    state.applied.write_text('{"log-level": "LOUD"}')
    with pytest.raises(ManyFaults, match="log-level"):
        files.find_applied()
    state.applied.unlink()
    state.applied.mkdir()
    with pytest.raises(NeedsOperator, match="can't be used"):
        files.find_applied()
    state.instance.write_text("{}")
    with pytest.raises(NeedsOperator, match="is damaged"):
        get_instance(state)
    (state.root / "rendered.json").write_text("{")
    with pytest.raises(NeedsOperator, match="is damaged"):
        find_rendered(state.root)


def test_a_state_folder_of_somebody_else_is_told(nobodys_folder: Path) -> None:
    state = StateFolder(nobodys_folder)
    state.record.mkdir()
    state.record.chmod(0)
    with pytest.raises(NeedsOperator, match="belongs to another user"):
        find_instance(state)


def test_no_platform_is_told_with_the_command_that_makes_one(state: StateFolder) -> None:
    with pytest.raises(NeedsOperator, match="run `make up` first"):
        get_instance(state)
    assert (
        Instance(
            api_url="http://h/api",
            auth=True,
            database_port=1,
            worker_health_port=2,
            platform_worker_health_port=3,
            release="r",
        ).ui_url
        == "http://h"
    )


def test_only_marked_processes_of_this_folder_are_found_and_stopped(state: StateFolder) -> None:
    ours = {names.STATE_VARIABLE: str(state.root), "CLINICAL_AI_SPEC": "x"}
    shell = {names.STATE_VARIABLE: str(state.root)}
    command = [sys.executable, "-c", "import time; print(1, flush=True); time.sleep(60)"]
    started = [
        subprocess.Popen(command, env={**os.environ, **marks}, stdout=subprocess.PIPE)
        for marks in (ours, shell)
    ]
    for process in started:
        assert process.stdout
        process.stdout.readline()
    assert [found.pid for found in processes_of(state.root)] == [started[0].pid]
    assert [change.did for change in stop_processes(state.root)] == [Did.STOPPED]
    assert started[0].poll() is not None
    assert psutil.pid_exists(started[1].pid)
    started[1].kill()
    started[1].wait()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root installs for another user")
def test_root_has_a_user_of_its_own_for_what_runs() -> None:
    user = ensure_service_user()
    assert user is not None
    assert 0 not in user
    assert ensure_service_user() == user == find_service_user()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes somebody else")
def test_an_ordinary_user_runs_it_as_himself(nobodys_folder: Path) -> None:
    assert find_service_user() is None
    assert ensure_service_user() is None


@given(st.dictionaries(st.text(min_size=1), st.binary(), max_size=6), st.text(max_size=6))
def test_a_releases_name_follows_from_its_content_alone(
    files: dict[str, bytes], python: str
) -> None:
    pairs = list(files.items())
    assert content_hash(pairs, python) == content_hash(reversed(pairs), python)
    assert content_hash([*pairs, ("one more", b"")], python) != content_hash(pairs, python)
    for name in files:
        other = {**files, name: files[name] + b"."}
        assert content_hash(other.items(), python) != content_hash(pairs, python)


@given(
    st.sampled_from(list(Stage)),
    st.dictionaries(st.text(), st.booleans(), max_size=3),
    st.lists(st.text(), max_size=3),
)
def test_a_journal_comes_back_from_its_file_as_it_was(
    stage: Stage, paused: dict[str, bool], changed: list[str]
) -> None:
    journal = Journal("id", "why", "when", stage, tuple(changed), paused, "how")
    assert from_dict(journal.to_dict()) == journal
    assert journal.held({"x": True}).paused_before == (paused or {"x": True})
    assert journal.ended(Stage.DONE, "so").told().reported
    assert journal.open == (stage not in {Stage.DONE, Stage.GAVE_UP})


def test_only_replacing_what_runs_needs_a_hold() -> None:
    assert not needs_hold(
        [Change("a", Did.CREATED), Change("b", Did.UPDATED, "it was not running")]
    )
    assert needs_hold([Change("b", Did.UPDATED, "its spec changed")])


def test_a_folder_can_be_removed_again(state: StateFolder, checkout: Path) -> None:
    ensure_release(state, checkout, PYTHON, None)
    shutil.rmtree(state.root)
    assert not state.root.exists()
