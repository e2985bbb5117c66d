"""Rows on their way never outlive their run on this machine's disk."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from clinical_ai.adapters.work_folder import work_folder
from clinical_ai.errors import NeedsOperator

HOLD = """
import sys
from pathlib import Path
from clinical_ai.adapters.work_folder import work_folder
with work_folder(Path(sys.argv[1])) as folder:
    (folder / "rows").write_text("x")
    print(folder, flush=True)
    sys.stdin.read()
"""


def test_it_is_private_and_gone_afterwards(tmp_path: Path) -> None:
    with work_folder(tmp_path) as folder:
        assert folder.stat().st_mode & 0o077 == 0
        assert folder.parent.stat().st_mode & 0o077 == 0
    assert not folder.exists()


def test_that_of_a_killed_run_is_removed_and_that_of_a_living_one_is_kept(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    held = Path(holder.stdout.readline().strip())
    with work_folder(tmp_path):
        assert held.exists()
    os.kill(holder.pid, signal.SIGKILL)
    holder.communicate()
    with work_folder(tmp_path):
        assert not held.exists()


def test_a_folder_that_others_can_enter_is_refused(tmp_path: Path) -> None:
    with work_folder(tmp_path) as folder:
        home = folder.parent
    home.chmod(0o755)
    with pytest.raises(NeedsOperator, match="open to others"), work_folder(tmp_path):
        pass


def test_a_parent_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(NeedsOperator, match="TMPDIR"), work_folder(tmp_path / "absent"):
        pass
