"""The supervisor's own reading of what we write for it, and of what restarts and rotates."""

import json
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from supervisor.options import ProcessConfig, ServerOptions

from clinical_ai import names
from clinical_ai.manifests import supervisor
from clinical_ai.ports import ProcessSpec
from clinical_ai.state_folder import StateFolder

KEPT = ProcessSpec("kept", ("/bin/a b", "100%", "--x=$HOME"), {"A": "1 %(x)s, B=2"})
SECRET = replace(KEPT, name="secret", secrets={"PASSWORD": "secret:a/b"}, stop_signal="INT")
WAITING = replace(KEPT, name="waiting", waits_for=("http://127.0.0.1:1/x",), settles="default")
ONCE = replace(KEPT, name="once", one_shot=True, stop_seconds=7)


@pytest.fixture(params=["plain", "with space", "100%", "%(here)s", "  two  ", "ü名"])
def state(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[StateFolder]:
    found = StateFolder(tmp_path / request.param)
    for folder in (found.root, *found.owned()):
        folder.mkdir()
    return found


def read(state: StateFolder, *specs: ProcessSpec) -> ServerOptions:
    state.supervisor.write_text(supervisor.configuration(state, "/usr/bin/python 3", specs))
    options = ServerOptions()
    options.realize(["-c", str(state.supervisor)])
    return options


def programs(options: ServerOptions) -> dict[str, ProcessConfig]:
    return {
        process.name: process
        for group in sorted(options.process_group_configs)
        for process in group.process_configs
    }


def test_the_supervisor_keeps_its_own_files_in_the_state_folder(state: StateFolder) -> None:
    options = read(state, KEPT)
    assert options.logfile == str(state.log("supervisor"))
    assert options.pidfile == str(state.run / "supervisor.pid")
    assert options.childlogdir == str(state.logs)
    assert options.directory == str(state.run)
    assert options.umask == 0o077, "nobody else reads a log"
    assert options.nodaemon
    (server,) = options.server_configs
    assert server["file"] == str(state.socket)
    assert server["chmod"] == 0o700, "nobody else gives it commands"
    assert server["family"].name == "AF_UNIX", "no port that every user could reach"


def test_processes_start_in_order_are_kept_alive_and_their_logs_rotate(state: StateFolder) -> None:
    found = programs(read(state, SECRET, KEPT, WAITING, ONCE))
    assert list(found) == ["secret", "kept", "waiting", "once"]
    for name in ("secret", "kept", "waiting"):
        process = found[name]
        assert process.autostart
        assert process.autorestart.__name__ == "RestartUnconditionally"
        assert process.startsecs > 0, "one that dies at once is not called running"
    for process in found.values():
        assert process.stdout_logfile == str(state.log(process.name))
        assert process.redirect_stderr
        assert process.stdout_logfile_maxbytes * (process.stdout_logfile_backups + 1) < 100 << 20
        assert process.killasgroup, "no child of it is left behind"


def test_a_one_shot_waits_until_it_is_asked_and_is_repeated_only_after_a_crash(
    state: StateFolder,
) -> None:
    once = programs(read(state, ONCE))["once"]
    assert not once.autostart
    assert once.autorestart.__name__ == "RestartWhenExitUnexpected"
    assert once.startsecs == 0
    assert once.stopwaitsecs == 7


def test_each_process_is_stopped_by_its_own_signal(state: StateFolder) -> None:
    found = programs(read(state, SECRET, KEPT))
    assert found["secret"].stopsignal == signal.SIGINT
    assert found["kept"].stopsignal == signal.SIGTERM
    assert found["kept"].stopwaitsecs == KEPT.stop_seconds


def test_no_secret_or_reference_stands_in_the_configuration(state: StateFolder) -> None:
    text = supervisor.configuration(state, "python", [SECRET, WAITING])
    assert "secret:" not in text
    assert "PASSWORD" not in text
    assert "http://" not in text
    environment = programs(read(state, SECRET))["secret"].environment
    assert environment == {"CLINICAL_AI_SPEC": supervisor.digest(SECRET)}


def test_the_launchers_document_says_what_the_spec_says() -> None:
    spec = replace(SECRET, waits_for=("B", "http://h"), settles=names.POOL)
    document = json.loads(supervisor.document(spec))
    assert tuple(document["command"]) == spec.command
    assert document["environment"] == spec.environment
    assert document["secrets"] == spec.secrets
    assert tuple(document["waits_for"]) == spec.waits_for
    assert (document["name"], document["settles"]) == (spec.name, spec.settles)


def test_the_order_of_variables_changes_no_digest() -> None:
    one = replace(KEPT, environment={"A": "1", "B": "2"}, secrets={"C": "c", "D": "d"})
    other = replace(KEPT, environment={"B": "2", "A": "1"}, secrets={"D": "d", "C": "c"})
    assert supervisor.digest(one) == supervisor.digest(other)
