"""What the command line says of itself, before anything is installed."""

import subprocess
import sys

import pytest

from tests.support.measured import python
from tests.support.platform import CHECKOUT

COMMANDS = ("up", "down", "destroy", "status", "verify", "run", "env", "psql", "roll")


def ask(*words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(python(*words), cwd=CHECKOUT, capture_output=True, text=True, check=False)


def test_help_names_every_command_with_a_sentence() -> None:
    lines = ask("-m", "clinical_ai.cli", "--help").stdout.splitlines()
    told = {words[0]: words[1:] for words in map(str.split, lines) if words}
    assert all(len(told[command]) >= 2 for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_and_its_options(command: str) -> None:
    done = ask("-m", "clinical_ai.cli", command, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"usage: clinical-ai {command}")
    assert "--state" in done.stdout


def test_help_loads_nothing_that_takes_its_time() -> None:
    code = (
        "import sys, contextlib\nfrom clinical_ai.cli import main\n"
        "with contextlib.suppress(SystemExit): main(['up', '--help'])\n"
        "print(*(name for name in ('prefect', 'pydantic', 'psutil', 'httpx', 'psycopg2', 'dlt') "
        "if name in sys.modules), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, check=False
    )
    assert done.stdout.startswith("usage: clinical-ai up")
    assert done.stderr.strip() == ""
