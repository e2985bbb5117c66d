"""One change at a time, and nobody waits for a dead one."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread

import pytest

from clinical_ai.adapters.change_lock import change_lock
from clinical_ai.errors import NeedsOperator
from clinical_ai.waiting import Sighting, wait_until

_HOLD = (
    "import sys; from pathlib import Path\n"
    "from clinical_ai.adapters.change_lock import change_lock\n"
    "with change_lock(Path(sys.argv[1]), 'make up'):\n"
    "    print('held', flush=True); sys.stdin.read()\n"
)
Holder = Callable[[], "subprocess.Popen[str]"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "change.lock"


@pytest.fixture
def holder(path: Path) -> Iterator[Holder]:
    """Starts another process that has the lock until its input ends."""
    started: list[subprocess.Popen[str]] = []

    def start() -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, "-c", _HOLD, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def taken(path: Path, *, seconds: float = 0) -> str:
    with change_lock(path, "mine", seconds=seconds):
        return path.read_text()


def test_the_second_is_told_who_has_it_since_when_and_for_what(path: Path, holder: Holder) -> None:
    first = holder()
    with pytest.raises(NeedsOperator) as met:
        taken(path)
    since = json.loads(path.read_text())["since"]
    assert met.value.problem.startswith("another change is under way: make up by ")
    assert met.value.problem.endswith(f", process {first.pid}, since {since}")
    assert met.value.remedy == "wait until it has ended"


def test_a_killed_holder_is_no_holder(path: Path, holder: Holder) -> None:
    first = holder()
    first.kill()
    first.wait()
    told = json.loads(taken(path))
    assert (told["pid"], told["what"]) == (os.getpid(), "mine")


def test_who_asks_to_wait_gets_it_when_the_holder_ends(path: Path, holder: Holder) -> None:
    first = holder()
    got: list[str] = []
    waiter = Thread(target=lambda: got.append(taken(path, seconds=20)))
    waiter.start()
    assert not got
    first.communicate()
    waiter.join(20)
    assert json.loads(got[0])["pid"] == os.getpid()


def test_a_wait_for_a_holder_that_stays_ends(path: Path, holder: Holder) -> None:
    first = holder()
    with pytest.raises(NeedsOperator, match=f"process {first.pid}"):
        taken(path, seconds=0.1)
    assert first.poll() is None


def test_it_is_free_after_an_error_inside(path: Path) -> None:
    with pytest.raises(ZeroDivisionError), change_lock(path, "first"):
        raise ZeroDivisionError
    assert json.loads(taken(path))["what"] == "mine"


def test_a_shorter_note_leaves_nothing_of_a_longer_one(path: Path) -> None:
    with change_lock(path, "x" * 500):
        pass
    assert json.loads(taken(path))["what"] == "mine"


@pytest.mark.parametrize("note", [b"", b'{"pid": 1', b"{}", b"[]", b"7", b"\xff\0"])
def test_a_holder_whose_note_can_not_be_read_still_has_it(
    path: Path, holder: Holder, note: bytes
) -> None:
    holder()
    path.write_bytes(note)
    with pytest.raises(NeedsOperator, match="another change is under way: its holder is just"):
        taken(path)


def test_a_user_without_a_name_is_told_by_number(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nameless() -> str:
        raise KeyError("getpwuid(): uid not found: 4711")

    monkeypatch.setattr("getpass.getuser", nameless)
    assert json.loads(taken(path))["who"] == f"uid {os.getuid()}"


def test_a_lock_that_was_given_back_tells_nobody(path: Path) -> None:
    taken(path)
    assert path.read_text() == ""


def test_two_platforms_do_not_know_of_each_other(path: Path, holder: Holder) -> None:
    holder()
    assert json.loads(taken(path.with_name("other.lock")))["what"] == "mine"


def test_a_child_does_not_inherit_the_lock(path: Path) -> None:
    with change_lock(path, "first"):
        child = subprocess.Popen(
            [sys.executable, "-c", "import sys; print(1, flush=True); sys.stdin.read()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            close_fds=False,
        )
        assert child.stdout
        child.stdout.readline()
    try:
        wait_until("the lock", lambda: Sighting(bool(taken(path)), "free"), seconds=0)
    finally:
        child.communicate()


def test_only_its_owner_reads_it_and_a_folder_that_is_not_there_is_told(path: Path) -> None:
    taken(path)
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(NeedsOperator, match="can't be used: No such file"):
        taken(path.parent / "absent" / "lock")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root shares with another user")
def test_what_root_locks_the_service_user_can_lock_later(path: Path) -> None:
    os.chown(path.parent, 65534, 65534)
    taken(path)
    assert (path.stat().st_uid, path.stat().st_gid) == (65534, 65534)
