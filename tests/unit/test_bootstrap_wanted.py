"""Which settings count, and what becomes of secrets that only the caller's shell knows."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some
from pydantic import SecretStr

from bootstrap import wanted
from bootstrap.request import Request
from clinical_ai import names
from clinical_ai.adapters.file_secrets import FileSecrets
from clinical_ai.errors import ManyFaults, NeedsOperator
from clinical_ai.settings import Development, Production, dump, parse
from clinical_ai.state_folder import StateFolder

_DEVELOPMENT = some.fixed_dictionaries(
    {},
    optional={
        "log-level": some.sampled_from(["DEBUG", "INFO", "WARNING"]),
        "worker-concurrency": some.integers(1, 9),
        "drain-seconds": some.integers(0, 9),
        "minio-endpoint": some.just("http://127.0.0.1:9000"),
        "auth": some.sampled_from(["basic", "none"]),
        "prefect-api-url": some.sampled_from(
            ["http://127.0.0.1:4200/api", "http://127.0.0.1:4300/api"]
        ),
    },
)
_VALUES = some.text(some.characters(exclude_categories=["Cs"]), min_size=8).filter(
    lambda text: "\0" not in text
)


def asked(raw: dict[str, Any] | None, state: Path = Path("/nonexistent"), **more: Any) -> Request:
    origin = more.pop("origin", "command line")
    environ = more.pop("environ", {})
    return Request(StateFolder(state), state, environ, raw=raw, origin=origin, **more)


@given(_DEVELOPMENT, _DEVELOPMENT)
def test_the_command_line_changes_what_it_names_and_nothing_else(
    saved: dict[str, Any], named: dict[str, Any]
) -> None:
    request, before = asked(named), parse(saved)
    after = wanted.overlay(request, before, parse(named))
    assert after == parse({**saved, **named})
    changed = {key for key, _ in wanted.difference(request, before, parse(named))}
    assert changed <= set(named)
    assert changed == {key for key in named if dump(after).get(key) != dump(before).get(key)}


@given(_DEVELOPMENT, _DEVELOPMENT)
def test_a_file_stands_for_itself_but_keeps_the_address_that_it_does_not_name(
    saved: dict[str, Any], named: dict[str, Any]
) -> None:
    request = asked(named, origin="file.toml")
    meant = parse({"prefect-api-url": parse(saved).prefect_api_url, **named})
    assert wanted.overlay(request, parse(saved), parse(named)) == meant
    different = wanted.difference(request, parse(saved), parse(named))
    assert bool(different) == (parse(saved) != meant)


@given(_DEVELOPMENT, _DEVELOPMENT)
def test_a_difference_is_refused_field_by_field_unless_replacing_was_asked(
    saved: dict[str, Any], named: dict[str, Any]
) -> None:
    before, given_now = parse(saved), parse(named)
    request = asked(named, origin="file.toml")
    wanted.refuse_difference(asked(named, origin="file.toml", replace=True), before, given_now)
    different = wanted.difference(request, before, given_now)
    if not different:
        wanted.refuse_difference(request, before, given_now)
        return
    with pytest.raises(NeedsOperator) as met:
        wanted.refuse_difference(request, before, given_now)
    for key, (old, new) in different:
        assert f"\n  {key}: saved {old!r}, given {new!r}" in met.value.problem
    assert "--replace-settings" in met.value.remedy


def test_another_environment_starts_from_its_own_defaults() -> None:
    saved = Development(worker_concurrency=9, auth="none")
    request = asked({"storage-environment": "production"})
    assert wanted.overlay(request, saved, Production()) == Production()
    stays = asked({"storage-environment": "development"})
    assert wanted.overlay(stays, saved, Development()) == saved


def test_a_port_does_not_turn_production_into_development() -> None:
    saved = Production(aws_region="eu-central-1")
    request = asked({"prefect-api-url": "http://127.0.0.1:4300/api"})
    named, _ = wanted.settle(request)
    assert named is not None
    after = wanted.overlay(request, saved, named)
    assert after == Production(
        aws_region="eu-central-1", prefect_api_url="http://127.0.0.1:4300/api"
    )


def test_nothing_named_settles_nothing() -> None:
    assert wanted.settle(asked(None)) == (None, {})


@given(_VALUES, _VALUES)
def test_a_value_moves_to_the_secrets_and_never_into_settings(key: str, token: str) -> None:
    raw = {
        "minio-endpoint": "http://127.0.0.1:9000",
        "minio-access-key": "env:KEY",
        "connections": {"Lab_1": {"addresses": ["h:1"], "credentials": "env:TOKEN"}},
    }
    request = asked(raw, environ={"KEY": f"k-{key}", "TOKEN": f"t-{token}"})
    settings, kept = wanted.settle(request)
    assert settings is not None
    place = "secret:connection-lab-1-2b96fd57/credentials"
    assert kept == {names.MINIO_ACCESS_KEY: SecretStr(f"k-{key}"), place: SecretStr(f"t-{token}")}
    dumped = json.dumps(dump(settings), ensure_ascii=False)
    assert f"k-{key}" not in dumped + repr(settings) + repr(kept)
    assert f"t-{token}" not in dumped + repr(settings) + repr(kept)
    assert "env:" not in dumped
    assert settings.connections["Lab_1"].credentials == place


def test_production_keys_move_to_the_names_of_the_guide(tmp_path: Path) -> None:
    (file := tmp_path / "key").write_text("value-of-file\n")
    raw = {
        "storage-environment": "production",
        "aws-access-key-id": "env:ID",
        "aws-secret-access-key": f"file:{file}",
    }
    settings, kept = wanted.settle(asked(raw, environ={"ID": "value-of-env"}))
    assert {place: value.get_secret_value() for place, value in kept.items()} == {
        names.AWS_ACCESS_KEY_ID: "value-of-env",
        names.AWS_SECRET_ACCESS_KEY: "value-of-file",
    }
    assert settings == Production()


def test_what_already_is_a_secret_reference_stays() -> None:
    raw = {"minio-access-key": "secret:mine/key", "minio-secret-key": "vault:kv/a#b"}
    settings, kept = wanted.settle(asked(raw))
    assert settings == parse(raw)
    assert kept == {}


def test_settings_are_known_even_where_a_value_is_missing() -> None:
    """Whoever looks can tell what else stands in the way."""
    raw = {"minio-access-key": "env:ABSENT", "minio-secret-key": "env:HERE"}
    request = asked(raw, environ={"HERE": "value-of-env"})
    settings, kept, missing = wanted.look(request, FileSecrets(request.state.secrets).find)
    assert isinstance(settings, Development)
    assert settings.minio_access_key == names.MINIO_ACCESS_KEY
    assert kept.keys() == {names.MINIO_SECRET_KEY}
    assert missing.keys() == {names.MINIO_ACCESS_KEY}


def test_every_value_that_is_missing_is_told_unless_it_was_kept_before(tmp_path: Path) -> None:
    raw = {
        "minio-access-key": "env:ABSENT",
        "minio-secret-key": "file:/nonexistent",
        "connections": {"lab": {"addresses": ["h:1"], "credentials": "env:ABSENT_TOO"}},
    }
    request = asked(raw, tmp_path)
    with pytest.raises(ManyFaults) as met:
        wanted.settle(request)
    told = [fault.problem for fault in met.value.faults]
    assert [line.partition(":")[0] for line in told] == [
        "connections.lab.credentials",
        "minio-access-key",
        "minio-secret-key",
    ]
    assert "ABSENT_TOO is not set" in told[0]
    request.state.secrets.mkdir()
    secrets = FileSecrets(request.state.secrets)
    for place in (
        names.MINIO_ACCESS_KEY,
        names.MINIO_SECRET_KEY,
        "secret:connection-lab/credentials",
    ):
        secrets.put(place, SecretStr("kept"))
    settings, kept = wanted.settle(request)
    assert settings is not None
    assert settings.connections["lab"].credentials == "secret:connection-lab/credentials"
    assert kept == {}


def test_two_connections_never_share_a_secret() -> None:
    connections = {
        name: {"addresses": [f"{host}:1"], "credentials": f"env:{name.upper()}"}
        for name, host in (("lab_a", "one"), ("lab-a", "two"))
    }
    raw = {"connections": {**connections}}
    raw["connections"]["lab-a"]["credentials"] = "env:OTHER"
    environ = {"LAB_A": "token of one", "OTHER": "token of two"}
    settings, kept = wanted.settle(asked(raw, environ=environ))
    assert settings is not None
    references = [settings.connections[name].credentials for name in ("lab_a", "lab-a")]
    values = [kept[str(reference)].get_secret_value() for reference in references]
    assert values == ["token of one", "token of two"]


def test_a_dot_in_a_connections_name_does_not_hide_its_secret() -> None:
    raw = {"connections": {"lab.north": {"addresses": ["h:1"], "credentials": "env:LAB"}}}
    settings, kept = wanted.settle(asked(raw, environ={"LAB": "token"}))
    assert settings is not None
    reference = settings.connections["lab.north"].credentials
    assert reference == "secret:connection-lab.north/credentials"
    assert kept[reference].get_secret_value() == "token"


@pytest.mark.parametrize("name", ["l" * 53, "l" * 243, "lab-", "lab.", "", "one..two", "é" * 9])
def test_a_connection_of_any_name_has_a_secret_that_kubernetes_takes(name: str) -> None:
    names_of = [name, f"{name}l"]
    connection = {"addresses": ["h:1"], "credentials": "env:LAB"}
    raw = {"connections": dict.fromkeys(names_of, connection)}
    settings, kept = wanted.settle(asked(raw, environ={"LAB": "token"}))
    assert settings is not None
    places = {str(settings.connections[each].credentials) for each in names_of}
    assert places == set(kept)
    assert len(places) == 2


def test_the_secret_of_a_connection_is_shortened_only_where_it_would_be_too_long() -> None:
    for length, whole in ((242, True), (243, False)):
        name = "l" * length
        raw = {"connections": {name: {"addresses": ["h:1"], "credentials": "env:LAB"}}}
        _, kept = wanted.settle(asked(raw, environ={"LAB": "token"}))
        [place] = kept
        assert (place == f"secret:connection-{name}/credentials") is whole
        assert len(place) == len("secret:/credentials") + 253
