"""An operator runs deploy/self in Prefect's pages, by port-forward and through the Ingress."""

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final

import pytest
from playwright.sync_api import Error, Locator, Page, expect

from clinical_ai import names
from clinical_ai.adapters.port_forward import forwarded
from clinical_ai.steps.runs import FINAL
from clinical_ai.waiting import Sighting, wait_until
from tests.support.browser import browser_page
from tests.support.cluster_site import Told
from tests.support.production_site import ProductionSite

pytestmark = [pytest.mark.cluster, pytest.mark.parts, pytest.mark.timeout(900)]

_RUN_SECONDS: Final = 300
_PATIENCE: Final = 15  # seconds for what should be there at once
_INGRESS, _STORE = f"Ingress {names.SERVER}", f"SecretStore {names.VAULT}"
# With it its Secret goes, too, which the run that heals would read.
_SYNCED: Final = f"ExternalSecret {names.AWS_CREDENTIALS}"
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


@dataclass(frozen=True)
class Operator:
    """A person who loads a page again that stays empty, and logs in whenever that is asked.

    Chromium gives up what it loads when an interface comes or goes, as with each pod of this node;
    Prefect's pages ask for the password when they could not learn whether there is one.
    """

    page: Page
    password: str

    @property
    def asked(self) -> Locator:
        """The field of the password."""
        return self.page.locator("input[type=password]")

    def log_in(self) -> None:
        self.asked.fill(self.password)
        self.page.get_by_role("button", name="Login").click()

    def see(self, what: Locator, seconds: float = 120) -> Locator:
        """It, once it is shown."""

        def look() -> Sighting:
            self.is_shown(what.or_(self.asked).first)
            address = self.page.url
            if what.is_visible():
                return Sighting(done=True, summary="shown")
            if self.asked.is_visible():
                self.log_in()
                with suppress(AssertionError):
                    expect(self.asked).to_be_hidden(timeout=_PATIENCE * 1000)
            else:
                visit(self.page, address)
            return Sighting(done=False, summary=f"not shown at {address}")

        wait_until(str(what), look, seconds=seconds)
        return what

    def is_shown(self, what: Locator, seconds: float = _PATIENCE) -> bool:
        """Whether it is shown within so long."""
        try:
            expect(what).to_be_visible(timeout=seconds * 1000)
        except AssertionError:
            return False
        return True

    def start(self, run: str) -> None:
        """A run of this name, by the form of the deployment that is open; its page is open then."""
        deployment = self.page.url
        link = self.page.get_by_role("link", name=run).first

        def look() -> Sighting:
            self.see(self.page.get_by_role("button", name="Run", exact=True)).click()
            self.page.get_by_role("menuitem", name="Custom run").click()
            self.see(self.page.get_by_label("Run Name")).fill(run)
            self.page.get_by_role("button", name="Submit").click()
            if self.is_shown(link, 60):
                return Sighting(done=True, summary="started")
            visit(self.page, deployment)  # what was sent, or its answer, may have been given up
            return Sighting(done=self.is_shown(link), summary="not among the runs")

        wait_until(f"run {run}", look, seconds=300)
        link.click()


@pytest.mark.parametrize("way", ["port-forward", "Ingress"])
def test_a_wrong_password_opens_no_page(production: ProductionSite, way: str) -> None:
    with opened(production, way) as page:
        operator = Operator(page, "admin:wrong")
        operator.see(operator.asked)
        operator.log_in()
        expect(operator.asked).to_be_visible()
        expect(page.get_by_role("link", name="Deployments")).to_have_count(0)


def run_by_form(production: ProductionSite, way: str) -> None:
    """A run of deploy/self is started in the pages, and seen to complete and to tell."""
    run = f"by-{way.lower()}"
    with opened(production, way) as page:
        operator = Operator(page, production.password())
        operator.see(page.get_by_role("link", name="Deployments")).click()
        operator.see(page.get_by_role("link", name="self", exact=True)).click()
        operator.see(page.get_by_role("button", name="Run", exact=True))
        operator.start(run)
        operator.see(page.get_by_role("tab", name="Logs"))  # the run's own page
        operator.see(page.get_by_text("Completed", exact=True).first, _RUN_SECONDS)
        operator.see(page.get_by_role("tab", name="Artifacts")).click()
        operator.see(page.get_by_text("deploy-self-changes", exact=True)).click()
        operator.see(page.get_by_role("link", name=_VERSION).first).click()  # the newest
        operator.see(page.get_by_text("work pool platform").first)
        operator.see(page.get_by_role("link", name=run).first)


@contextmanager
def damaged(site: ProductionSite, deleted: Sequence[str], edited: Sequence[str]) -> Iterator[None]:
    """Somebody deletes and edits these, which is told; runs of the block have healed all of it."""
    last, both = site.last_deploy(), {*deleted, *edited}
    for what in deleted:
        site.kubectl("delete", *what.split())
    lost = f"{names.OWNER_LABEL}-"  # as kubectl is told to take a label away
    for what in edited:
        site.kubectl("label", *what.split(), lost, "--field-manager=kubectl-edit")
    told = site.status()["drift"]["differing"]
    for what in both:
        assert any(what.replace(" ", f" {site.namespace}/") in each for each in told), told
    yield
    runs = ended_since(site, last)
    assert both <= set[str]().union(*(each.differing for each in runs))
    assert site.status()["drift"]["differing"] == []


def ended_since(site: ProductionSite, last: Told) -> list[Told]:
    """All runs that began after that one, at their end.

    More than one, where a page did not show the first, or lost the name that it was given. One that
    has healed proves it, and tells then; the next has nothing to prove and may be faster.
    """

    def since() -> list[Told]:
        runs = site.deploys(limit=10)
        return runs[: [it.run.id for it in runs].index(last.run.id)]

    def look() -> Sighting:
        left = [it.run.state for it in since()]
        return Sighting(set(left) <= set(FINAL), f"{left}")

    wait_until(f"the end of all runs since {last.run.name}", look, seconds=_RUN_SECONDS)
    return since()


def test_deploy_self_is_started_from_its_form_and_heals_what_only_production_has(
    production: ProductionSite,
) -> None:
    with damaged(production, deleted=(_INGRESS, _SYNCED), edited=(_STORE,)):
        run_by_form(production, "port-forward")


def test_deploy_self_is_started_from_its_form_through_the_ingress_and_heals_the_rest(
    production: ProductionSite,
) -> None:
    kept = f"ConfigMap {names.CONFIGURATION}"
    with damaged(production, deleted=(_STORE,), edited=(_INGRESS, _SYNCED, kept)):
        run_by_form(production, "Ingress")
