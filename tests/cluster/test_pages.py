"""An operator runs deploy/self in Prefect's pages, by port-forward and through the Ingress."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import pytest
from playwright.sync_api import Error, Locator, Page, expect

from clinical_ai import names
from clinical_ai.adapters.port_forward import forwarded
from clinical_ai.waiting import Sighting, wait_until
from tests.support.browser import browser_page
from tests.support.production_site import ProductionSite

pytestmark = [pytest.mark.cluster, pytest.mark.parts, pytest.mark.timeout(900)]

_RUN_SECONDS: Final = 300
_PATIENCE: Final = 15_000  # milliseconds
_VERSION: Final = re.compile("^[0-9a-f]{8}$")  # of an artifact


@contextmanager
def opened(site: ProductionSite, way: str) -> Iterator[Page]:
    """The pages' address, open in a browser that nobody has logged in with."""
    if way == "Ingress":
        with browser_page(site.address, site.host) as page:
            visit(page, f"https://{site.host}/")
            yield page
        return
    with (
        forwarded(os.environ, site.namespace, names.SERVER, names.API_PORT) as port,
        browser_page("127.0.0.1") as page,
    ):
        visit(page, f"http://127.0.0.1:{port}/")
        yield page


def visit(page: Page, address: str) -> None:
    """The page may stay empty: Chromium gives up when the network changes."""
    try:
        page.goto(address)
    except Error as error:
        if "ERR_NETWORK_CHANGED" not in error.message:
            raise


def shown(page: Page, what: Locator, seconds: float = 120) -> Locator:
    """What a person sees who loads a page again that stays empty.

    Chromium gives up what it loads when an interface comes or goes, as with each pod of this node.
    """

    def look() -> Sighting:
        try:
            expect(what).to_be_visible(timeout=_PATIENCE)
        except AssertionError:
            visit(page, page.url)
            return Sighting(done=False, summary=f"not shown at {page.url}")
        return Sighting(done=True, summary="shown")

    wait_until(str(what), look, seconds=seconds)
    return what


def log_in(page: Page, password: str) -> None:
    shown(page, page.locator("input[type=password]")).fill(password)
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
        shown(page, page.get_by_role("link", name="Deployments")).click()
        shown(page, page.get_by_role("link", name="self", exact=True)).click()
        shown(page, page.get_by_role("button", name="Run", exact=True)).click()
        page.get_by_role("menuitem", name="Custom run").click()
        shown(page, page.get_by_label("Run Name")).fill(run)
        page.get_by_role("button", name="Submit").click()
        shown(page, page.get_by_role("link", name=run).first).click()
        shown(page, page.get_by_role("tab", name="Logs"))  # the run's own page
        shown(page, page.get_by_text("Completed", exact=True).first, _RUN_SECONDS)
        shown(page, page.get_by_role("tab", name="Artifacts")).click()
        shown(page, page.get_by_text("deploy-self-changes", exact=True)).click()
        shown(page, page.get_by_role("link", name=_VERSION).first).click()  # the newest
        shown(page, page.get_by_text("work pool platform").first)
        shown(page, page.get_by_role("link", name=run).first)
