"""Each fault that stops an installation in a cluster is told with its remedy, all at once."""

from base64 import b64encode
from collections.abc import Callable
from typing import Any, Final

import pytest

from bootstrap.cluster import checks
from clinical_ai import names
from clinical_ai.adapters.cluster_secrets import ClusterSecrets
from clinical_ai.errors import ManyFaults, NeedsOperator, Transient
from clinical_ai.manifests.kubernetes import credentials, desired
from clinical_ai.manifests.kubernetes.metadata import labels
from clinical_ai.ports_cluster import Object
from clinical_ai.settings import Settings, parse
from tests.support.fake_cluster import FakeCluster
from tests.support.kubernetes_examples import ALL, RELEASE, settings_of

NAMESPACE: Final = "clinical-ai"
MORE_KINDS: Final = {
    "external-secrets.io/v1": ("SecretStore", "ExternalSecret"),
    "gateway.networking.k8s.io/v1": ("HTTPRoute",),
    "v1": ("PersistentVolumeClaim",),
}


def thing(kind: str, name: str, api_version: str = "v1", **body: Any) -> Object:
    place = {} if kind == "IngressClass" else {"namespace": NAMESPACE}
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": name, **place}, **body}


class Site:
    """A cluster in which nothing stands in the way of an installation."""

    def __init__(self, settings: Settings) -> None:
        assert settings.kubernetes is not None
        self.settings = settings
        self.namespace = settings.kubernetes.namespace
        self.fake = FakeCluster(self.namespace)
        for version, kinds in MORE_KINDS.items():
            for kind in kinds:
                self.fake.serve(version, kind, f"{kind.lower()}s")
        self.kept: set[str] = set()
        self.put(thing("IngressClass", "nginx", "networking.k8s.io/v1"))
        self.put(thing("PersistentVolumeClaim", "clinical-ai-leases"))
        self.put(thing("ConfigMap", "hospital-ca"))
        for name in settings.kubernetes.image_pull_secrets:
            self.put(thing("Secret", name))
        for name, keys in credentials.known(settings).items():
            data = {key: b64encode(b"not-secret-of-a-test").decode() for key in keys}
            self.put(thing("Secret", name, data=data))

    def put(self, content: Object) -> None:
        if "namespace" in content["metadata"]:
            content["metadata"]["namespace"] = self.namespace
        self.fake.put(content)

    def remove(self, kind: str, name: str) -> None:
        [place] = [it for it in self.fake.objects.all if (it[1], it[3]) == (kind, name)]
        del self.fake.objects.all[place]

    def quota(self, used: str, hard: str) -> None:
        told = {"hard": {"pods": hard}, "used": {"pods": used}}
        self.put(thing("ResourceQuota", "small", status=told))

    def check(self) -> list[str]:
        cluster = self.fake.open(self.namespace)
        return checks.check(cluster, self.settings, ClusterSecrets(cluster), self.kept)

    def faults(self) -> list[NeedsOperator]:
        with pytest.raises(ManyFaults) as refused:
            self.check()
        assert self.fake.writes == []
        assert all(fault.remedy for fault in refused.value.faults)
        return refused.value.faults

    def fault(self) -> NeedsOperator:
        [fault] = self.faults()
        return fault


@pytest.fixture
def site() -> Site:
    return Site(settings_of("production"))


@pytest.mark.parametrize("name", ["development", "production", "vault-agent"])
def test_where_nothing_stands_in_the_way_it_is_told_what_was_looked_at(name: str) -> None:
    found = Site(settings_of(name)).check()
    assert found[0] == "Kubernetes 1.34"
    assert any("kinds of object" in each for each in found)
    assert any("permissions" in each for each in found)


def test_looking_writes_nothing(site: Site) -> None:
    site.check()
    assert site.fake.writes == []


# Each fault, what it is found by, and what heals it.


def forbid(site: Site) -> None:
    site.fake.denied = {("create", "networkpolicies")}


def forbid_what_a_role_grants(site: Site) -> None:
    site.fake.denied = {("get", "endpointslices")}


def forbid_forwarding(site: Site) -> None:
    site.fake.denied = {("create", "pods/portforward")}


def end_the_namespace(site: Site) -> None:
    space = thing("Namespace", site.namespace, status={"phase": "Terminating"})
    del space["metadata"]["namespace"]
    site.put(space)


def let_somebody_have_a_name(site: Site) -> None:
    site.put(thing("ConfigMap", names.CONFIGURATION, data={"theirs": "x"}))


FAULTS: Final[dict[str, tuple[Callable[[Site], object], str, str]]] = {
    "kind": (
        lambda it: setattr(
            it.fake, "served", [row for row in it.fake.served if row.kind != "ExternalSecret"]
        ),
        "serves no ExternalSecret of external-secrets.io/v1",
        "install what brings external-secrets.io",
    ),
    "right": (
        forbid,
        "you may not create networkpolicies.networking.k8s.io",
        "kubectl auth can-i create networkpolicies",
    ),
    "granted right": (
        forbid_what_a_role_grants,
        "you may not get endpointslices.discovery.k8s.io",
        "ask an administrator",
    ),
    "forwarding": (forbid_forwarding, "you may not create pods/portforward", "administrator"),
    "namespace": (end_the_namespace, f"namespace {NAMESPACE} is being deleted", "wait until"),
    "quota": (lambda it: it.quota("6", "10"), "the quota small leaves room for fewer", "raise it"),
    "name": (
        let_somebody_have_a_name,
        f"not of this platform: ConfigMap {NAMESPACE}/{names.CONFIGURATION}",
        "nothing was changed",
    ),
    "secret": (
        lambda it: it.remove("Secret", "connection-hospital"),
        "secret:connection-hospital/credentials is not there",
        f"kubectl create secret generic connection-hospital -n {NAMESPACE}",
    ),
    "volume": (
        lambda it: it.remove("PersistentVolumeClaim", "clinical-ai-leases"),
        "there is no PersistentVolumeClaim clinical-ai-leases",
        "make it",
    ),
    "ingress class": (
        lambda it: it.remove("IngressClass", "nginx"),
        "there is no ingress class nginx",
        "kubectl get ingressclass",
    ),
}
each_fault = pytest.mark.parametrize(("break_it", "problem", "remedy"), FAULTS.values(), ids=FAULTS)


@each_fault
def test_each_fault_is_told_once_with_its_remedy(
    site: Site, break_it: Callable[[Site], object], problem: str, remedy: str
) -> None:
    break_it(site)
    fault = site.fault()
    assert problem in fault.problem
    assert remedy in fault.remedy


def test_all_faults_are_told_at_once(site: Site) -> None:
    denied: set[tuple[str, str]] = set()
    for break_it, _, _ in FAULTS.values():
        break_it(site)
        denied |= site.fake.denied
    site.fake.denied = denied
    told = [fault.problem for fault in site.faults()]
    assert len(told) == len(FAULTS)
    for _, problem, _ in FAULTS.values():
        assert any(problem in each for each in told), problem


def test_all_that_one_check_finds_is_told(site: Site) -> None:
    site.remove("Secret", names.SECRETS)
    site.fake.denied = {("patch", "roles"), ("patch", "services")}
    told = " ".join(fault.problem for fault in site.faults())
    for each in ("/database-url", "/prefect-database-url", "patch roles", "patch services"):
        assert each in told


def test_all_volumes_that_are_missing_are_told() -> None:
    cluster = {**ALL["production"]["kubernetes"], "ca-config-map": "hospital-ca"}
    site = Site(parse({**ALL["production"], "kubernetes": cluster}))
    site.remove("PersistentVolumeClaim", "clinical-ai-leases")
    site.remove("ConfigMap", "hospital-ca")
    told = " ".join(fault.problem for fault in site.faults())
    assert "PersistentVolumeClaim clinical-ai-leases" in told
    assert "ConfigMap hospital-ca" in told


def test_a_gateway_that_nobody_may_use_is_told() -> None:
    fault = Site(settings_of("gateway")).fault()
    assert "no client may reach the server" in fault.problem
    assert "kubernetes.clients" in fault.remedy


def test_an_exposure_whose_class_is_missing_and_that_nobody_may_use_is_told_as_both() -> None:
    cluster = {**ALL["production"]["kubernetes"], "clients": {}}
    site = Site(parse({**ALL["production"], "kubernetes": cluster}))
    site.remove("IngressClass", "nginx")
    told = " ".join(fault.problem for fault in site.faults())
    assert "no ingress class nginx" in told
    assert "no client may reach the server" in told


# What is no fault.


def test_a_namespace_that_is_not_there_will_be_made_by_whoever_may(site: Site) -> None:
    site.remove("Namespace", site.namespace)
    assert f"namespace {site.namespace} will be made" in site.check()
    site.fake.denied = {("create", "namespaces")}
    assert site.fault().problem == "you may not create namespaces"


def test_a_namespace_that_is_there_needs_no_right_to_make_one(site: Site) -> None:
    site.fake.denied = {("create", "namespaces")}
    assert f"namespace {site.namespace}" in site.check()


def test_an_installation_of_this_platform_is_no_stranger(site: Site) -> None:
    cluster = site.fake.open(site.namespace)
    for each in desired.for_bootstrap(site.settings, make_namespace=False):
        cluster.apply(each)
    for each in desired.for_deploy(site.settings, RELEASE):
        cluster.apply(each)
    assert "names free" in site.check()


@pytest.mark.parametrize(("used", "hard"), [("5", "10"), ("995", "1k"), ("0", "2k")])
def test_a_quota_that_leaves_room_is_no_fault(site: Site, used: str, hard: str) -> None:
    site.quota(used, hard)
    site.check()


def test_a_quota_of_something_else_is_no_fault(site: Site) -> None:
    hard = {"hard": {"requests.cpu": "1"}, "used": {"requests.cpu": "1"}}
    site.put(thing("ResourceQuota", "small", status=hard))
    site.check()


def test_pods_of_the_platform_itself_are_room_for_it(site: Site) -> None:
    """Else an installation that had just enough room could not be brought up again."""
    site.quota("4", "6")
    assert "leaves room" in site.fault().problem
    for name in (names.SERVER, names.WORKER, names.PLATFORM_WORKER):
        spec = {"containers": [{"name": "a", "image": "b"}]}
        pod = thing("Pod", name, spec=spec)
        pod["metadata"]["labels"] = labels(site.settings, name)
        site.put(pod)
    site.check()


def test_secrets_that_bootstrap_makes_or_is_about_to_copy_may_be_absent(site: Site) -> None:
    for name in ("connection-hospital", f"{names.PRODUCT}-api", f"{names.PRODUCT}-encryption"):
        site.remove("Secret", name)
    site.kept = {"secret:connection-hospital/credentials"}
    site.check()


def test_secrets_that_external_secrets_bring_may_be_absent(site: Site) -> None:
    site.remove("Secret", names.AWS_CREDENTIALS)
    site.check()


# What ends it at once.


@pytest.mark.parametrize(
    ("minor", "told"), [("24", "Kubernetes 1.24 (not tested"), ("25+", "1.25")]
)
def test_a_version_that_may_do_is_told(
    site: Site, monkeypatch: pytest.MonkeyPatch, minor: str, told: str
) -> None:
    answer_version(site, monkeypatch, minor)
    assert told in site.check()[0]


def test_a_cluster_that_is_too_old_is_told_before_anything_else(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer_version(site, monkeypatch, "23")
    site.quota("9", "10")
    with pytest.raises(NeedsOperator, match=r"Kubernetes 1\.23 is too old"):
        site.check()


def answer_version(site: Site, monkeypatch: pytest.MonkeyPatch, minor: str) -> None:
    answer = site.fake._answer

    def other(request: Any) -> Any:
        if request.url.path == "/version":
            return {"major": "1", "minor": minor, "gitVersion": f"v1.{minor}.0"}
        return answer(request)

    monkeypatch.setattr(site.fake, "_answer", other)


def test_an_outage_is_no_fault_of_the_operator(site: Site) -> None:
    site.fake.down = True
    with pytest.raises(Transient):
        site.check()
