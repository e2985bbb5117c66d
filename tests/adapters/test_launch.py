"""The launcher: waits for what a process needs, fetches its secrets, becomes Prefect."""

import os
import subprocess
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from pydantic import SecretStr

from clinical_ai import launch, names
from clinical_ai.adapters.file_secrets import FileSecrets
from clinical_ai.errors import TimedOut
from clinical_ai.manifests import supervisor
from clinical_ai.ports import ProcessSpec
from clinical_ai.state_folder import StateFolder
from tests.support.measured import python

PASSWORD = "admin:launch-canary"


class _Guarded(BaseHTTPRequestHandler):
    """Lets in who knows the password; its answers are those that the server was given."""

    def do_GET(self) -> None:
        known = self.headers["Authorization"] == "Basic YWRtaW46bGF1bmNoLWNhbmFyeQ=="
        self.server.seen.append((self.path, known))  # type: ignore[attr-defined]
        self.send_response(self.server.answers.pop(0) if known else 401)  # type: ignore[attr-defined]
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - inherited
        pass


@pytest.fixture
def api() -> Iterator[Any]:
    """A server of the loopback with `answers` (statuses to come) and `seen`."""
    server: Any = HTTPServer(("127.0.0.1", 0), _Guarded)
    server.answers, server.seen = [], []
    thread = Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def state(tmp_path: Path) -> StateFolder:
    found = StateFolder(tmp_path)
    found.secrets.mkdir()
    found.run.mkdir()
    FileSecrets(found.secrets).put(names.API_AUTH, SecretStr(PASSWORD))
    return found


def start(state: StateFolder, spec: ProcessSpec) -> "subprocess.CompletedProcess[str]":
    """As the supervisor does it."""
    path = state.spec(spec.name)
    path.write_text(supervisor.document(spec))
    return subprocess.run(
        python("-m", "clinical_ai.launch", str(path)),
        env={**os.environ, "CLINICAL_AI_SPEC": "digest", "PREFECT_LOGGING_LEVEL": "CRITICAL"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_process_is_prefect_with_its_own_environment_and_secrets_and_no_other(
    state: StateFolder, api: Any
) -> None:
    """Nothing of the caller's gets in, and a secret is in no argument and no line that is said."""
    api.answers += [503, 200]
    address = f"http://127.0.0.1:{api.server_port}/api/work_pools/default"
    spec = ProcessSpec(
        "one",
        ("python", "-m", "prefect", "config", "view", "--show-secrets"),
        {names.STATE_VARIABLE: str(state.root), "PREFECT_HOME": str(state.run / "home")},
        {"PREFECT_API_AUTH_STRING": names.API_AUTH},
        (address,),
    )
    done = start(state, spec)
    assert done.returncode == 0, done.stderr
    assert f"PREFECT_API_AUTH_STRING='{PASSWORD}' (from env)" in done.stdout
    assert f"PREFECT_HOME='{state.run / 'home'}' (from env)" in done.stdout
    assert "CRITICAL" not in done.stdout, "a setting of the caller's"
    assert api.seen == [("/api/work_pools/default", True)] * 2
    assert "waiting for" in done.stderr
    assert PASSWORD not in done.stderr
    assert PASSWORD not in state.spec("one").read_text()


def test_a_secret_that_is_not_there_is_named_without_a_backtrace(state: StateFolder) -> None:
    spec = ProcessSpec(
        "one", ("x",), {names.STATE_VARIABLE: str(state.root)}, {"A": "secret:no/where"}
    )
    done = start(state, spec)
    assert done.returncode == 1
    assert "NeedsOperator" in done.stderr
    assert "secret:no/where" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_specs_time_zones_are_in_force_in_a_process_with_secrets(state: StateFolder) -> None:
    """Zoneinfo looks once, and fetching a secret imports it."""
    environment = {names.STATE_VARIABLE: str(state.root), "PYTHONTZPATH": ""}
    spec = ProcessSpec("one", ("x",), environment, {"PASSWORD": names.API_AUTH})
    state.spec("one").write_text(supervisor.document(spec))
    script = state.run / "script.py"
    script.write_text(
        "import sys, os; from clinical_ai import launch\n"
        "def become(spec): import zoneinfo; print(zoneinfo.TZPATH, len(os.environ['PASSWORD']))\n"
        "launch._become_prefect = become; launch.main(sys.argv[1:])"
    )
    words = python(str(script), str(state.spec("one")))
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout == f"() {len(PASSWORD)}\n"


def test_a_worker_settles_lost_runs_of_its_pool_only_once_the_api_answers(
    state: StateFolder, api: Any
) -> None:
    """Without an instance the settling is refused: proof that it comes, and after the wait."""
    api.answers += [200]
    address = f"http://127.0.0.1:{api.server_port}/api/work_pools/default"
    spec = ProcessSpec(
        "one",
        ("python", "-m", "prefect", "worker", "start"),
        {names.STATE_VARIABLE: str(state.root), "PREFECT_HOME": str(state.run / "home")},
        {"PREFECT_API_AUTH_STRING": names.API_AUTH},
        (address,),
        settles="default",
    )
    done = start(state, spec)
    assert done.returncode == 1
    assert api.seen == [("/api/work_pools/default", True)]
    assert "no platform is installed" in done.stderr


def test_a_wait_that_does_not_end_tells_what_it_saw(
    api: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "_SECONDS", 0)
    address = f"http://127.0.0.1:{api.server_port}/ready"
    with pytest.raises(TimedOut, match="answers 401"):
        launch._await({"environment": {}, "waits_for": [address]})
    with pytest.raises(TimedOut, match="ConnectionRefusedError"):
        launch._await({"environment": {}, "waits_for": ["http://127.0.0.1:9/"]})


def test_a_database_lets_in_only_with_the_right_password(
    database_url: SecretStr, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "_SECONDS", 0)
    right = database_url.get_secret_value().replace("postgresql://", "postgresql+asyncpg://")
    launch._await({"environment": {"URL": right}, "waits_for": ["URL"]})
    wrong = right.replace("postgres:", "postgres:not-")
    with pytest.raises(TimedOut, match="does not let this process in yet") as expired:
        launch._await({"environment": {"URL": wrong}, "waits_for": ["URL"]})
    assert wrong.split(":")[2].partition("@")[0] not in str(expired.value)
