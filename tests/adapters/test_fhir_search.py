"""A FHIR server over HTTP: read to the end, patient with outages, never led astray."""

import json

import pytest
from pydantic import SecretStr

from clinical_ai.adapters.fhir_search import Access, HttpFhirServer, Patience
from clinical_ai.errors import NeedsOperator, PlatformError, Transient
from tests.support.fhir_server import Fault, FhirTestServer, fhir_server

__all__ = ["fhir_server"]
CANARY = "Chalmers-canary"


class Asking:
    """A client of the test server that writes its pauses down instead of making them."""

    def __init__(self, server: FhirTestServer, **access: object) -> None:
        self.pauses: list[float] = []
        allowed = access.pop("allowed", (server.base,))
        made = Access(base=server.base, allowed=allowed, **access)  # type: ignore[arg-type]
        patience = Patience(tries=3, request_seconds=5, pause=self.pauses.append)
        self.server = HttpFhirServer(made, patience)

    def all(self, **query: str) -> list[str]:
        return [
            entry["resource"]["id"]
            for bundle in self.server.search("Patient", query)
            for entry in json.loads(bundle)["entry"]
        ]


@pytest.fixture
def filled(fhir_server: FhirTestServer) -> FhirTestServer:
    fhir_server.resources = [f'{{"resourceType": "Patient", "id": "p{n}"}}' for n in range(7)]
    return fhir_server


def test_all_pages_are_read(filled: FhirTestServer) -> None:
    assert Asking(filled).all(_count="3") == [f"p{n}" for n in range(7)]
    assert len(filled.asked) == 3


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_an_outage_is_borne_and_retry_after_is_kept(filled: FhirTestServer, status: int) -> None:
    filled.faults = [Fault(status, {"Retry-After": "7"}), Fault(status)]
    asking = Asking(filled)
    assert len(asking.all()) == 7
    assert asking.pauses == [7.0, 2.0]


def test_retry_after_may_be_a_date_and_is_never_for_ever(filled: FhirTestServer) -> None:
    date, long = "Fri, 31 Dec 1999 23:59:59 GMT", "999999"
    filled.faults = [Fault(503, {"Retry-After": date}), Fault(503, {"Retry-After": long})]
    asking = Asking(filled)
    asking.all()
    assert asking.pauses == [0.0, 60.0]


def test_an_outage_has_an_end(filled: FhirTestServer) -> None:
    filled.faults = [Fault(503)] * 9
    with pytest.raises(Transient, match="does not answer: HTTP 503"):
        Asking(filled).all()
    assert len(filled.asked) == 3


def test_a_server_that_is_not_there_is_transient(fhir_server: FhirTestServer) -> None:
    fhir_server.close()
    with pytest.raises(Transient, match="ConnectError"):
        Asking(fhir_server).all()


@pytest.mark.parametrize(
    ("status", "said"),
    [(400, "query"), (401, "credentials"), (403, "credentials"), (404, "location")],
)
def test_a_refusal_says_what_to_do(filled: FhirTestServer, status: int, said: str) -> None:
    filled.faults = [Fault(status, body=CANARY)]
    with pytest.raises(NeedsOperator, match=said) as refused:
        Asking(filled).all(name=CANARY)
    assert CANARY not in str(refused.value)


def test_a_next_link_to_another_address_is_not_followed(filled: FhirTestServer) -> None:
    filled.next_base = f"http://evil.example/{CANARY}"
    with pytest.raises(
        NeedsOperator, match=r"links to another address, http://evil\.example"
    ) as met:
        Asking(filled, credentials=SecretStr("token")).all(_count="3")
    assert CANARY not in str(met.value)
    assert len(filled.asked) == 1


def test_a_redirection_is_not_followed(filled: FhirTestServer) -> None:
    filled.faults = [Fault(302, {"Location": "http://evil.example/"})]
    with pytest.raises(NeedsOperator, match="sends on to another address"):
        Asking(filled).all()


def test_pages_that_go_round_in_circles_come_to_an_end(fhir_server: FhirTestServer) -> None:
    link = [{"relation": "next", "url": f"{fhir_server.base}/Patient?page=1"}]
    body = json.dumps({"resourceType": "Bundle", "link": link, "entry": []})
    fhir_server.faults = [Fault(200, body=body)] * 9
    with pytest.raises(Transient, match="again and again"):
        Asking(fhir_server).all()


@pytest.mark.parametrize(
    "body", ["<html>", "[]", '{"link": 3}', '{"link": [{"relation": "next"}]}']
)
def test_what_is_no_bundle_is_refused(fhir_server: FhirTestServer, body: str) -> None:
    fhir_server.faults = [Fault(200, body=body)]
    with pytest.raises(PlatformError, match="not a bundle"):
        list(Asking(fhir_server).server.search("Patient", {}))


@pytest.mark.parametrize(
    ("credentials", "header"),
    [
        (None, None),
        ("abc.def", "Bearer abc.def"),
        ("Bearer abc", "Bearer abc"),
        ("user:pass:word", "Basic dXNlcjpwYXNzOndvcmQ="),
    ],
)
def test_credentials_are_sent(
    filled: FhirTestServer, credentials: str | None, header: str | None
) -> None:
    Asking(filled, credentials=SecretStr(credentials) if credentials else None).all()
    assert filled.authorizations == [header]


def test_the_proxy_of_the_settings_is_used_and_no_other(
    filled: FhirTestServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    assert len(Asking(filled).all()) == 7
    proxy = filled.base.removesuffix("/fhir")
    asking = Asking(filled, allowed=("http://fhir.example",), http_proxy=proxy)
    asking.server = HttpFhirServer(
        Access("http://fhir.example/fhir", ("http://fhir.example",), http_proxy=proxy)
    )
    filled.next_base = "http://fhir.example/fhir"
    assert len(asking.all(_count="5")) == 7
    assert filled.asked[-1].startswith("http://fhir.example/fhir/Patient")


def test_no_proxy_leaves_the_proxy_out(filled: FhirTestServer) -> None:
    proxied = Asking(filled, http_proxy="http://127.0.0.1:1", no_proxy="127.0.0.1")
    assert len(proxied.all()) == 7


def test_a_ca_bundle_that_cannot_be_read_is_named(filled: FhirTestServer) -> None:
    with pytest.raises(NeedsOperator, match="/no/such/bundle"):
        Asking(filled, ca_bundle="/no/such/bundle").all()
