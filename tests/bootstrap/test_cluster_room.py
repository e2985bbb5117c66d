"""A namespace without room for the platform is told before anything is written there."""

from copy import deepcopy
from typing import Any, Final

import pytest

from bootstrap.cluster import needs
from clinical_ai import names
from clinical_ai.manifests.kubernetes.metadata import labels
from clinical_ai.manifests.kubernetes.migration import migration
from clinical_ai.ports_cluster import Object
from clinical_ai.settings import parse
from tests.support.cluster_to_install import Site, labelled, thing
from tests.support.kubernetes_examples import ALL, RELEASE, settings_of

# Server, both workers, a run of deploy/self, and what replaces one of them.
NEEDED: Final = {
    "pods": ("5", "4"),
    "count/pods": ("5", "4"),
    "requests.cpu": ("950m", "949m"),
    "cpu": ("0.95", "0.9"),
    "requests.memory": ("2176Mi", "2175Mi"),
    "memory": ("2.125Gi", "2.12Gi"),
    "limits.cpu": ("8", "7999m"),
    "limits.memory": ("5632Mi", "5631Mi"),
    "count/deployments.apps": ("3", "2"),
    "count/jobs.batch": ("5", "4"),
    "services": ("3", "2"),
    "count/services": ("3", "2"),
    "configmaps": ("5", "4"),
    "count/serviceaccounts": ("5", "4"),
    "count/leases.coordination.k8s.io": ("1", "0"),
}


@pytest.fixture
def site() -> Site:
    return Site(settings_of("development"))


def pods_of(site: Site, *kinds: str, phase: str = "Running") -> None:
    """Pods of the platform run in the namespace."""
    for at, kind in enumerate(kinds):
        spec = deepcopy(needs.pods(site.settings)[kind])
        pod = thing("Pod", f"{kind}-{at}", spec=spec, status={"phase": phase})
        pod["metadata"]["labels"] = labels(site.settings, kind)
        site.put(pod)


def install(site: Site) -> None:
    """The platform's objects are there, and Jobs, as after a first installation."""
    site.apply_all()
    for name in (names.INVENTORY, names.RIGHTS_INVENTORY, names.LEDGER, names.GOOD_OBJECTS):
        listed = {"objects.json": "[]"} if "inventory" in name else {}
        site.put(labelled(thing("ConfigMap", name, data=listed)))
    site.put(labelled(thing("Lease", names.CLUSTER_LEASE, "coordination.k8s.io/v1")))
    site.fake.open(site.namespace).create(migration(site.settings, RELEASE))
    for name in ("deploy", "verify", "canary", "other-canary"):
        run = thing("Job", name, "batch/v1")
        run["metadata"]["labels"] = labels(site.settings, names.PLATFORM_JOB)
        site.put(run)
    site.fake.requests.clear()


def limit(site: Site, kind: str = "Container", **bounds: Any) -> None:
    rule = {"type": kind, **bounds}
    site.put(thing("LimitRange", "tight", spec={"limits": [rule]}))


@pytest.mark.parametrize(("resource", "amounts"), NEEDED.items(), ids=NEEDED)
def test_a_quota_needs_room_for_all_that_is_there_at_once(
    site: Site, resource: str, amounts: tuple[str, str]
) -> None:
    enough, too_little = amounts
    site.quota("0", enough, resource)
    assert "room in 1 quota(s)" in site.check()
    site.quota("0", too_little, resource)
    fault = site.fault()
    assert "the quota small leaves" in fault.problem
    assert resource in fault.problem
    assert "raise it" in fault.remedy


def test_what_is_free_and_what_is_needed_is_told(site: Site) -> None:
    site.quota("3Gi", "4Gi", "requests.memory")
    assert site.fault().problem == (
        "the quota small leaves 1024Mi of 4096Mi requests.memory, the platform needs 2176Mi"
    )


def test_everything_that_is_short_is_told(site: Site) -> None:
    hard = {"pods": "9", "limits.cpu": "1", "services": "1"}
    site.put(thing("ResourceQuota", "small", status={"hard": hard, "used": {}}))
    site.put(thing("ResourceQuota", "other", status={"hard": {"pods": "1k", "cpu": "100m"}}))
    told = [fault.problem for fault in site.faults()]
    assert len(told) == 3
    for each in ("1 limits.cpu", "1 services", "quota other leaves 0.1 of 0.1 cpu"):
        assert any(each in problem for problem in told), each


def test_where_there_is_no_quota_that_is_told(site: Site) -> None:
    assert "no quota" in site.check()


def test_a_quota_that_nobody_has_counted_yet_is_counted_from_what_it_says(site: Site) -> None:
    site.put(thing("ResourceQuota", "new", spec={"hard": {"pods": "4"}}))
    assert "the quota new leaves 4 of 4 pods" in site.fault().problem


def test_a_quota_of_something_else_is_no_fault(site: Site) -> None:
    site.quota("1", "1", "requests.nvidia.com/gpu")
    site.check()


@pytest.mark.parametrize("scope", ["BestEffort", "Terminating"])
def test_a_quota_of_other_pods_is_no_fault(site: Site, scope: str) -> None:
    site.quota("0", "0", scopes=[scope])
    site.check()


def test_pods_of_the_platform_itself_are_room_for_it(site: Site) -> None:
    """Else an installation that had just enough room could not be brought up again."""
    site.quota("550m", "950m", "requests.cpu")
    assert "leaves 0.4 of 0.95 requests.cpu" in site.fault().problem
    pods_of(site, *names.WORKLOADS)
    site.check()


def test_pods_that_have_ended_are_no_room(site: Site) -> None:
    site.quota("1", "5")
    pods_of(site, names.MIGRATION, phase="Succeeded")
    assert "leaves 4 of 5 pods" in site.fault().problem


def test_a_quota_that_was_lowered_below_what_is_used_leaves_nothing(site: Site) -> None:
    site.quota("9", "5")
    assert "leaves 0 of 5 pods" in site.fault().problem


def test_replicas_belong_to_whoever_scaled_the_worker(site: Site) -> None:
    install(site)
    site.fake.edit("Deployment", names.WORKER, "ann", lambda it: it["spec"].update(replicas=4))
    site.quota("0", "7")
    assert "the platform needs 8" in site.fault().problem


def test_the_sidecar_of_vaults_agent_is_counted() -> None:
    site = Site(settings_of("vault-agent"))
    site.quota("0", "10m", "requests.cpu")
    sidecar, of_settings = 0.025, 1  # what they give to jobs
    needed = 0.2 + 0.25 + sidecar + 0.1 + of_settings + of_settings
    assert f"the platform needs {needed:g}" in site.fault().problem


def test_what_an_installed_platform_has_need_not_come(site: Site) -> None:
    install(site)
    objects = [each for each in NEEDED if each.startswith("count/") and each != "count/pods"]
    full = dict.fromkeys([*objects, "secrets", "configmaps", "services"], "9")
    site.put(thing("ResourceQuota", "full", status={"hard": full, "used": full}))
    site.check()


def test_a_secret_that_is_to_come_needs_room(site: Site) -> None:
    site.quota("9", "9", "secrets")
    site.check()
    site.remove("Secret", f"{names.PRODUCT}-encryption")
    assert "leaves 0 of 9 secrets, the platform needs 1" in site.fault().problem


def test_containers_above_a_maximum_are_told_at_once(site: Site) -> None:
    limit(site, max={"memory": "600Mi", "cpu": "8"})
    fault = site.fault()
    assert "the limit range tight wants at most 600Mi of memory in each container" in fault.problem
    for each in ("prefect-server of", "prefect-worker of", "prefect-job of"):
        assert each in fault.problem
    assert "prefect-platform-worker of" not in fault.problem
    assert "kubernetes.components" in fault.remedy


@pytest.mark.parametrize(
    ("kind", "bounds", "told"),
    [
        ("Container", {"min": {"cpu": "150m"}}, "at least 150m of cpu in each container"),
        (
            "Container",
            {"maxLimitRequestRatio": {"cpu": "9"}},
            "a limit of at most 9 requests of cpu in each container",
        ),
        ("Pod", {"max": {"memory": "600Mi"}}, "at most 600Mi of memory in each pod"),
    ],
)
def test_each_bound_that_is_broken_is_told(
    site: Site, kind: str, bounds: dict[str, Any], told: str
) -> None:
    limit(site, kind, **bounds)
    assert told in site.fault().problem


@pytest.mark.parametrize(
    ("kind", "bounds"),
    [
        ("Container", {"max": {"memory": "8Gi", "cpu": "2"}, "min": {"cpu": "100m"}}),
        ("Container", {"max": {"ephemeral-storage": "1Mi"}, "min": {"ephemeral-storage": "1Mi"}}),
        ("Container", {"maxLimitRequestRatio": {"cpu": "10"}}),
        ("PersistentVolumeClaim", {"max": {"storage": "1Mi"}}),
    ],
)
def test_bounds_that_are_kept_to_are_no_fault(
    site: Site, kind: str, bounds: dict[str, Any]
) -> None:
    limit(site, kind, **bounds)
    assert "within 1 limit range(s)" in site.check()


def with_resources(resources: dict[str, Any], *parts: str) -> Site:
    """A site whose settings give these to some components."""
    cluster = deepcopy(ALL["development"]["kubernetes"])
    cluster["components"] = {each: {"resources": resources} for each in parts}
    return Site(parse({**ALL["development"], "kubernetes": cluster}))


def test_asking_for_less_in_settings_heals_it() -> None:
    parts = ("server", "worker", "platform-worker", "jobs", "migration")
    site = with_resources({"limits": {"cpu": "500m"}}, *parts)
    limit(site, max={"cpu": "500m"})
    site.check()


@pytest.mark.parametrize("listed", [True, False])
def test_a_request_above_the_limit_beside_it_is_told(listed: bool) -> None:
    """As nothing would before the API server refuses the pods, or a run its Job."""
    site = with_resources({"requests": {"cpu": "3", "ephemeral-storage": "1Gi"}}, "server", "jobs")
    site.fake.denied = set() if listed else {("list", "limitranges")}
    faults = {fault.problem: fault.remedy for fault in site.faults()}
    [server] = [each for each in faults if each.startswith("prefect-server of")]
    assert server.endswith("requests 3 of cpu, its limit is 2")
    assert "give limits.cpu beside it" in faults[server]
    assert any(each.startswith("prefect-job of") for each in faults)
    assert len(faults) == 2, "without a limit any request will do"
    both = {"requests": {"cpu": "3"}, "limits": {"cpu": "3"}}
    assert "no quota" in with_resources(both, "server", "jobs").check()


def test_whoever_may_not_list_them_is_told_that_nobody_looked(site: Site) -> None:
    site.quota("0", "0")
    limit(site, max={"cpu": "1m"})
    site.fake.denied = {("list", "resourcequotas"), ("list", "limitranges")}
    found = site.check()
    assert "quotas not looked at (you may not list them)" in found
    assert "limit ranges not looked at (you may not list them)" in found


def test_an_object_without_labels_is_no_job_of_ours(site: Site) -> None:
    theirs: Object = thing("Job", "theirs", "batch/v1")
    site.put(theirs)
    site.quota("1", "5", "count/jobs.batch")
    assert "leaves 4 of 5" in site.fault().problem


def test_others_jobs_of_which_there_may_be_thousands_are_not_read(site: Site) -> None:
    site.quota("0", "5", "count/jobs.batch")
    site.check()
    lists = [it for it in site.fake.requests if (it.verb, it.served.kind) == ("list", "Job")]
    asked = {it.query.get("labelSelector") for it in lists}
    assert asked == {f"app={names.MIGRATION}", f"app={names.PLATFORM_JOB}"}
