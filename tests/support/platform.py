"""One real platform for a test session, driven through the real command line."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import mkdtemp

import pytest

from clinical_ai.wiring import Platform, open_platform

CHECKOUT = Path(__file__).resolve().parent.parent.parent
# What a developer's shell may hold. None of it may reach the platform, or be changed by it.
HOSTILE = {
    "PREFECT_API_URL": "http://127.0.0.1:9/api",
    "PREFECT_API_KEY": "not-ours",
    "PREFECT_SERVER_DATABASE_CONNECTION_URL": "sqlite+aiosqlite:////nonexistent/x.db",
    "PREFECT_HOME": "/nonexistent",
    "PREFECT_PROFILE": "mine",
    "PGHOST": "10.255.255.1",
    "PGPORT": "1",
    "DLT_DATA_DIR": "/nonexistent",
    "HTTP_PROXY": "http://127.0.0.1:9",
    "http_proxy": "http://127.0.0.1:9",
    "HTTPS_PROXY": "http://127.0.0.1:9",
}


class Site:
    """A state folder (with a space in its path), a port and the command line."""

    def __init__(self, root: Path, port: int) -> None:
        self.root = root
        self.state = root / "state folder"
        self.port = port
        self.first = ""

    def run(
        self, *words: str, environment: Mapping[str, str] = {}, given: str | None = None
    ) -> "subprocess.CompletedProcess[str]":
        """A command of `clinical-ai` to its end."""
        return subprocess.run(
            self.command(*words),
            cwd=CHECKOUT,
            env={**_clean(), **HOSTILE, "HOME": str(self.root / "home"), **environment},
            capture_output=True,
            text=True,
            input=given,
            check=False,
        )

    def command(self, *words: str) -> list[str]:
        """The command line, measured when this session is."""
        measured = ["-m", "coverage", "run"] if "COVERAGE_RUN" in os.environ else []
        head, *rest = words
        place = ["--state", str(self.state)]
        return [sys.executable, *measured, "-m", "clinical_ai.cli", head, *place, *rest]

    def up(self, *words: str) -> str:
        """`up` to a good end; what it said."""
        done = self.run("up", *words)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    @property
    def platform(self) -> Platform:
        """Opened anew, since a test may have moved it."""
        return open_platform(self.state)


@pytest.fixture(scope="session")
def site() -> Iterator[Site]:
    """A platform that is up, with the demonstration loaded."""
    root = Path(mkdtemp(prefix="cai-", dir="/tmp"))
    root.chmod(0o755)
    (root / "home" / ".prefect").mkdir(parents=True)
    made = Site(root, _free_port())
    try:
        made.first = made.up("--port", str(made.port))
        yield made
    finally:
        if made.state.exists():
            made.run("destroy", "--yes")
        shutil.rmtree(root)


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _clean() -> dict[str, str]:
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PREFECT_", "CLINICAL_AI_"))
    }
