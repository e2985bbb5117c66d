"""A row can ask only the addresses that its connection allows."""

import pytest

from clinical_ai.addresses import bypasses_proxy, origin, within

ALLOWED = ["https://fhir.example/r4", "http://10.0.0.5:8080"]


@pytest.mark.parametrize(
    "address",
    [
        "https://fhir.example/r4",
        "https://fhir.example:443/r4/Patient?name=x",
        "https://FHIR.example/r4/",
        "https://fhir.example/r4?_getpages=1",
        "http://10.0.0.5:8080/anything",
    ],
)
def test_what_is_below_an_allowed_prefix_is_allowed(address: str) -> None:
    assert within(address, ALLOWED)


@pytest.mark.parametrize(
    "address",
    [
        "https://fhir.example/r4x",
        "https://fhir.example.evil/r4",
        "https://evil@fhir.example/r4",
        "https://fhir.example@evil/r4",
        "https://fhir.example/r4/../admin",
        "https://fhir.example/r4/%2e%2e/admin",
        "https://fhir.example/r4\\..\\admin",
        "https://fhir.example:8443/r4",
        "http://fhir.example/r4",
        "http://10.0.0.5/anything",
        "ftp://fhir.example/r4",
        "//fhir.example/r4",
        "https://fhir.example:99999/r4",
        "https://[fhir/r4",
        "https://fhir.example/r4\n/x",
        "",
    ],
)
def test_everything_else_is_not(address: str) -> None:
    assert not within(address, ALLOWED)


def test_an_origin_tells_no_path_no_query_and_no_credentials() -> None:
    assert origin("https://user:secret@fhir.example/r4?name=x") == "https://fhir.example"


@pytest.mark.parametrize(
    ("no_proxy", "host", "bypassed"),
    [
        ("example.org, .hospital", "fhir.hospital", True),
        ("example.org", "www.example.org", True),
        ("example.org", "myexample.org", False),
        ("*", "anything", True),
        ("", "anything", False),
        (None, "anything", False),
    ],
)
def test_no_proxy_is_read_as_curl_reads_it(no_proxy: str | None, host: str, bypassed: bool) -> None:
    assert bypasses_proxy(host, no_proxy) is bypassed
