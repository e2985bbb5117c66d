"""What a person at a terminal may do in the middle of an `up`."""

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from clinical_ai.adapters.change_lock import change_lock
from clinical_ai.state_folder import StateFolder
from tests.support.measured import python
from tests.support.platform import CHECKOUT, Site


def until(process: "subprocess.Popen[str]", step: str) -> None:
    """Read what it says, up to the line of this step."""
    assert process.stdout
    for line in process.stdout:
        if f" s  {step} " in line:
            return
    raise AssertionError(process.communicate())


@pytest.mark.platform
def test_the_second_of_two_ups_says_who_runs_the_first_and_the_first_goes_on(site: Site) -> None:
    first = site.start("up")
    try:
        until(first, "state folder")  # it holds the lock from here on
        os.killpg(first.pid, signal.SIGSTOP)
        second = site.run("up")
    finally:
        os.killpg(first.pid, signal.SIGCONT)
    _, said = first.communicate()
    assert second.returncode == 1
    assert "another change is under way: make up by" in second.stderr
    assert f"process {first.pid}" in second.stderr
    assert "wait until it has ended" in second.stderr
    assert first.returncode == 0, said


@pytest.mark.platform
def test_an_interrupted_up_says_so_in_one_sentence_and_the_platform_stays_up(site: Site) -> None:
    stopped = site.start("up")
    until(stopped, "state folder")
    os.killpg(stopped.pid, signal.SIGINT)
    _, said = stopped.communicate()
    assert stopped.returncode == 130
    assert "interrupted; run it again" in said
    assert "Traceback" not in said
    assert json.loads(site.run("status", "--json").stdout)["healthy"]
    site.up()


def test_nothing_is_removed_while_somebody_changes_the_platform(tmp_path: Path) -> None:
    state = StateFolder(tmp_path / "state")
    state.run.mkdir(parents=True)
    words = ("-m", "clinical_ai.cli", "destroy", "--yes", "--state", str(state.root))
    with change_lock(state.lock, "make up"):
        done = subprocess.run(
            python(*words), cwd=CHECKOUT, capture_output=True, text=True, check=False
        )
    assert done.returncode == 1
    assert "another change is under way: make up by" in done.stderr
    assert state.lock.exists()
