"""Each fault that stops an installation in a cluster is told with its remedy, all at once."""

from base64 import b64encode
from collections.abc import Callable
from typing import Any, Final

import pytest

from bootstrap.cluster import needs
from bootstrap.cluster.external_secrets import check_operator
from clinical_ai import names
from clinical_ai.errors import NeedsOperator, Transient
from clinical_ai.inventory import Inventory
from clinical_ai.manifests.kubernetes.metadata import ownership
from clinical_ai.manifests.kubernetes.migration import migration
from clinical_ai.manifests.kubernetes.pod_check import pod_check
from clinical_ai.ports_cluster import Ref
from clinical_ai.secret_references import parts
from clinical_ai.settings import parse
from clinical_ai.steps.cluster.inventory import Ownership, write_inventory
from clinical_ai.steps.cluster.lease import cluster_lease
from clinical_ai.steps.cluster.reconcile import reconcile
from clinical_ai.steps.cluster.records import Records
from clinical_ai.steps.roll import new_journal
from tests.support.cluster_to_install import NAMESPACE, Site, gateway, labelled, thing
from tests.support.kubernetes_examples import ALL, RELEASE, settings_of
from tests.support.objects import config, deployment

PULLING: Final = {"image-pull-secrets": ["registry-credentials"]}


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


def test_no_right_is_asked_for_that_nobody_uses() -> None:
    site = Site(settings_of("production"))
    single = ("ingresses", "secretstores", "externalsecrets", "configmaps")
    site.fake.denied = {("list", each) for each in single}
    assert any("permissions" in each for each in site.check())


# Each fault, what it is found by, and what heals it.


def forbid(site: Site) -> None:
    site.fake.denied = {("create", "networkpolicies")}


def forbid_what_a_role_grants(site: Site) -> None:
    site.fake.denied = {("list", "endpointslices")}


def forbid_forwarding(site: Site) -> None:
    site.fake.denied = {("create", "pods/portforward")}


def limit_containers(site: Site) -> None:
    rule = {"type": "Container", "max": {"memory": "512Mi"}}
    site.put(thing("LimitRange", "tight", spec={"limits": [rule]}))


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
        "you may not list endpointslices.discovery.k8s.io",
        "ask an administrator",
    ),
    "forwarding": (forbid_forwarding, "you may not create pods/portforward", "administrator"),
    "namespace": (end_the_namespace, f"namespace {NAMESPACE} is being deleted", "wait until"),
    "quota": (
        lambda it: it.quota("5", "10"),
        "the quota small leaves 5 of 10 pods, the platform needs 6",
        "raise it",
    ),
    "limit range": (
        limit_containers,
        "the limit range tight wants at most 512Mi of memory in each container",
        "kubernetes.components",
    ),
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


@pytest.mark.parametrize("kind", ["Ingress", "HTTPRoute"])
def test_a_right_that_a_role_keeps_for_what_is_wanted_no_more_is_needed_too(
    site: Site, kind: str
) -> None:
    """The cluster's API lets nobody grant what is not his own."""
    plural = {"Ingress": "ingresses", "HTTPRoute": "httproutes"}[kind]
    assert site.settings.kubernetes is not None
    cluster = site.settings.kubernetes.model_copy(update={"exposure": None})
    site.settings = site.settings.model_copy(update={"kubernetes": cluster})
    site.fake.denied = {("delete", plural)}
    site.check()
    own = ownership(site.namespace)
    listed = Inventory({Ref("any/v1", kind, names.SERVER, site.namespace): "uid"})
    write_inventory(site.fake.open(site.namespace), listed, Ownership(own, 5))
    site.fake.requests.clear()
    assert f"you may not delete {plural}" in site.fault().problem


def test_the_right_to_read_the_claim_for_leases_is_asked_for(site: Site) -> None:
    assert site.settings.kubernetes is not None
    assert site.settings.kubernetes.lease_claim
    site.fake.denied = {("get", "persistentvolumeclaims")}
    told = [fault.problem for fault in site.faults()]
    assert "you may not get persistentvolumeclaims" in told


def test_more_that_would_go_than_may_at_once_is_told_before_anything_is_changed(
    site: Site,
) -> None:
    """Else the deploy/self that follows refuses it, when the server has changed already."""
    more = [config(f"old-{number}") for number in range(6)]
    cluster, own = site.fake.open(site.namespace), ownership(site.namespace)
    for each in more:
        each["metadata"]["labels"] = own
    reconcile(cluster, more, Ownership(own, 5), write=True)
    site.fake.requests.clear()
    fault = next(each for each in site.faults() if "would be deleted" in each.problem)
    assert "6 objects would be deleted, 5 at once are allowed" in fault.problem
    assert "old-3" in fault.problem
    assert "set kubernetes.prune-limit to 6" in fault.remedy
    assert "`clinical-ai deploy --runtime kubernetes`, which asks" in fault.remedy


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


def trusting(**more: Any) -> Site:
    raw = ALL["production"]
    cluster = {**raw["kubernetes"], "ca-config-map": "hospital-ca"}
    return Site(parse({**raw, **more, "kubernetes": cluster}))


def test_a_ca_bundle_that_the_config_map_does_not_hold_is_told_with_what_it_holds() -> None:
    there, absent = (f"{names.TRUST_FOLDER}/{each}" for each in ("hospital.pem", "lab.pem"))
    lab = {"lab": {"addresses": ["https://lab.example.org"], "ca-bundle": absent}}
    trusting(**{"ca-bundle": there}).check()
    fault = trusting(**{"ca-bundle": there}, connections=lab).fault()
    assert fault.problem == (
        f"connections.lab.ca-bundle is {absent}, and ConfigMap hospital-ca has no key lab.pem"
    )
    assert fault.remedy == "add it to that ConfigMap, or name one of hospital.pem"


@pytest.mark.parametrize("ports", [["health"], ["api", "health"]])
def test_an_exposure_needs_a_client_that_may_reach_the_api(ports: list[str]) -> None:
    raw = ALL["production"]
    clients = {"monitoring": {"namespace": "monitoring", "ports": ports}}
    site = Site(parse({**raw, "kubernetes": {**raw["kubernetes"], "clients": clients}}))
    if "api" in ports:
        site.check()
    else:
        fault = site.fault()
        assert "no client may reach the server" in fault.problem
        assert "with the port api" in fault.remedy


def test_a_gateway_that_nobody_may_use_is_told() -> None:
    fault = Site(settings_of("gateway")).fault()
    assert "no client may reach the server" in fault.problem
    assert "kubernetes.clients" in fault.remedy


def gateway_site(**parent: Any) -> Site:
    """One that an HTTPRoute makes known, to clients that may reach it."""
    raw = ALL["gateway"]
    cluster = {**raw["kubernetes"], "clients": {"gateway": {"namespace": "gateways"}}}
    [named] = cluster["exposure"]["parents"]
    cluster["exposure"] = {**cluster["exposure"], "parents": [{**named, **parent}]}
    return Site(parse({**raw, "kubernetes": cluster}))


def test_a_gateway_that_is_ready_stands_in_nobodys_way() -> None:
    assert "host prefect.example.org" in gateway_site().check()
    assert "host prefect.example.org" in gateway_site(port=443).check()


def test_a_gateway_that_is_missing_is_told_with_its_namespace() -> None:
    site = gateway_site()
    site.remove("Gateway", "public")
    fault = site.fault()
    assert fault.problem == "there is no Gateway gateways/public"
    assert "kubectl get gateway" in fault.remedy


@pytest.mark.parametrize("kind", ["Accepted", "Programmed"])
def test_a_gateway_that_is_not_ready_is_told_in_its_controllers_words(kind: str) -> None:
    site = gateway_site()
    told = {"status": "False", "reason": "AddressNotAssigned", "message": "the pool is empty"}
    site.put(gateway(**{kind: told}))
    fault = site.fault()
    assert f"{kind} is False (AddressNotAssigned: the pool is empty)" in fault.problem
    assert "kubectl describe gateway public -n gateways" in fault.remedy


def test_a_gateway_that_no_controller_has_looked_at_is_told() -> None:
    site = gateway_site()
    site.put({**gateway(), "status": {}})
    assert "no controller has looked at it" in site.fault().problem


@pytest.mark.parametrize("parent", [{"section-name": "http"}, {"port": 80}])
def test_a_listener_that_the_gateway_does_not_have_is_told(parent: dict[str, Any]) -> None:
    fault = gateway_site(**parent).fault()
    [(key, value)] = parent.items()
    assert f"{key} {value}" in fault.problem
    assert "it has https (443)" in fault.remedy


def test_a_gateway_that_may_not_be_read_is_told_as_not_looked_at() -> None:
    site = gateway_site()
    site.remove("Gateway", "public")
    site.fake.denied = {("get", "gateways")}
    [told] = [each for each in site.check() if "host" in each]
    assert told.endswith("Gateway public not looked at (you may not get it)")


def test_a_cluster_without_the_gateway_api_is_told_once() -> None:
    site = gateway_site()
    group = "gateway.networking.k8s.io/v1"
    site.fake.served = [row for row in site.fake.served if row.api_version != group]
    assert f"serves no HTTPRoute of {group}" in site.fault().problem


def test_a_store_that_was_not_ready_is_told_and_stops_nothing(site: Site) -> None:
    """Vault may have been mended since; the operator looks again when `up` asks it."""
    site.apply_all()
    assert not any("SecretStore" in each for each in site.check())
    reason = {"reason": "InvalidProviderConfig", "message": "permission denied"}
    status = {"conditions": [{"type": "Ready", "status": "False", **reason}]}
    site.fake.edit("SecretStore", names.VAULT, "operator", lambda it: it.update(status=status))
    [told] = [each for each in site.check() if "SecretStore" in each]
    assert f"{names.VAULT} was not ready" in told
    assert "InvalidProviderConfig: permission denied" in told


def operator(available: int = 0, name: str = "eso", space: str = "tools") -> Any:
    made = deployment()
    made["metadata"] |= {"name": name, "namespace": space}
    made["status"] = {"availableReplicas": available}
    return labelled(made, **{"app.kubernetes.io/name": "external-secrets"})


def told_of_operator(site: Site) -> str:
    [told] = [each for each in site.check() if each.startswith("External Secrets' operator")]
    return told


def without_its_secret(site: Site) -> None:
    site.remove("Secret", "clinical-ai-aws-credentials")


def test_an_operator_of_external_secrets_that_runs_is_told_wherever_it_is(site: Site) -> None:
    site.put(operator(0, space="of-another-team"))
    site.put(operator(1))
    assert told_of_operator(site) == "External Secrets' operator runs in namespace tools"


def test_an_operator_that_has_no_label_is_known_by_its_name(site: Site) -> None:
    site.put(labelled(operator(1, "external-secrets"), app="external-secrets"))
    assert told_of_operator(site) == "External Secrets' operator runs in namespace tools"


def test_a_dead_operator_is_told_with_where_to_look_before_anything_is_written(site: Site) -> None:
    without_its_secret(site)
    site.put(operator(0))
    fault = site.fault()
    assert "External Secrets' operator (Deployment tools/eso) has no pod" in fault.problem
    assert "`kubectl get pods -n tools`" in fault.remedy
    site.put(operator(1))
    site.check()


def test_a_dead_operator_stops_nothing_where_its_secret_is_there(site: Site) -> None:
    """An installed platform goes on with what it holds."""
    site.put(operator(0))
    told = told_of_operator(site)
    assert "has no pod that is available" in told
    assert told.endswith("Secret clinical-ai-aws-credentials is there and stays as it is")


def test_an_operator_that_nobody_sees_is_told_as_not_seen(site: Site) -> None:
    assert told_of_operator(site) == "External Secrets' operator was not seen"


def test_who_may_not_look_everywhere_looks_where_the_operator_usually_is(site: Site) -> None:
    site.fake.confined = True
    usual = "External Secrets' operator was not seen in namespace external-secrets"
    assert told_of_operator(site) == usual
    site.put(operator(1, space="external-secrets"))
    assert told_of_operator(site).endswith("runs in namespace external-secrets")


def test_who_may_look_nowhere_is_told_that_the_operator_was_not_looked_at(site: Site) -> None:
    site.put(operator(0))
    site.fake.denied = {("list", "deployments")}
    told = check_operator(site.fake.open(site.namespace), site.settings)
    assert "was not looked at: you may not list Deployments" in told


@pytest.mark.parametrize("name", ["development", "vault-agent"])
def test_of_an_operator_that_nobody_asks_for_nothing_is_told(name: str) -> None:
    site = Site(settings_of(name))
    site.put(operator(0))
    assert not any("operator" in each for each in site.check())


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
    told = f"namespace {site.namespace} will be made, pod security restricted"
    assert told in site.check()
    site.fake.denied = {("create", "namespaces")}
    assert site.fault().problem == "you may not create namespaces"


def test_a_namespace_that_is_there_needs_no_right_to_make_one(site: Site) -> None:
    site.fake.denied = {("create", "namespaces")}
    assert f"namespace {site.namespace}, pod security of the cluster's default" in site.check()


def test_the_level_of_pod_security_is_told(site: Site) -> None:
    level = {"pod-security.kubernetes.io/enforce": "baseline"}
    site.fake.edit(
        "Namespace", site.namespace, "ann", lambda it: it["metadata"].update(labels=level)
    )
    assert f"namespace {site.namespace}, pod security baseline" in site.check()


@pytest.mark.parametrize("name", ["registry-credentials", "worker-registry"])
def test_a_secret_to_pull_images_that_is_missing_is_told(name: str) -> None:
    raw = ALL["vault-agent"]
    site = Site(parse({**raw, "kubernetes": PULLING | raw["kubernetes"]}))
    site.check()
    site.remove("Secret", name)
    assert site.fault().problem == f"there is no Secret {name}"


def test_an_installation_of_this_platform_is_no_stranger(site: Site) -> None:
    site.apply_all()
    assert "names free" in site.check()


@pytest.mark.parametrize(
    ("name", "number", "problem"),
    [
        (names.SERVER, 0, f"{names.SERVER} is scaled to 0"),
        (names.PLATFORM_WORKER, 0, f"{names.PLATFORM_WORKER} is scaled to 0"),
    ],
)
def test_a_number_of_pods_with_which_nothing_comes_up_is_told_with_the_way_out(
    site: Site, name: str, number: int, problem: str
) -> None:
    """Else the wait for the API, or for the run of deploy/self, would tell nothing of it."""
    site.apply_all()
    site.fake.edit("Deployment", name, "ann", lambda it: it["spec"].update(replicas=number))
    site.fake.requests.clear()
    fault = site.fault()
    assert problem in fault.problem
    line = f"kubectl -n {NAMESPACE} scale deployment/{name} --replicas=1"
    assert line in fault.remedy


@pytest.mark.parametrize(
    ("name", "number"), [(names.WORKER, 0), (names.WORKER, 5), (names.SERVER, 2)]
)
def test_other_numbers_are_whoevers_scales(site: Site, name: str, number: int) -> None:
    site.apply_all()
    site.fake.edit("Deployment", name, "ann", lambda it: it["spec"].update(replicas=number))
    site.check()


WRITTEN: Final = [(ref.kind, ref.name, ref.api_version) for ref in needs.records()]


def written(kind: str, name: str, api_version: str) -> Any:
    data = {"data": {"objects.json": "[]"}} if kind == "ConfigMap" else {}
    return thing(kind, name, api_version, **data)


@pytest.mark.parametrize(("kind", "name", "api_version"), WRITTEN)
@pytest.mark.parametrize("labels", [{}, {"theirs": "x"}])
def test_a_name_that_is_written_beside_the_objects_is_refused_when_somebody_else_has_it(
    site: Site, kind: str, name: str, api_version: str, labels: dict[str, str]
) -> None:
    made = written(kind, name, api_version)
    site.put(labelled(made, **labels) if labels else made)
    fault = site.fault()
    assert fault.problem.endswith(f"not of this platform: {kind} {NAMESPACE}/{name}")
    assert "nothing was changed" in fault.remedy


def test_all_that_somebody_else_has_is_told_at_once(site: Site) -> None:
    let_somebody_have_a_name(site)
    for kind, name, api_version in WRITTEN:
        site.put(written(kind, name, api_version))
    told = site.fault().problem
    assert all(name in told for name in (names.CONFIGURATION, *(row[1] for row in WRITTEN)))


def test_what_the_platform_wrote_itself_is_no_strangers(site: Site) -> None:
    cluster = site.fake.open(site.namespace)
    records = Records(cluster)
    records.write_journal(new_journal("a worker is replaced"))
    records.write_ledger({"release": "1"})
    records.write_objects([thing("ConfigMap", "good")])
    for owner, name in (
        (names.KEPT_BY_DEPLOY, names.INVENTORY),
        (names.KEPT_BY_BOOTSTRAP, names.RIGHTS_INVENTORY),
    ):
        own = Ownership(ownership(site.namespace, owner), 1, name)
        write_inventory(cluster, Inventory({}), own)
    with cluster_lease(cluster, "ann"):
        cluster.create(pod_check(site.settings, RELEASE))
        cluster.create(migration(site.settings, RELEASE))
    there = {(row[1], row[3]) for row in site.fake.objects.all}
    assert {(ref.kind, ref.name) for ref in needs.records()} <= there
    assert "names free" in site.check()


def test_what_a_person_makes_by_design_is_no_strangers(site: Site) -> None:
    """The switch of break-glass, Secrets, and what only looks like the platform's."""
    site.put(thing("ConfigMap", names.BREAK_GLASS, data={"stop": "incident 4711"}))
    site.put(thing("Secret", names.SECRETS, data=site.fake.look("Secret", names.SECRETS)["data"]))
    site.put(thing("Job", f"{names.PRODUCT}-of-theirs", "batch/v1"))
    assert "names free" in site.check()


def test_secrets_that_bootstrap_makes_or_is_about_to_copy_may_be_absent(site: Site) -> None:
    for name in ("connection-hospital", f"{names.PRODUCT}-api", f"{names.PRODUCT}-encryption"):
        site.remove("Secret", name)
    site.kept = {"secret:connection-hospital/credentials"}
    site.check()


def test_secrets_that_are_missing_are_told_with_lines_that_can_be_typed_in_order(
    site: Site,
) -> None:
    """One for each Secret; the namespace comes first, when there is none."""
    site.remove("Secret", names.SECRETS)
    site.remove("Secret", "connection-hospital")
    first, second = site.faults()
    for key in ("database-url", "prefect-database-url"):
        assert f"secret:{names.SECRETS}/{key}" in first.problem
        assert f"--from-file={key}=FILE" in first.remedy
    assert f"kubectl create secret generic connection-hospital -n {NAMESPACE}" in second.remedy
    assert not any("create namespace" in fault.remedy for fault in (first, second))
    site.remove("Namespace", NAMESPACE)
    first, second = site.faults()
    assert first.remedy.startswith(f"kubectl create namespace {NAMESPACE}; then ")
    assert "create namespace" not in second.remedy


def test_a_line_end_that_a_pods_variable_would_keep_is_told(site: Site) -> None:
    """A file has one at its end unless somebody took care, and a database by that name is not."""
    name, key = parts(names.PREFECT_DATABASE_URL)
    data = {each: b64encode(b"x").decode() for each in ("database-url", key)}
    site.put(thing("Secret", name, data=data))
    site.check()
    site.put(thing("Secret", name, data=data | {key: b64encode(b"not-secret\n").decode()}))
    fault = site.fault()
    assert fault.problem == f"{names.PREFECT_DATABASE_URL} ends with a line end"
    assert f"kubectl patch secret {name} -n {NAMESPACE}" in fault.remedy
    assert f"--from-file={key}=FILE" in fault.remedy


def list_nothing(site: Site) -> None:
    site.put(labelled(thing("ConfigMap", names.INVENTORY, data={"objects.json": "[]"})))


@pytest.mark.parametrize("install", [list_nothing, Site.apply_all])
def test_the_key_of_an_installed_platform_is_never_made_anew(
    site: Site, install: Callable[[Site], None]
) -> None:
    """It opens what is in the database. Either tells: somebody may have deleted the inventory."""
    install(site)
    site.check()
    site.remove("Secret", f"{names.PRODUCT}-encryption")
    site.fake.requests.clear()
    fault = site.fault()
    assert f"{names.ENCRYPTION_KEY} is gone" in fault.problem
    assert "from your backup" in fault.remedy
    assert f"kubectl exec deployment/{names.SERVER} -n {NAMESPACE} -- printenv" in fault.remedy
    assert "uninstall --database" in fault.remedy


def test_the_line_that_puts_the_key_back_keeps_a_secret_that_is_there(site: Site) -> None:
    """`kubectl create` alone would be refused where the Secret has lost its key only."""
    list_nothing(site)
    secret = f"{names.PRODUCT}-encryption"
    site.remove("Secret", secret)
    line = f"kubectl create secret generic {secret} -n {NAMESPACE} --from-file=key=/dev/stdin"
    assert f"{line};" in site.fault().remedy
    site.put(thing("Secret", secret, data={}))
    patched = f"{line} --dry-run=client -o json | kubectl patch secret {secret} -n {NAMESPACE} "
    assert patched in site.fault().remedy


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
