"""An operator runs deploy/self in Prefect's pages, by port-forward and through the Ingress."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import pytest
from playwright.sync_api import Page, expect

from clinical_ai import names
from clinical_ai.adapters.port_forward import forwarded
from tests.support.browser import browser_page
from tests.support.production_site import ProductionSite

pytestmark = [pytest.mark.cluster, pytest.mark.parts, pytest.mark.timeout(900)]

_RUN_MILLISECONDS: Final = 300_000


@contextmanager
def opened(site: ProductionSite, way: str) -> Iterator[Page]:
    """The pages' address, open in a browser that nobody has logged in with."""
    if way == "Ingress":
        with browser_page(site.address, site.host) as page:
            page.goto(f"https://{site.host}/")
            yield page
        return
    with (
        forwarded(os.environ, site.namespace, names.SERVER, names.API_PORT) as port,
        browser_page("127.0.0.1") as page,
    ):
        page.goto(f"http://127.0.0.1:{port}/")
        yield page


def log_in(page: Page, password: str) -> None:
    page.locator("input[type=password]").fill(password)
    page.get_by_role("button", name="Login").click()


@pytest.mark.parametrize("way", ["port-forward", "Ingress"])
def test_a_wrong_password_opens_no_page(production: ProductionSite, way: str) -> None:
    with opened(production, way) as page:
        log_in(page, "admin:wrong")
        expect(page.locator("input[type=password]")).to_be_visible()
        expect(page.get_by_role("link", name="Deployments")).to_have_count(0)


@pytest.mark.parametrize("way", ["port-forward", "Ingress"])
def test_deploy_self_is_started_from_its_form_and_tells_what_it_did(
    production: ProductionSite, way: str
) -> None:
    run = f"by-{way.lower()}"
    with opened(production, way) as page:
        log_in(page, production.password())
        page.get_by_role("link", name="Deployments").click()
        page.get_by_role("link", name="self", exact=True).click()
        page.get_by_role("button", name="Run", exact=True).click()
        page.get_by_role("menuitem", name="Custom run").click()
        page.get_by_label("Run Name").fill(run)
        page.get_by_role("button", name="Submit").click()
        page.get_by_role("link", name=run).first.click()
        page.wait_for_url("**/runs/flow-run/**")
        expect(page.get_by_text("Completed", exact=True)).to_be_visible(timeout=_RUN_MILLISECONDS)
        page.get_by_role("tab", name="Artifacts").click()
        page.get_by_role("link", name="deploy-self", exact=True).click()
        page.wait_for_url("**/artifacts/**")
        expect(page.get_by_role("link", name=run).first).to_be_visible()
        expect(page.get_by_text(names.SERVER).first).to_be_visible()
