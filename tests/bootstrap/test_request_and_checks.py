"""What `up` is asked, and everything that may stand in its way."""

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp

import pytest
from pydantic import SecretStr

from bootstrap import checks, wanted
from bootstrap.install import check_only
from bootstrap.request import Request, parse_request
from bootstrap.terminal import Terminal
from clinical_ai import names
from clinical_ai.adapters.file_secrets import FileSecrets
from clinical_ai.errors import ManyFaults, NeedsOperator, Transient
from clinical_ai.settings import Development, Production, dump, parse
from clinical_ai.state_folder import StateFolder, default_root
from clinical_ai.steps.local_secrets import OPENING, ensure_secrets, find_password

NOBODY = (65534, 65534)


@pytest.fixture
def state() -> Iterator[StateFolder]:
    root = Path(mkdtemp(prefix="cai-", dir="/tmp"))
    root.chmod(0o755)
    yield StateFolder(root / "s")
    rmtree(root)


def asked(state: StateFolder, *words: str, **environ: str) -> Request:
    return parse_request(["--state", str(state.root), *words], environ)


def settings_file(state: StateFolder, text: str) -> str:
    file = state.root.parent / "settings.toml"
    file.write_text(text)
    return str(file)


def faults(state: StateFolder, *words: str, **environ: str) -> str:
    with pytest.raises((ManyFaults, NeedsOperator)) as found:
        check_only(asked(state, *words, **environ), Terminal())
    return str(found.value)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def made(state: StateFolder) -> StateFolder:
    """As a first installation leaves it, with data."""
    for folder in (state.root, *state.owned(), state.releases, state.postgres):
        folder.mkdir(parents=True, exist_ok=True)
    ensure_secrets(FileSecrets(state.secrets), 15432)
    (state.data / "PG_VERSION").write_text("18\n")
    return state


def test_state_and_port_come_from_options_or_the_environment(tmp_path: Path) -> None:
    request = parse_request([], {"CLINICAL_AI_STATE": str(tmp_path), "CLINICAL_AI_PORT": "4555"})
    assert request.state.root == tmp_path
    assert request.raw == {"prefect-api-url": "http://127.0.0.1:4555/api"}
    assert parse_request([], {"HOME": "/h"}).raw is None
    assert default_root({"HOME": "/h"}, root=False) == Path("/h/.local/share/clinical-ai-prefect")
    assert default_root({"XDG_DATA_HOME": "/x"}, root=False) == Path("/x/clinical-ai-prefect")
    assert default_root({}, root=True) == Path("/var/lib/clinical-ai-prefect")


@pytest.mark.parametrize(
    ("words", "environ", "told"),
    [
        (["--port", "99999"], {}, "port 99999 does not exist"),
        ([], {"CLINICAL_AI_PORT": "http"}, "CLINICAL_AI_PORT is 'http'"),
        (["--settings", "/nonexistent"], {}, "can't be read: No such file"),
    ],
)
def test_a_wrong_request_is_one_sentence(
    state: StateFolder, words: list[str], environ: dict[str, str], told: str
) -> None:
    assert told in faults(state, *words, **environ)


def test_toml_that_is_no_toml_is_told_with_its_line(state: StateFolder) -> None:
    file = settings_file(state, "log-level = \n")
    assert "line 1" in faults(state, "--settings", file)


def test_a_file_that_contradicts_the_command_line_is_refused(state: StateFolder) -> None:
    file = settings_file(state, 'storage-environment = "production"')
    told = faults(state, "--settings", file, "--environment", "development")
    assert "says storage-environment = 'production', the command line 'development'" in told


def test_a_free_folder_and_port_are_found_good(state: StateFolder) -> None:
    assert check_only(asked(state, "--port", str(free_port())), Terminal()) == 0
    assert not state.root.exists()


def test_a_port_that_somebody_has_is_told_with_his_pid(state: StateFolder) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        told = faults(state, "--port", str(port))
    assert f"port {port} is taken by process {os.getpid()}" in told
    assert f"make up PORT={port + 1}" in told


def test_a_folder_that_holds_something_else_is_refused(state: StateFolder) -> None:
    state.root.mkdir()
    (state.root / "thesis.tex").touch()
    assert "holds something else (thesis.tex)" in faults(state, "--port", str(free_port()))


def test_a_path_that_no_socket_fits_or_that_is_a_file_is_refused(state: StateFolder) -> None:
    deep = StateFolder(state.root / ("x" * 100))
    assert "too long for a socket" in faults(deep)
    odd = StateFolder(state.root.parent / "a;b")
    assert "semicolon" in faults(odd)
    state.root.write_text("")
    assert "is not a folder" in faults(state)


def test_a_folder_below_a_home_is_no_place_for_the_service_user(state: StateFolder) -> None:
    closed = state.root.parent / "home"
    closed.mkdir(mode=0o700)
    with pytest.raises(NeedsOperator, match="can't enter"):
        checks.check_folder(StateFolder(closed / "s"), NOBODY)
    assert checks.check_folder(state, NOBODY)


def test_another_versions_data_is_refused(state: StateFolder) -> None:
    (made(state).data / "PG_VERSION").write_text("17\n")
    assert "was made by PostgreSQL 17, this release runs 18" in faults(state)


def test_data_without_what_opens_it_is_told_whole(state: StateFolder) -> None:
    rmtree(made(state).secrets)
    told = faults(state)
    assert "what opens it is gone" in told
    assert all(reference in told for reference in OPENING)


@pytest.mark.parametrize("name", ["instance", "journal", "applied"])
def test_a_damaged_record_is_named_with_its_remedy(state: StateFolder, name: str) -> None:
    path: Path = getattr(made(state), name)
    for text in ("{{", "[]", '{"stage": "unknown"}'):
        path.write_text(text)
        told = faults(state)
        assert path.name in told
        assert "remove it" in told or "correct" in told or "nearest" in told or "known" in told


def test_a_damaged_secret_is_named_and_not_shown(state: StateFolder) -> None:
    place = made(state).secrets / names.DATABASE_URL.removeprefix("secret:")
    place.write_text("postgresql s3cret")
    told = faults(state)
    assert names.DATABASE_URL in told
    assert "s3cret" not in told


def test_all_faults_are_told_at_once(state: StateFolder) -> None:
    (made(state).data / "PG_VERSION").write_text("16")
    file = settings_file(
        state,
        'prefect-api-url = "http://10.1.1.1:4200/api"\nminio-endpoint = "http://m:9000"\n'
        'minio-access-key = "env:NOT_SET"\nca-bundle = "/nonexistent.pem"\n',
    )
    told = faults(state, "--settings", file)
    assert "NOT_SET is not set" in told
    assert "made by PostgreSQL 16" in told
    file = settings_file(
        state,
        'prefect-api-url = "http://10.1.1.1:4200/api"\nca-bundle = "/nonexistent.pem"\n'
        'minio-access-key = "vault:kv/minio#key"\n',
    )
    told = faults(state, "--settings", file)
    assert "the API listens on the loopback only" in told
    assert "/nonexistent.pem is not a file" in told
    assert "minio-access-key is a vault: reference" in told
    assert "made by PostgreSQL 16" in told


def test_secrets_that_settings_name_must_be_there(state: StateFolder) -> None:
    file = settings_file(
        state,
        'storage-environment = "production"\n[connections.lab]\naddresses = ["h:1"]\n'
        'credentials = "secret:lab/token"\n',
    )
    told = faults(state, "--settings", file)
    for key in ("aws-access-key-id", "aws-secret-access-key", "connections.lab.credentials"):
        assert key in told
    file = settings_file(state, 'minio-endpoint = "http://127.0.0.1:9000"')
    assert "minio-secret-key" in faults(state, "--settings", file)


def test_values_behind_env_and_file_move_to_the_secrets_and_leave_the_settings(
    state: StateFolder,
) -> None:
    (key := state.root.parent / "key").write_text("the-secret-key\n")
    file = settings_file(
        state,
        'minio-endpoint = "http://127.0.0.1:9000"\nminio-access-key = "env:MK"\n'
        f'minio-secret-key = "file:{key}"\n[connections.lab_1]\naddresses = ["h:1"]\n'
        'credentials = "env:TOKEN"\n',
    )
    request = asked(state, "--settings", file, MK="the-access-key", TOKEN="the-token")
    settings, kept = wanted.settle(request)
    assert {name: value.get_secret_value() for name, value in kept.items()} == {
        names.MINIO_ACCESS_KEY: "the-access-key",
        names.MINIO_SECRET_KEY: "the-secret-key",
        "secret:connection-lab-1-7ccf4f8b/credentials": "the-token",
    }
    assert settings is not None
    assert "the-" not in json.dumps(dump(settings))
    assert (
        settings.connections["lab_1"].credentials == "secret:connection-lab-1-7ccf4f8b/credentials"
    )
    for reference, value in kept.items():
        state.secrets.mkdir(parents=True, exist_ok=True)
        FileSecrets(state.secrets).put(reference, value)
    again, kept_again = wanted.settle(asked(state, "--settings", file))
    assert again == settings
    assert kept_again.keys() == {names.MINIO_SECRET_KEY}


def test_a_difference_is_refused_unless_it_is_meant(state: StateFolder) -> None:
    file = settings_file(state, "worker-concurrency = 7\n")
    request = asked(state, "--settings", file)
    named, _ = wanted.settle(request)
    saved = Development(worker_concurrency=4)
    assert named is not None
    with pytest.raises(NeedsOperator, match="worker-concurrency: saved 4, given 7"):
        wanted.refuse_difference(request, saved, named)
    wanted.refuse_difference(asked(state, "--settings", file, "--replace-settings"), saved, named)
    wanted.refuse_difference(request, named, named)


def test_the_command_line_says_nothing_about_what_it_does_not_name(state: StateFolder) -> None:
    saved = Development(worker_concurrency=9, prefect_api_url="http://127.0.0.1:4900/api")
    request = asked(state, "--port", "4900")
    named, _ = wanted.settle(request)
    assert named is not None
    assert wanted.overlay(request, saved, named) == saved
    moved = asked(state, "--port", "4901")
    named, _ = wanted.settle(moved)
    assert named is not None
    assert [key for key, _ in wanted.difference(moved, saved, named)] == ["prefect-api-url"]
    other = asked(state, "--environment", "production")
    named, _ = wanted.settle(other)
    assert named is not None
    assert wanted.overlay(other, saved, named) == Production()


def test_errors_of_any_family_become_faults() -> None:
    assert checks.as_faults(Transient("away"))[0].problem == "away"
    assert (
        len(checks.as_faults(ManyFaults([NeedsOperator("a", "b"), NeedsOperator("c", "d")]))) == 2
    )


def test_secrets_are_made_once_and_follow_the_databases_port(state: StateFolder) -> None:
    secrets = FileSecrets(made(state).secrets)
    before = {r: secrets.get(r) for r in (*OPENING, names.API_AUTH)}
    assert not any(change.wrote for change in ensure_secrets(secrets, 15432))
    ensure_secrets(secrets, 15999)
    assert "@127.0.0.1:15999/" in secrets.get(names.DATABASE_URL).get_secret_value()
    assert find_password(secrets, names.DATABASE_URL) is not None
    assert secrets.get(names.ENCRYPTION_KEY) == before[names.ENCRYPTION_KEY]
    secrets.put(names.DATABASE_URL, SecretStr("nonsense"))
    with pytest.raises(NeedsOperator, match="is not a database address"):
        ensure_secrets(secrets, 15432)


def test_a_terminal_tells_a_few_changes_and_counts_the_rest(
    capsys: pytest.CaptureFixture[str],
) -> None:
    from clinical_ai.change import Change, Did

    terminal = Terminal()
    terminal.step("many", [Change(str(n), Did.CREATED, "new") for n in range(5)])
    terminal.step("none", Change("x", Did.UNCHANGED))
    terminal.note("meanwhile")
    terminal.fault("wrong")
    out, err = capsys.readouterr()
    assert "0: created (new); 1: created (new); 2: created (new); and 2 more" in out
    assert "unchanged" in out
    assert "meanwhile" in err
    assert "wrong" in err
    assert "\033" not in out + err


def test_parse_names_where_a_fault_stands() -> None:
    with pytest.raises(ManyFaults, match="somewhere: unknown key"):
        parse({"nonsense": 1}, origin="somewhere")
