"""What settings accept, what they refuse, and what they never repeat."""

import re
import traceback
from collections.abc import Callable
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as some
from pydantic import ValidationError

from clinical_ai.errors import ManyFaults
from clinical_ai.settings import (
    MODELS,
    Connection,
    Development,
    Production,
    Settings,
    differences,
    dump,
    known_keys,
    parse,
)

CANARY: Final = "hunter2-canary"
PRODUCTION: Final = {"storage-environment": "production"}
REFERENCE_KEYS: Final = ["minio-access-key", "minio-secret-key"]


def faults_of(raw: dict[str, Any]) -> list[str]:
    with pytest.raises(ManyFaults) as refused:
        parse(raw)
    assert refused.value.__cause__ is None
    assert CANARY not in "".join(traceback.format_exception(refused.value)) + repr(refused.value)
    return [str(fault) for fault in refused.value.faults]


def fault_of(raw: dict[str, Any]) -> str:
    (fault,) = faults_of(raw)
    return fault


def test_nothing_given_is_development_with_a_folder_and_a_password() -> None:
    settings = parse({})
    assert isinstance(settings, Development)
    assert settings.minio_endpoint is None
    assert settings.auth == "basic"


def test_production_is_aws_in_the_guides_region_with_a_password() -> None:
    settings = parse(PRODUCTION)
    assert isinstance(settings, Production)
    assert (settings.aws_region, settings.auth) == ("us-east-1", "basic")


def test_the_guides_config_map_keys_are_names_of_settings() -> None:
    guide = {"storage-environment", "aws-region", "minio-endpoint", "prefect-api-url"}
    assert guide <= known_keys()


def test_dashes_and_underscores_both_name_a_setting() -> None:
    url = "http://minio:9000"
    connection = {"addresses": ["db:5432"], "ca-bundle": "/ca.pem"}
    assert parse({"minio-endpoint": url}) == parse({"minio_endpoint": url})
    assert parse({"connections": {"a_b": connection}}) == parse(
        {"connections": {"a_b": {"addresses": ["db:5432"], "ca_bundle": "/ca.pem"}}}
    )


def test_a_null_of_a_block_is_an_absent_key() -> None:
    assert parse({"minio_endpoint": None, "aws_region": None, "auth": None}) == parse({})


def test_settings_cannot_be_changed_after_they_were_parsed() -> None:
    with pytest.raises(ValidationError):
        parse({}).log_level = "DEBUG"


@pytest.mark.parametrize(
    ("key", "offer"),
    [
        ("minio-endpont", "did you mean 'minio-endpoint'?"),
        ("minio_endpont", "did you mean 'minio-endpoint'?"),
        ("prefect_api", "did you mean 'prefect-api-url'?"),
        ("zzz", "known are: auth, ca-bundle, connections"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest_name(key: str, offer: str) -> None:
    fault = fault_of({key: CANARY})
    assert f"unknown key '{key.replace('_', '-')}'. {offer}" in fault


def test_an_unknown_key_of_a_connection_is_refused_with_the_nearest_name() -> None:
    fault = fault_of({"connections": {"my_fhir": {"addresses": ["h:1"], "credential": CANARY}}})
    assert "unknown key 'connections.my_fhir.credential'. did you mean 'credentials'?" in fault


def test_a_key_of_the_other_environment_is_told_from_a_misspelled_one() -> None:
    assert fault_of({"aws-region": "eu-west-1"}) == (
        "settings: unknown key 'aws-region'. it belongs to storage-environment 'production'"
        ", this one is 'development'."
    )
    assert "it belongs to storage-environment 'development'" in fault_of(
        PRODUCTION | {"minio-endpoint": "http://minio:9000"}
    )


def test_a_region_is_told_by_an_example() -> None:
    assert fault_of(PRODUCTION | {"aws-region": "Frankfurt"}) == (
        "settings: aws-region is not a region of AWS. write it as eu-central-1."
    )


def test_production_without_a_password_cannot_be_written_down() -> None:
    assert parse({"auth": "none"}).auth == "none"
    assert "auth" in fault_of(PRODUCTION | {"auth": "none"})


def test_all_faults_are_told_at_once() -> None:
    faults = faults_of(
        {
            "storage_environment": "prod",
            "log-levle": "INFO",
            "worker-concurrency": 0,
            "minio-secret-key": CANARY,
            "connections": {"a": {}, "b": CANARY},
            "no-proxy": "a",
            "no_proxy": "b",
        }
    )
    told = "\n".join(faults)
    for expected in (
        "storage-environment is 'prod'. write development or production",
        "unknown key 'log-levle'. did you mean 'log-level'?",
        "worker-concurrency (given 0) is out of bounds. write a number greater than or equal to 1",
        "minio-secret-key is not a reference. write env:NAME, file:PATH or secret:NAME/KEY.",
        "connections.a.addresses is missing. give connections.a.addresses",
        "connections.b is not a table. write it as [connections.b]",
        "no-proxy is given twice. keep no-proxy, remove no_proxy",
    ):
        assert expected in told
    assert len(faults) == 7


def test_a_wrong_environment_does_not_make_the_keys_of_either_wrong() -> None:
    fault = fault_of(
        {"storage-environment": "prod", "aws-region": "x", "minio-endpoint": "http://m"}
    )
    assert "storage-environment is 'prod'" in fault


@pytest.mark.parametrize("given", [["production"], {"a": CANARY}, 1, True])
def test_an_environment_that_is_no_word_is_refused_unshown(given: object) -> None:
    assert "storage-environment is not a word" in fault_of({"storage-environment": given})


def test_the_origin_of_a_fault_is_told() -> None:
    with pytest.raises(ManyFaults, match=re.escape("settings.toml: unknown key 'x'")):
        parse({"x": 1}, origin="settings.toml")


def test_a_connection_may_have_the_name_of_an_environment() -> None:
    fault = fault_of({"connections": {"production": {"addresses": []}}})
    assert "connections.production.addresses" in fault


@pytest.mark.parametrize(
    "reference",
    [
        "env:MINIO_KEY",
        "file:/run/secrets/key",
        "secret:clinical-ai-aws-credentials/aws-access-key-id",
        "secret:name/.dotted_Key",
        f"secret:{'n' * 64}/key",
        f"secret:{'n' * 127}.{'m' * 125}/{'k' * 253}",
        "vault:secret/data/prefect#minio",
        "vault:team-1/kv_2/Lab.x#Access_token.1",
    ],
)
def test_each_form_of_a_reference_is_accepted(reference: str) -> None:
    assert parse({"minio-access-key": reference}).model_dump()["minio_access_key"] == reference


@pytest.mark.parametrize(
    "pasted",
    [
        CANARY,
        f"secret:{CANARY}",
        f"secret:Name/{CANARY}",
        f"secret:name/../{CANARY}",
        "secret:name/..",
        "secret:name/.",
        "secret:name/..key",
        "secret:name-/key",
        "secret:name./key",
        "secret:-name/key",
        "secret:one..two/key",
        "secret:one.-two/key",
        f"secret:{'n' * 254}/key",
        f"secret:name/{'k' * 254}",
        f"secret:name/key {CANARY}",
        f"vault:{CANARY}",
        f"vault:{CANARY}#token",
        f"vault:secret/{CANARY}",
        f"vault:secret//{CANARY}#token",
        f"vault:secret/../{CANARY}#token",
        f"vault:secret/..#{CANARY}",
        f"vault:secret/lab#{CANARY} x",
        f"vault:secret/lab?version=1#{CANARY}",
        f"env:{CANARY}",
        f"file:/etc/../{CANARY}",
        f"file:{CANARY}\0",
        f"{CANARY}\n",
        "",
    ],
)
def test_a_secret_pasted_where_a_reference_belongs_is_refused_and_never_shown(pasted: str) -> None:
    for key in REFERENCE_KEYS:
        assert "is not a reference" in fault_of({key: pasted})
    for key in ("aws-access-key-id", "aws-secret-access-key"):
        assert "is not a reference" in fault_of(PRODUCTION | {key: pasted})
    connection = {"addresses": ["db:5432"], "credentials": pasted}
    assert "credentials is not a reference" in fault_of({"connections": {"db": connection}})


def test_a_secret_that_kubernetes_would_not_take_is_told_in_one_sentence() -> None:
    fault = fault_of({"minio-access-key": "secret:lab-/token"})
    assert fault == (
        "settings: minio-access-key is not a reference to a key of a Secret. write secret:NAME/KEY"
        " with NAME of small letters, digits, - and ., first and last a letter or a digit,"
        " KEY of letters, digits, -, _ and ., and at most 253 of them in each."
    )


_ANYTHING = some.recursive(
    some.just(CANARY) | some.integers() | some.booleans(),
    lambda inner: (
        some.lists(inner, max_size=2)
        | some.dictionaries(some.sampled_from(["credentials", "addresses", "x"]), inner, max_size=2)
    ),
    max_leaves=4,
)


@given(
    raw=some.dictionaries(
        some.sampled_from(sorted(known_keys() - {"storage-environment", "log-level"})),
        _ANYTHING,
        min_size=1,
    ),
    environment=some.sampled_from(sorted(MODELS)),
)
def test_whatever_is_given_where_is_never_repeated(raw: dict[str, Any], environment: str) -> None:
    if "aws-region" in raw and environment == "production":
        del raw["aws-region"]  # a region that is no region is shown
    try:
        parse(raw | {"storage-environment": environment})
    except ManyFaults as refused:
        assert CANARY not in f"{refused} {refused!r}"  # noqa: PT017


def test_a_model_made_directly_does_not_repeat_what_it_was_given_either() -> None:
    with pytest.raises(ValidationError) as refused:
        Connection(addresses=("h:1",), credentials=CANARY)
    assert CANARY not in str(refused.value)


@pytest.mark.parametrize(
    "url", ["http://minio:9000", "https://s3.example.org", "http://[::1]:9000"]
)
def test_an_address_is_kept_without_its_last_slash(url: str) -> None:
    assert dump(parse({"minio-endpoint": f"{url}/"}))["minio-endpoint"] == url


@pytest.mark.parametrize(
    "url",
    [
        "minio:9000",
        "ftp://minio",
        "http://",
        "http://:9000",
        "http://minio:port",
        "http://minio:0",
        "http://minio:99999",
        "http://[::1",
        f"http://minio\n{CANARY}",
        f"http://minio /{CANARY}",
        f"http://{CANARY}\\evil",
        f"http://me:{CANARY}@minio",
        f"http://{CANARY}@minio",
        "http://@minio",
        f"http://minio?token={CANARY}",
        f"http://minio#{CANARY}",
    ],
)
def test_an_address_that_is_none_or_holds_credentials_is_refused_unshown(url: str) -> None:
    for key in ("minio-endpoint", "http-proxy", "https-proxy", "prefect-api-url"):
        assert re.search("is not an address|holds credentials", fault_of({key: url}))


_LABEL: Final = "n" * 63
_TOO_LONG: Final = ".".join(["n" * 50] * 5)


@pytest.mark.parametrize(
    "place",
    [
        *("h:1", "h:65535", "h:05432", "DB.Example.org:5432", "db.example.org.:5432"),
        *("my_host.example.org:1", "xn--nxasmq6b.example:1", f"{_LABEL}.{_LABEL}:1", "db.7:5432"),
        *("10.0.0.1:5432", "[fd00::1]:5432", "[::ffff:10.0.0.1]:1"),
        *("db.my-ns.svc:5432", "db.0.svc.cluster.local:1", "a.b.svc.example.org:1"),
    ],
)
def test_hosts_that_there_can_be_are_taken_in_every_address(place: str) -> None:
    allowed = [place, f"http://{place}/r4"]
    named = dict.fromkeys(("minio-endpoint", "http-proxy", "https-proxy"), f"http://{place}")
    made = parse({**named, "connections": {"a": {"addresses": allowed}}})
    assert {key: dump(made)[key] for key in named} == named
    assert made.connections["a"].addresses == tuple(allowed)


@pytest.mark.parametrize(
    ("place", "told"),
    [
        ("db.example.org:99999", "there is no such port. write one from 1 to 65535."),
        ("db.example.org:65536", "there is no such port. write one from 1 to 65535."),
        ("db.example.org:0", "there is no such port. write one from 1 to 65535."),
        (f"h:{'9' * 5000}", "there is no such port. write one from 1 to 65535."),
        ("999.0.0.1:1", "there is no such IPv4 address. write it as 10.0.0.1."),
        ("010.0.0.1:1", "there is no such IPv4 address. write it as 10.0.0.1."),
        ("10.1:1", "there is no such IPv4 address. write it as 10.0.0.1."),
        ("0x7f.1:1", "there is no such IPv4 address. write it as 10.0.0.1."),
        ("a..b:1", "there is no such host name. write words of letters, digits and -"),
        ("-a.b:1", "there is no such host name. write words of letters, digits and -"),
        (".:1", "there is no such host name. write words of letters, digits and -"),
        (f"n{_LABEL}.org:1", "there is no such host name. write words of letters"),
        (f"{_TOO_LONG}:1", "there is no such host name. write words of letters"),
        ("db..svc:1", "there is no such host name. write words of letters, digits and -"),
        ("db.my_ns.svc.cluster.local:5432", "there is no such Service. write NAME.NAMESPACE.svc"),
        ("minio_1.store.svc:9000", "there is no such Service. write NAME.NAMESPACE.svc"),
        ("proxy.A_b.svc:3128", "there is no such Service. write NAME.NAMESPACE.svc"),
    ],
)
def test_hosts_and_ports_that_there_can_not_be_are_refused_in_every_address(
    place: str, told: str
) -> None:
    for address in (place, f"http://{place}", f"https://{place}/r4"):
        fault = fault_of({"connections": {"a": {"addresses": ["h:1", address]}}})
        assert fault.startswith(f"settings: connections.a.addresses.1 is not an address: {told}")
    for key in ("minio-endpoint", "http-proxy", "https-proxy"):
        fault = fault_of({key: f"http://{place}"})
        assert fault.startswith(f"settings: {key} is not an address: {told}")


@pytest.mark.parametrize("place", ["[....]:5432", "[1:2]:3", "[1.2.3.4]:5", "[fe80::1%eth0]:6"])
def test_what_stands_in_brackets_is_an_ipv6_address(place: str) -> None:
    for address in (place, f"http://{place}"):
        fault = fault_of({"connections": {"a": {"addresses": [address]}}})
        assert fault.startswith("settings: connections.a.addresses.0 is not an address")


def test_the_api_address_ends_with_api() -> None:
    assert parse({"prefect-api-url": "http://h:4200/api/"}).prefect_api_url == "http://h:4200/api"
    assert "does not end with /api" in fault_of({"prefect-api-url": "http://h:4200"})


@pytest.mark.parametrize(
    "address", ["https://fhir.example.org/r4", "db.example.org:5432", "[::1]:1"]
)
def test_a_connection_allows_url_prefixes_and_hosts_with_ports(address: str) -> None:
    settings = parse({"connections": {"a": {"addresses": [address]}}})
    assert settings.connections["a"].addresses == (address,)


@pytest.mark.parametrize(
    "address", ["", "db", f"me:{CANARY}@db:5432", f"https://me:{CANARY}@h/r4", "*"]
)
def test_a_connection_allows_nothing_wider_and_no_credentials(address: str) -> None:
    fault = fault_of({"connections": {"a": {"addresses": [address]}}})
    assert "connections.a.addresses.0" in fault


def test_a_path_of_trust_is_absolute() -> None:
    assert parse({"ca-bundle": "/etc/ssl/ca.pem"}).ca_bundle == "/etc/ssl/ca.pem"
    assert "is not an absolute path" in fault_of({"ca-bundle": "ca.pem"})


@pytest.mark.parametrize("number", [0, 1001, True, "4", 4.5])
def test_a_number_is_a_whole_number_within_its_bounds(number: object) -> None:
    shown = f" (given {number!r})" if isinstance(number, int) else ""
    whole = isinstance(number, int) and number is not True
    told = "out of bounds. write a number" if whole else "not a whole number. write digits alone"
    fault = fault_of({"worker-concurrency": number})
    assert f"worker-concurrency{shown} is {told}" in fault


def test_nothing_differs_from_itself() -> None:
    settings = parse({"connections": {"a": {"addresses": ["h:1"]}}})
    assert differences(settings, settings) == {}


def test_differences_name_each_field_with_before_and_after() -> None:
    old = parse({"connections": {"a": {"addresses": ["h:1"]}}, "log-level": "INFO"})
    new = parse(
        {
            "connections": {"a": {"addresses": ["h:2"], "ca-bundle": "/ca"}},
            "log-level": "DEBUG",
            "minio-endpoint": "http://minio:9000",
        }
    )
    assert differences(old, new) == {
        "connections.a.addresses": (["h:1"], ["h:2"]),
        "connections.a.ca-bundle": (None, "/ca"),
        "log-level": ("INFO", "DEBUG"),
        "minio-endpoint": (None, "http://minio:9000"),
    }


def test_another_environment_differs_in_what_only_one_has() -> None:
    changed = differences(parse({}), parse(PRODUCTION))
    assert changed["storage-environment"] == ("development", "production")
    assert changed["aws-region"] == (None, "us-east-1")
    assert "prefect-api-url" not in changed


_REFERENCES = some.sampled_from(["env:A", "file:/a b", "secret:a/B.c", "vault:m/p/q#f"])
_ADDRESSES = some.sampled_from(["http://h", "https://h.example.org:1/p/q", "http://[::1]:9000"])
_NAMES = some.text(min_size=1, max_size=6)
_COMMON = {
    "log-level": some.sampled_from(["DEBUG", "INFO", "WARNING", "ERROR"]),
    "worker-concurrency": some.integers(1, 1000),
    "drain-seconds": some.integers(0, 86_400),
    "https-proxy": _ADDRESSES,
    "no-proxy": some.text(max_size=8).filter(lambda text: "{{" not in text),
    "ca-bundle": some.sampled_from(["/ca.pem", "/with space/ca.pem"]),
    "sources-columns": some.dictionaries(_NAMES, _NAMES, max_size=2),
    "connections": some.dictionaries(
        _NAMES,
        some.fixed_dictionaries(
            {"addresses": some.lists(_ADDRESSES | some.just("db:5432"), min_size=1, max_size=2)},
            optional={"credentials": _REFERENCES},
        ),
        max_size=2,
    ),
}


def _settings(environment: str, more: dict[str, Any]) -> some.SearchStrategy[Settings]:
    named = some.just(environment)
    fields = some.fixed_dictionaries({"storage-environment": named}, optional=_COMMON | more)
    build: Callable[[dict[str, Any]], Settings] = parse
    return fields.map(build)


ANY_SETTINGS: Final = _settings(
    "development",
    {
        "minio-endpoint": _ADDRESSES,
        "minio-access-key": _REFERENCES,
        "auth": some.sampled_from(["basic", "none"]),
    },
) | _settings(
    "production",
    {
        "aws-region": some.sampled_from(["eu-west-1", "us-gov-east-1"]),
        "aws-secret-access-key": _REFERENCES,
    },
)


@given(settings=ANY_SETTINGS)
def test_what_was_dumped_parses_to_the_same_settings(settings: Settings) -> None:
    assert parse(dump(settings)) == settings
    underscored = {key.replace("-", "_"): value for key, value in dump(settings).items()}
    assert parse(underscored) == settings


@given(old=ANY_SETTINGS, new=ANY_SETTINGS)
def test_settings_differ_exactly_where_they_are_not_equal(old: Settings, new: Settings) -> None:
    assert (differences(old, new) == {}) == (old == new)
