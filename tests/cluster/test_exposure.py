"""The API and its pages are reached through the Ingress, with TLS, by whoever has the password."""

import ssl
from typing import Any, Final

import httpx
import pytest

from clinical_ai.waiting import Sighting, wait_until
from tests.support.production_site import ProductionSite

pytestmark = [pytest.mark.cluster, pytest.mark.parts, pytest.mark.timeout(900)]

_PAGES: Final = ("/v2/", "/v2/dashboard", "/v2/runs/flow-run/1", "/ui-settings")


def ask(site: ProductionSite, path: str, *, scheme: str = "https", **more: Any) -> httpx.Response:
    """As a browser that finds the ingress controller by the host's name and trusts its issuer."""
    trust = ssl.create_default_context(cafile=str(site.authority))
    with httpx.Client(verify=trust, timeout=15) as client:
        return client.get(
            f"{scheme}://{site.address}{path}",
            headers={"Host": site.host, "Accept": "text/html, */*"},
            extensions={"sni_hostname": site.host},
            **more,
        )


@pytest.fixture(scope="module")
def site(production: ProductionSite) -> ProductionSite:
    """Its Ingress is known to the controller."""

    def look() -> Sighting:
        try:
            answer = ask(production, "/api/health")
        except httpx.HTTPError as error:
            return Sighting(done=False, summary=str(error))
        return Sighting(answer.status_code == 200, str(answer.status_code))

    wait_until("the Ingress", look, seconds=60)
    return production


def test_the_api_answers_whoever_has_the_password(site: ProductionSite) -> None:
    user, _, password = site.password().partition(":")
    answer = ask(site, "/api/admin/version", auth=(user, password))
    assert answer.status_code == 200
    assert answer.json()[0].isdigit()


@pytest.mark.parametrize("auth", [None, ("admin", "wrong"), ("", "")])
def test_the_api_refuses_whoever_has_not(
    site: ProductionSite, auth: tuple[str, str] | None
) -> None:
    assert ask(site, "/api/admin/version", auth=auth).status_code == 401


@pytest.mark.parametrize("path", _PAGES)
def test_the_pages_are_served_and_hold_no_address_of_the_cluster(
    site: ProductionSite, path: str
) -> None:
    answer = ask(site, path, follow_redirects=False)
    assert answer.status_code == 200
    assert "127.0.0.1" not in answer.text
    assert "svc.cluster.local" not in answer.text


def test_who_asks_for_the_host_alone_is_sent_to_its_pages(site: ProductionSite) -> None:
    answer = ask(site, "/", follow_redirects=False)
    assert answer.is_redirect
    assert answer.headers["Location"] in {"/v2/", f"https://{site.host}/v2/"}


def test_the_pages_call_the_api_where_they_were_loaded_from(site: ProductionSite) -> None:
    assert ask(site, "/ui-settings").json()["api_url"] == "/api"


def test_another_host_gets_nothing_of_it(site: ProductionSite) -> None:
    with httpx.Client(verify=False, timeout=15) as client:  # noqa: S501 - whatever it shows
        answer = client.get(
            f"https://{site.address}/api/health", headers={"Host": "other.example.org"}
        )
    assert answer.status_code == 404


def test_without_tls_nothing_but_the_way_to_it_is_served(site: ProductionSite) -> None:
    answer = ask(site, "/api/admin/version", scheme="http", follow_redirects=False)
    assert answer.status_code in {301, 302, 307, 308, 404}
    if answer.is_redirect:
        assert answer.headers["Location"].startswith(f"https://{site.host}")
