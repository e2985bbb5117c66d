"""A real Prefect server for one test session, and the fake beside it.

Tests that ask for `api` run on both: what the fake promises, the server has to keep.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from secrets import token_hex
from tempfile import mkdtemp
from typing import Any, Final

import pytest
from pydantic import SecretStr

from clinical_ai.adapters.prefect_rest import PrefectRest
from clinical_ai.errors import PlatformError
from clinical_ai.ports import PrefectApi
from clinical_ai.waiting import Sighting, wait_until
from tests.support.fake_prefect import FakePrefect
from tests.support.measured import python
from tests.support.platform import CHECKOUT
from tests.support.postgres import PostgresServer

# The server ends when its standard input does: with this process, even when that is killed.
_ENDS_WITH_US: Final = '"$@" </dev/null & child=$!; read -r _; kill -KILL $child; wait $child'
# It looks for garbage less often: that took a tenth of its time, and it does not live for long.
_SERVE: Final = (
    "import gc, runpy; gc.set_threshold(10_000); "
    "runpy.run_module('uvicorn', run_name='__main__', alter_sys=True)"
)
_NOBODY: Final = 65534


class PrefectServer:
    """Prefect on a free port of the loopback, with a password; no scheduler, UI or telemetry."""

    def __init__(self, folder: Path, database: SecretStr) -> None:
        self.folder = folder
        self._database = database
        self.url = f"http://127.0.0.1:{_free_port()}/api"
        self.auth = SecretStr(f"admin:{token_hex(12)}")
        self._process: subprocess.Popen[bytes] | None = None

    def open(self, auth: SecretStr | None = None) -> PrefectRest:
        """A client of its own."""
        return PrefectRest(self.url, auth or self.auth)

    def start(self) -> None:
        """Start it and wait until it reaches its database."""
        port = self.url.rpartition(":")[2].removesuffix("/api")
        server = [
            *(sys.executable, "-c", _SERVE, "--factory", "prefect.server.api.server:create_app"),
            *("--host", "127.0.0.1", "--port", port, "--log-level", "warning"),
        ]
        root = os.geteuid() == 0
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", _ENDS_WITH_US, "sh", *server],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env=self._environment(),
                user=_NOBODY if root else None,
                group=_NOBODY if root else None,
                extra_groups=[] if root else None,
            )
        wait_until("Prefect", self._look, seconds=300, every=0.1)

    def stop(self) -> None:
        """Stop it and wait until it is gone."""
        if self._process is not None:
            self._process.communicate(timeout=30)
            self._process = None

    def _environment(self) -> dict[str, str]:
        services = ("SCHEDULER", "LATE_RUNS", "CANCELLATION_CLEANUP", "PAUSE_EXPIRATIONS")
        services += ("FOREMAN", "REPOSSESSOR", "DB_VACUUM", "TELEMETRY")
        off = {f"PREFECT_SERVER_SERVICES_{name}_ENABLED": "false" for name in services}
        return {
            "PATH": "/usr/bin:/bin",
            "LANG": "C.UTF-8",
            "PYTHONTZPATH": "",
            "HOME": str(self.folder),
            "PREFECT_HOME": str(self.folder),
            "PREFECT_API_URL": self.url,
            "PREFECT_SERVER_API_AUTH_STRING": self.auth.get_secret_value(),
            "PREFECT_SERVER_DATABASE_CONNECTION_URL": self._database.get_secret_value().replace(
                "postgresql:", "postgresql+asyncpg:"
            ),
            "PREFECT_SERVER_REGISTER_BLOCKS_ON_START": "false",
            "PREFECT_SERVER_UI_ENABLED": "false",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "DO_NOT_TRACK": "1",
            **off,
        }

    def _look(self) -> Sighting:
        if self._process is not None and self._process.poll() is not None:
            raise RuntimeError((self.folder / "log").read_text()[-2000:])
        try:
            self.open().get("/ready")
        except PlatformError as error:
            return Sighting(done=False, summary=str(error))
        return Sighting(done=True, summary="ready")


def ensure_pool(api: PrefectApi, name: str) -> None:
    """Tests of one session share the server."""
    if api.get(f"/work_pools/{name}") is None:
        api.post("/work_pools/", {"name": name, "type": "process"})


@pytest.fixture(scope="session")
def prefect_server(postgres_server: PostgresServer) -> Iterator[PrefectServer]:
    """One server for all tests of a session; its process is stopped at the end.

    On PostgreSQL: with SQLite it answers 503 now and then, when two of its own parts write at once.
    """
    # Not tmp_path: pytest keeps that to its own user.
    folder = Path(mkdtemp(prefix="prefect-", dir="/tmp"))
    if os.geteuid() == 0:
        os.chown(folder, _NOBODY, _NOBODY)
    postgres_server.run("create database prefect template template0")
    server = PrefectServer(folder, postgres_server.url("prefect"))
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def rendered() -> dict[str, Any]:
    """What a release of this checkout registers, by an interpreter of its own.

    `PREFECT_*` and the home folder of whoever runs the tests must not matter.
    """
    made = subprocess.run(
        python("-m", "clinical_ai.adapters.prefect_yaml", str(CHECKOUT)),
        cwd=CHECKOUT,
        env={**os.environ, "PREFECT_API_URL": "http://127.0.0.1:9/api", "HOME": "/nonexistent"},
        capture_output=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(made.stdout)
    return found


@pytest.fixture(params=["fake", pytest.param("server", marks=pytest.mark.served)])
def api(request: pytest.FixtureRequest) -> PrefectApi:
    """Prefect's API, once as the fake and once as the real server."""
    if request.param == "fake":
        return FakePrefect()
    server: PrefectServer = request.getfixturevalue("prefect_server")
    return server.open()


def _free_port() -> int:
    with socket.socket() as asking:
        asking.bind(("127.0.0.1", 0))
        port: int = asking.getsockname()[1]
        return port
