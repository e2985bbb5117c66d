"""Commands that a person types where nothing is installed, or while all is well."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp

import pytest

from clinical_ai import names
from clinical_ai.plans import Stage
from tests.support.measured import python
from tests.support.platform import CHECKOUT, Site


def clinical_ai(*words: str, state: Path | None = None) -> "subprocess.CompletedProcess[str]":
    """The command line, to its end."""
    head, *rest = words
    place = ["--state", str(state)] if state else []
    return subprocess.run(
        python("-m", "clinical_ai.cli", head, *place, *rest),
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that everybody can enter, unlike those of pytest."""
    folder = Path(mkdtemp(prefix="cai-", dir="/tmp"))
    folder.chmod(0o755)
    yield folder
    rmtree(folder)


@pytest.mark.parametrize("command", ["status", "verify", "env", "psql", "roll"])
def test_without_a_platform_a_command_says_how_to_get_one(tmp_path: Path, command: str) -> None:
    done = clinical_ai(command, state=tmp_path / "nothing")
    assert done.returncode == 1
    assert "no platform is installed" in done.stderr
    assert "run `make up` first" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "nothing").exists()


def test_stopping_what_is_not_there_is_no_fault_and_removing_it_is(tmp_path: Path) -> None:
    assert clinical_ai("down", state=tmp_path / "nothing").returncode == 0
    gone = clinical_ai("destroy", "--yes", state=tmp_path / "nothing")
    assert gone.returncode == 1
    assert "no platform is installed" in gone.stderr


def test_a_folder_that_is_no_platforms_is_never_removed(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("ten years")
    done = clinical_ai("destroy", "--yes", state=tmp_path)
    assert done.returncode == 1
    assert "holds something else (thesis.tex)" in done.stderr
    assert (tmp_path / "thesis.tex").read_text() == "ten years"


def test_what_would_be_installed_is_told_before_it_is(open_folder: Path) -> None:
    done = clinical_ai("up", "--diff", "--port", "4998", state=open_folder / "nothing")
    assert (done.returncode, done.stderr) == (0, "")
    assert "nothing is installed, `make up` would install all" in done.stdout
    assert list(open_folder.iterdir()) == []


@pytest.mark.parametrize("words", [[], ["fly"], ["run", "only-a-source"], ["up", "--port", "x"]])
def test_a_wrong_command_line_is_answered_with_its_usage(words: list[str]) -> None:
    done = subprocess.run(
        python("-m", "clinical_ai.cli", *words),
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("usage: clinical-ai")


@pytest.mark.platform
def test_a_reader_who_has_had_enough_causes_no_backtrace(site: Site) -> None:
    line = subprocess.list2cmdline(site.command("status"))
    script = f"set -o pipefail; {line} | head -n 0"
    done = subprocess.run(
        ["/bin/bash", "-c", script], cwd=CHECKOUT, capture_output=True, text=True, check=False
    )
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr


@pytest.mark.platform
def test_a_roll_by_hand_with_nothing_to_change_restarts_nothing_and_holds_no_pool(
    site: Site,
) -> None:
    before = {process.name: process.pid for process in site.platform.runtime.processes()}
    done = site.run("roll")
    assert done.returncode == 0, done.stderr
    assert {line.rpartition(": ")[2] for line in done.stdout.splitlines()} == {"unchanged"}
    after = {process.name: process.pid for process in site.platform.runtime.processes()}
    assert after == before
    journal = site.platform.files.find_journal()
    assert journal is not None
    assert (journal.stage, journal.paused_before) == (Stage.DONE, {})


@pytest.mark.platform
def test_nothing_differs_from_the_checkout_right_after_up(site: Site) -> None:
    done = site.run("up", "--diff")
    assert done.returncode == 0, done.stderr
    assert {line.rpartition(": ")[2] for line in done.stdout.splitlines()} == {"unchanged"}


@pytest.mark.platform
def test_the_module_of_the_bootstrap_is_the_same_command(site: Site) -> None:
    done = subprocess.run(
        python("-m", "bootstrap", "--check"),
        cwd=CHECKOUT,
        env={**os.environ, names.STATE_VARIABLE: str(site.state)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "installed before" in done.stdout
    assert f"port {site.port}" in done.stdout
