"""One switch stops whatever the platform would change of itself, and bootstrap as well.

Not just after runs that could not start: what workers logged of them fails a check for a minute.
"""

from collections.abc import Iterator
from typing import Final

import pytest

from clinical_ai import names
from clinical_ai.ports_cluster import Ref
from tests.support.cluster_site import ClusterSite

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

REASON: Final = "the database moves tonight"
BUDGET: Final = Ref("policy/v1", "PodDisruptionBudget", names.WORKER)
RIGHTS: Final = Ref("v1", "ServiceAccount", names.MIGRATION)


@pytest.fixture(scope="module")
def stopped(site: ClusterSite) -> Iterator[ClusterSite]:
    """While something differs that both would mend."""
    for ref in (BUDGET, RIGHTS):
        site.kubectl("delete", ref.kind, ref.name)
    assert site.cli("break-glass", "on", "--reason", REASON).returncode == 0
    yield site
    site.cli("break-glass", "off")


def test_status_shows_the_reason(stopped: ClusterSite) -> None:
    assert REASON in stopped.status()["break_glass"]
    assert REASON in stopped.cli("status").stdout


def test_deploy_self_is_refused_with_the_reason_and_changes_nothing(stopped: ClusterSite) -> None:
    before = stopped.versions(), stopped.rows()
    told = stopped.deploy()
    after = stopped.versions(), stopped.rows()
    assert told.run.state == "FAILED"
    assert f"self-management is stopped: {REASON}" in told.run.message
    written = {name for name, version in before[0].items() if after[0].get(name) != version}
    assert written <= {f"Lease {names.CLUSTER_LEASE}"}
    for rows in (before[1], after[1]):
        del rows["runs"]
    assert after[1] == before[1]


def test_bootstrap_is_refused_with_the_reason_and_changes_nothing(stopped: ClusterSite) -> None:
    before = stopped.versions(), stopped.rows()
    refused = stopped.bootstrap()
    assert refused.returncode == 1
    assert f"self-management is stopped: {REASON}" in refused.stderr
    assert "break-glass" in refused.stderr
    assert stopped.versions() == before[0]
    assert stopped.rows() == before[1]


def test_both_go_on_when_it_is_off(stopped: ClusterSite) -> None:
    assert stopped.cli("break-glass", "off").returncode == 0
    stopped.up()
    assert stopped.api.find(RIGHTS) is not None
    told = stopped.last_deploy()  # `up` starts it, since something differs
    assert told.run.completed, told.run.message
    assert stopped.api.find(BUDGET) is not None
    assert stopped.status()["break_glass"] is None
