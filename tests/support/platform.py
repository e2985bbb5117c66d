"""One real platform for a test session, driven through the real command line."""

import os
import shutil
import signal
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
    "PREFECT_API_AUTH_STRING": "their:own",
    "PREFECT_SERVER_API_AUTH_STRING": "their:own",
    "PREFECT_SERVER_ENCRYPTION_KEY": "theirs",
    "PREFECT_SERVER_DATABASE_CONNECTION_URL": "sqlite+aiosqlite:////nonexistent/x.db",
    "PREFECT_PROFILE": "mine",
    "PGHOST": "10.255.255.1",
    "PGPORT": "1",
    "PGUSER": "them",
    "PGPASSWORD": "theirs",
    "PGDATABASE": "theirs",
    "DLT_DATA_DIR": "/nonexistent",
    "DLT_PROJECT_DIR": "/nonexistent",
    "DESTINATION__POSTGRES__CREDENTIALS": "postgresql://them:theirs@10.255.255.1/theirs",
    "SSL_CERT_FILE": "/nonexistent",
    "HTTP_PROXY": "http://127.0.0.1:9",
    "http_proxy": "http://127.0.0.1:9",
    "HTTPS_PROXY": "http://127.0.0.1:9",
}
PROFILES = """active = "mine"

[profiles.mine]
PREFECT_API_URL = "http://127.0.0.1:9/api"
PREFECT_API_AUTH_STRING = "their:own"
"""


class Site:
    """A state folder (with a space in its path), a port and the command line."""

    def __init__(self, root: Path, port: int) -> None:
        self.root = root
        self.state = root / "state folder"
        self.port = port
        self.first = ""
        self.home = root / "home"

    @property
    def environment(self) -> dict[str, str]:
        """A shell in which nothing is as the platform needs it."""
        home = {"HOME": str(self.home), "PREFECT_HOME": str(self.home / ".prefect")}
        return {**_clean(), **HOSTILE, **home}

    def run(
        self, *words: str, environment: Mapping[str, str] = {}, given: str | None = None
    ) -> "subprocess.CompletedProcess[str]":
        """A command of `clinical-ai` to its end."""
        return subprocess.run(
            self.command(*words),
            cwd=CHECKOUT,
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            input=given,
            check=False,
        )

    def start(self, *words: str) -> "subprocess.Popen[str]":
        """The same, in a session of its own and left running; Ctrl-C reaches it.

        A shell's `&` leaves SIGINT ignored in all that comes from it, so in these tests too.
        """
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            return subprocess.Popen(
                self.command(*words),
                cwd=CHECKOUT,
                env=self.environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
        finally:
            signal.signal(signal.SIGINT, before)

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
    made = Site(root, _free_port())
    (made.home / ".prefect").mkdir(parents=True)
    (made.home / ".prefect" / "profiles.toml").write_text(PROFILES)
    try:
        file = root / "first.toml"  # as usual, but for workers that ask more often
        file.write_text("worker-query-seconds = 2\n")
        made.first = made.up("--port", str(made.port), "--settings", str(file))
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
