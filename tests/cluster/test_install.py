"""A platform installs itself from nothing; installing it again changes nothing."""

import pytest

from clinical_ai import names
from tests.support.cluster_site import ClusterSite

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]


def test_bootstrap_from_nothing_ends_with_every_check_passed(site: ClusterSite) -> None:
    assert "Namespace" in site.first
    assert "canary runs" in site.first
    assert " 0 failed" in site.first
    assert "FAIL " not in site.first
    assert names.VERIFY in site.first
    assert "kubectl port-forward" in site.first


def test_status_tells_of_a_platform_that_is_well(site: ClusterSite) -> None:
    seen = site.status()
    assert seen["healthy"]
    assert seen["drift"]["differing"] == []
    assert seen["break_glass"] is None
    assert seen["lease"] is None
    assert seen["failed"] is None
    assert [each["state"] for each in seen["workloads"]] == ["1 pods are available"] * 3


def test_bootstrap_again_writes_nothing_and_starts_nothing(site: ClusterSite) -> None:
    before = site.versions(), site.rows()
    said = site.up()
    assert (site.versions(), site.rows()) == before
    assert "unchanged" in next(line for line in said.splitlines() if names.DEPLOY_SELF in line)


def test_deploy_self_again_writes_nothing_but_its_own_report(site: ClusterSite) -> None:
    before = site.versions()
    told = site.deploy()
    after = site.versions()
    assert told.run.completed, told.run.message
    assert told.differing == {}
    written = {name for name, version in before.items() if after.get(name) != version}
    assert written == {f"Lease {names.CLUSTER_LEASE}"}


def test_no_password_is_said(site: ClusterSite) -> None:
    password = site.environment["E2E_DATABASE_URL"].split(":")[2].partition("@")[0]
    said = site.first + site.up() + site.cli("status").stdout
    assert password not in said
