"""What deploy/self is brought to roll out and does not come up is told, and taken back.

One after the other on one platform: each has to leave it as it was for the next.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import pytest

from clinical_ai import names
from clinical_ai.ports_cluster import Object, Ref
from clinical_ai.steps.runs import Run
from tests.support.cluster_site import ClusterSite

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

QUOTA: Final = "e2e-quota"
CRASH: Final = "a container that crashes"
FULL: Final = "a quota that is used up"
CAUSES: Final = {
    CRASH: "no Python frame",  # the last of its log
    FULL: f"its pods exceed the quota {QUOTA}",
}


@dataclass(frozen=True)
class Outcome:
    """How the run ended, and what was there before and afterwards."""

    run: Run
    before: dict[str, Any]
    after: dict[str, Any]
    entry: dict[str, Any]
    healthy: bool


def templates(site: ClusterSite) -> dict[str, Object]:
    refs = [Ref("apps/v1", "Deployment", name) for name in names.WORKLOADS]
    return {ref.name: site.api.get(ref)["spec"]["template"] for ref in refs}


def crash(site: ClusterSite) -> Run:
    site.add_to("server", environment={"PYTHONHOME": "/nonexistent"})
    return site.deploy().run


def fill(site: ClusterSite) -> Run:
    """Room for the run's own pod, and for none that replaces another.

    Counted is what stays: the pod of the run before may not have ended yet.
    """
    site.add_to("server", annotations={"e2e/changed": "1"})
    room = len(names.WORKLOADS) + 1
    site.kubectl("create", "quota", QUOTA, f"--hard=pods={room}")
    try:
        return site.deploy().run
    finally:
        site.kubectl("delete", "quota", QUOTA)


@pytest.fixture(scope="module")
def outcomes(site: ClusterSite) -> Iterator[dict[str, Outcome]]:
    found = {}
    for name, cause in ((CRASH, crash), (FULL, fill)):
        before = templates(site)
        run = cause(site)
        seen = site.status()
        found[name] = Outcome(run, before, templates(site), site.ledger[-1], seen["healthy"])
    yield found
    site.add_to("server")


@pytest.mark.parametrize("name", CAUSES)
def test_it_is_told_with_its_cause_before_the_progress_deadline(
    outcomes: dict[str, Outcome], name: str
) -> None:
    run = outcomes[name].run
    assert run.state == "FAILED"
    assert CAUSES[name] in run.message
    assert "deadline" not in run.message
    assert "is not there after" not in run.message  # as a wait says that has run out


@pytest.mark.parametrize("name", CAUSES)
def test_what_ran_before_runs_again(outcomes: dict[str, Outcome], name: str) -> None:
    assert outcomes[name].after == outcomes[name].before
    assert outcomes[name].healthy


@pytest.mark.parametrize("name", CAUSES)
def test_the_ledger_tells_of_it_without_the_lines_of_a_log(
    outcomes: dict[str, Outcome], name: str
) -> None:
    entry = outcomes[name].entry
    assert outcomes[name].run.name in entry["run"]
    assert "does not" in entry["failed"]
    assert "no Python frame" not in json.dumps(entry)


def test_the_platform_works_afterwards(outcomes: dict[str, Outcome], site: ClusterSite) -> None:
    site.add_to("server")
    run = site.deploy().run
    assert run.completed, run.message
    assert "failed" not in site.ledger[-1]
    assert site.status()["drift"]["differing"] == []


def test_a_setting_with_which_no_run_starts_is_taken_back_and_can_be_mended(
    outcomes: dict[str, Outcome], site: ClusterSite
) -> None:
    site.add_to("jobs", environment={"PYTHONHOME": "/nonexistent"})
    try:
        run = site.deploy().run
        assert run.state == "FAILED"
        assert "failed: canary runs" in run.message
        assert "starts no run" in site.ledger[-1]["failed"]
    finally:
        site.add_to("jobs")
    mended = site.deploy().run  # it is started from what was put back
    assert mended.completed, mended.message


def test_an_image_that_does_not_exist_is_told_by_bootstrap_and_replaces_nothing(
    outcomes: dict[str, Outcome], site: ClusterSite
) -> None:
    before = templates(site)
    [container] = before[names.SERVER]["spec"]["containers"]
    image = f"{container['image'].partition('@')[0]}@sha256:{'0' * 64}"
    refused = site.bootstrap("--image", image)
    assert refused.returncode == 1
    assert "the registry has no" in refused.stderr
    assert templates(site) == before
