"""What the caller asked for: the command line, its environment and a settings file together."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from bootstrap.request import Request, parse_request, take_environment
from clinical_ai.errors import NeedsOperator


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "settings.toml"


def refused(*words: str, **environ: str) -> NeedsOperator:
    with pytest.raises(NeedsOperator) as met:
        parse_request(words, environ)
    return met.value


def test_nothing_named_means_that_what_is_saved_counts() -> None:
    request = parse_request([], {"HOME": "/home/x"})
    assert request.raw is None
    assert request.demonstration
    assert (request.replace, request.check, request.diff) == (False, False, False)
    assert (request.checkout / "bootstrap" / "request.py").exists()
    assert request == Request(request.state, request.checkout, {"HOME": "/home/x"})


def test_each_option_says_what_it_means(tmp_path: Path) -> None:
    words = ["--state", str(tmp_path), "--replace-settings", "--no-demonstration", "--check"]
    request = parse_request(words, {})
    assert (request.replace, request.check, request.diff) == (True, True, False)
    assert not request.demonstration
    assert parse_request(["--diff"], {}).diff


def test_a_relative_state_folder_does_not_depend_on_where_it_is_used_later() -> None:
    assert parse_request(["--state", "here"], {}).state.root == Path.cwd() / "here"
    assert parse_request(["--state", "~/x"], {}).state.root == Path("~/x").expanduser()


def test_an_option_wins_over_the_environment(tmp_path: Path) -> None:
    environ = {"CLINICAL_AI_STATE": "/elsewhere", "CLINICAL_AI_PORT": "4555"}
    request = parse_request(["--state", str(tmp_path), "--port", "4666"], environ)
    assert request.state.root == tmp_path
    assert request.raw == {"prefect-api-url": "http://127.0.0.1:4666/api"}
    assert request.origin == "command line"


@given(some.integers())
def test_only_ports_that_exist_are_accepted(port: int) -> None:
    if 1 <= port <= 65535:
        assert parse_request([f"--port={port}"], {}).raw == {
            "prefect-api-url": f"http://127.0.0.1:{port}/api"
        }
    else:
        assert refused(f"--port={port}").problem == f"port {port} does not exist"


@pytest.mark.parametrize("text", ["0", "65536", "http", "-1", "4.2", " 80", "²"])
def test_a_wrong_port_in_the_environment_is_told(text: str) -> None:
    told = refused(CLINICAL_AI_PORT=text)
    assert text in told.problem
    assert told.remedy


def test_an_empty_port_in_the_environment_is_none() -> None:
    assert parse_request([], {"CLINICAL_AI_PORT": ""}).raw is None


def test_a_settings_file_and_options_are_one(file: Path) -> None:
    file.write_text('log-level = "DEBUG"\n')
    request = parse_request(["--settings", str(file), "--environment", "production"], {})
    assert request.raw == {"log-level": "DEBUG", "storage-environment": "production"}
    assert request.origin == str(file)


def test_an_empty_file_names_the_defaults(file: Path) -> None:
    file.touch()
    request = parse_request(["--settings", str(file)], {})
    assert request.raw == {}
    assert request.origin == str(file)


@pytest.mark.parametrize(
    ("line", "words", "said"),
    [
        ('prefect-api-url = "http://127.0.0.1:1/api"', ["--port", "2"], "prefect-api-url"),
        ('storage-environment = "production"', ["--environment", "development"], "development"),
    ],
)
def test_a_file_against_an_option_is_refused_with_both(
    file: Path, line: str, words: list[str], said: str
) -> None:
    file.write_text(line)
    told = refused("--settings", str(file), *words)
    assert str(file) in told.problem
    assert said in told.problem
    assert "the command line" in told.problem
    assert told.remedy == "leave one of them out"


def test_a_file_that_says_the_same_as_an_option_is_fine(file: Path) -> None:
    file.write_text('prefect-api-url = "http://127.0.0.1:4300/api"')
    request = parse_request(["--settings", str(file)], {"CLINICAL_AI_PORT": "4300"})
    assert request.raw == {"prefect-api-url": "http://127.0.0.1:4300/api"}


def test_a_name_with_underscores_is_the_same_name(file: Path) -> None:
    file.write_text('prefect_api_url = "http://127.0.0.1:4300/api"')
    request = parse_request(["--settings", str(file), "--port", "4300"], {})
    assert request.raw == {"prefect-api-url": "http://127.0.0.1:4300/api"}
    assert "the command line" in refused("--settings", str(file), "--port", "4301").problem


def test_a_password_in_an_address_is_not_repeated(file: Path) -> None:
    file.write_text('prefect-api-url = "http://me:s3cret@127.0.0.1:1/api"')
    assert "s3cret" not in str(refused("--settings", str(file), "--port", "2"))


def test_what_libpq_would_read_is_kept_for_references_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PGSERVICE", "theirs")
    monkeypatch.setenv("MINE", "stays")
    taken = take_environment()
    assert (taken["PGSERVICE"], taken["MINE"]) == ("theirs", "stays")
    assert "PGSERVICE" not in os.environ
    assert os.environ["MINE"] == "stays"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b'a = "s3cret"\nb = s3cret\n', "line 2"),
        (b'a = "s3cret"\na = 1\n', "overwrite"),
        (b'a = "s3cret', "at end of document"),
        (b"a = '\xff'", "utf-8"),
    ],
    ids=["no value", "twice", "open string", "not UTF-8"],
)
def test_a_file_that_is_no_toml_is_told_where_and_no_value_is_repeated(
    file: Path, content: bytes, told: str
) -> None:
    file.write_bytes(content)
    fault = refused("--settings", str(file))
    assert str(file) in fault.problem
    assert told in str(fault)
    assert "s3cret" not in str(fault)


@pytest.mark.parametrize("name", ["absent.toml", "."])
def test_a_file_that_can_not_be_read_is_told(tmp_path: Path, name: str) -> None:
    fault = refused("--settings", str(tmp_path / name))
    assert "can't be read" in fault.problem
    assert fault.remedy == "correct --settings"


@pytest.mark.parametrize("words", [["--check", "--diff"], ["--environment", "test"], ["more"]])
def test_a_command_line_that_makes_no_sense_shows_how_it_is_used(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as met:
        parse_request(words, {})
    assert met.value.code == 2
    assert "usage: python -m bootstrap" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "problem", "remedy"),
    [
        (["--image", "a@sha256:0"], "--image is of a cluster", "add --runtime kubernetes"),
        (["--context", "prod"], "--context is of a cluster", "add --runtime kubernetes"),
        (
            ["--runtime", "kubernetes", "--port", "4201", "--state", "x"],
            "--state and --port is of one machine",
            "leave it out with --runtime kubernetes",
        ),
    ],
)
def test_an_option_of_the_other_runtime_is_refused(
    words: list[str], problem: str, remedy: str
) -> None:
    told = refused(*words)
    assert (told.problem, told.remedy) == (problem, remedy)
