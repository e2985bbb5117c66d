"""Of a guarded process nothing is left, also when nobody waits for it any more."""

import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from clinical_ai.waiting import Sighting, wait_until
from tests.support.platform import CHECKOUT

GUARDED: Final = """\
import os, subprocess, sys
from clinical_ai.adapters.process_tree import fork_guarded
fork_guarded()
left = subprocess.Popen(["sleep", "64"], start_new_session=True, env={})
with open("made", "w") as made:
    made.write(f"{left.pid} {os.getpid()}")
os.rename("made", "pids")
left.wait()
"""


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_all_ends_with_the_one_that_waits_or_that_has_started_it(
    tmp_path: Path, how: signal.Signals
) -> None:
    words = [sys.executable, "-c", GUARDED]
    if how is signal.SIGKILL:  # of the one that has started it
        words = ["sh", "-c", '"$@" & wait', "sh", *words]
    environment = {"PYTHONPATH": str(CHECKOUT), "PATH": "/usr/bin:/bin"}
    with subprocess.Popen(words, cwd=tmp_path, env=environment) as started:
        made = tmp_path / "pids"
        wait_until("its start", lambda: Sighting(made.exists(), "not yet"), seconds=20, every=0.02)
        started.send_signal(how)
        started.wait(20)
    for pid in made.read_text().split():
        process = Path("/proc", pid)
        wait_until(
            "its end", lambda p=process: Sighting(not p.exists(), "runs"), seconds=20, every=0.02
        )
