"""Every check of a cluster fails when what it looks at is wrong, with the remedy for just that."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from pydantic import SecretStr

from clinical_ai import names
from clinical_ai.adapters.postgres import PostgresDatabase
from clinical_ai.manifests.kubernetes import credentials
from clinical_ai.ports import Database, ObjectStore
from clinical_ai.ports_cluster import Ref
from clinical_ai.settings import Connection, Settings, parse
from clinical_ai.steps.cluster import network
from clinical_ai.steps.cluster.verify import verify_cluster
from clinical_ai.steps.verify import Result
from clinical_ai.wiring_cluster import ClusterPlatform
from tests.support.clock import Clock
from tests.support.fakes import MemorySecrets, MemoryStore
from tests.support.installed import Installed

OWN = (
    *("workloads up", "pods ready", "logs free of errors", "services", "secrets"),
    *("network policies", "exposure", "workers online", "storage"),
)
AWAY = PostgresDatabase(SecretStr("postgresql://u:p@127.0.0.1:9/d"))
ADDRESSES = {name: f"10.0.0.{n}" for n, name in enumerate(names.WORKLOADS, start=1)}
HEALTH = (ADDRESSES[names.WORKER], names.HEALTH_PORT)
SCALE = "`kubectl -n clinical-ai scale deployment/"
READY = {"type": "Ready", "status": "True"}


class Parts(ClusterPlatform):
    """A platform whose databases are away: what they tell is tested with one machine's checks."""

    database: Database = AWAY
    prefect_database: Database = AWAY
    storage: ObjectStore = MemoryStore()

    def find_ui(self) -> str | None:
        return None


class Network:
    """What a run reaches. `open`: places that answer; `tried`: those that a run turned to."""

    def __init__(self) -> None:
        self.open = {(f"{names.SERVER}.{names.NAMESPACE}.svc.cluster.local", names.API_PORT)}
        self.tried: list[tuple[str, int]] = []

    def connects(self, host: str, port: int) -> bool:
        self.tried.append((host, port))
        return (host, port) in self.open


class Site:
    """A platform of whose own checks each passes; a test breaks one thing."""

    def __init__(self, installed: Installed, network: Network) -> None:
        self.installed, self.network = installed, network
        self.fake = installed.fake
        for name in names.WORKLOADS:
            self.pod(f"{name}-1", name)
            slices = {
                "addressType": "IPv4",
                "endpoints": [{"addresses": [ADDRESSES[name]], "conditions": {"ready": True}}],
            }
            labels = {"kubernetes.io/service-name": name}
            installed.put("EndpointSlice", name, "discovery.k8s.io/v1", labels=labels, **slices)
        for pool, name in names.WORKERS.items():
            installed.prefect.post(f"/work_pools/{pool}/workers/heartbeat", {"name": f"{name}-1"})
        needed = installed.platform().references()
        installed.secrets = MemorySecrets(dict.fromkeys(needed, "not-secret"))

    def pod(self, name: str, app: str, ready: str = "True") -> None:
        condition = {**READY, "status": ready}
        status = {"phase": "Running", "conditions": [condition], "containerStatuses": []}
        spec = {"containers": [{"name": "main", "image": "i"}]}
        self.installed.put("Pod", name, labels={"app": app}, spec=spec, status=status)

    def remove(self, kind: str, name: str) -> None:
        [place] = [it for it in self.fake.objects.all if (it[1], it[3]) == (kind, name)]
        del self.fake.objects.all[place]

    def not_ready(self, service: str) -> None:
        """The kubelet's probe of its pod fails."""

        def edit(found: dict[str, Any]) -> None:
            found["endpoints"] = [{"addresses": ["10.0.0.9"], "conditions": {"ready": False}}]

        self.fake.edit("EndpointSlice", service, "c", edit)

    def log(self, name: str, *lines: str) -> None:
        self.fake.logs[f"{name}-1", "main", False] = "\n".join(lines)

    def verify(self, *, fly: bool = False, late: Sequence[str] = ()) -> list[Result]:
        made = self.installed.platform()
        return verify_cluster(Parts(**vars(made)), fly=fly, late=late)

    def failed(self) -> dict[str, Result]:
        return {it.check: it for it in self.verify() if it.check in OWN and not it.passed}


@pytest.fixture
def site(installed: Installed, monkeypatch: pytest.MonkeyPatch) -> Site:
    made = Network()
    monkeypatch.setattr(network, "_connects", made.connects)
    return Site(installed, made)


def test_a_sound_platform_passes_with_evidence(site: Site) -> None:
    results = {result.check: result for result in site.verify()}
    assert site.failed() == {}
    assert all(results[check].evidence for check in OWN)
    assert "is not" in results["network policies"].evidence


def test_each_secret_that_a_run_is_given_is_looked_at_and_the_others_are_named(
    site: Site,
) -> None:
    """The encryption key is the server's alone."""
    told = {it.check: it for it in site.verify()}["secrets"].evidence
    seen, _, unseen = told.partition("; not looked at from inside: ")
    needed = (
        names.DATABASE_URL,
        names.PREFECT_DATABASE_URL,
        names.API_AUTH,
        names.MINIO_ACCESS_KEY,
    )
    assert all(each in seen for each in needed)
    assert unseen == names.ENCRYPTION_KEY


@pytest.mark.parametrize("reference", [names.PREFECT_DATABASE_URL, names.API_AUTH])
def test_a_secret_that_a_run_is_given_and_lacks_is_a_fault(site: Site, reference: str) -> None:
    needed = site.installed.platform().references()
    held = dict.fromkeys([each for each in needed if each != reference], "not-secret")
    site.installed.secrets = MemorySecrets(held)
    assert site.failed()["secrets"].evidence == f"not there: {reference}"


@pytest.mark.parametrize("there", [True, False])
def test_a_secret_of_a_connection_is_told_and_its_absence_is_no_fault(
    site: Site, *, there: bool
) -> None:
    lab = {"addresses": ("lab.example.org:1521",), "credentials": "secret:connection-lab/login"}
    connections = {"lab": Connection.model_validate(lab)}
    site.installed.settings = site.installed.settings.model_copy(
        update={"connections": connections}
    )
    if there:
        site.installed.secrets.put("secret:connection-lab/login", SecretStr("not-secret"))
    told = {it.check: it for it in site.verify()}["secrets"]
    assert told.passed
    assert ("of connections secret:connection-lab/login" in told.evidence) is there
    assert ("which fails runs that need it: secret:connection-lab" in told.evidence) is not there


def test_servers_beside_each_other_are_told_what_does_not_work(site: Site) -> None:
    _scale(site, names.SERVER, 2)
    told = {it.check: it for it in site.verify()}["workloads up"]
    assert told.passed
    assert "Prefect cancels a run that begins by another one" in told.evidence
    assert "scale it to 1" in told.evidence


def test_canaries_are_flown_last_and_only_when_that_is_asked_for(site: Site) -> None:
    assert "canary runs" not in [result.check for result in site.verify()]
    assert site.verify(fly=True)[-1].check == "canary runs"


def test_canaries_are_told_which_workers_live(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def fly(_: Any, lives: Callable[[str], bool]) -> str:
        return str(
            [lives(f"{name}-{number}") for name in names.WORKERS.values() for number in "12"]
        )

    monkeypatch.setattr("clinical_ai.steps.verify.canaries", fly)
    assert site.verify(fly=True)[-1].evidence == "[True, False, True, False]"


def _no_workload(site: Site) -> None:
    site.remove("Deployment", names.WORKER)


def _not_up(site: Site) -> None:
    site.installed.broken = {names.SERVER}
    site.installed.controllers()


def _no_server(site: Site) -> None:
    _scale(site, names.SERVER, 0)


def _no_worker(site: Site) -> None:
    _scale(site, names.WORKER, 0)


def _scale(site: Site, name: str, number: int) -> None:
    to = {"replicas": number}
    site.fake.edit("Deployment", name, "kubectl", lambda it: it["spec"].update(to))
    site.installed.controllers()


def _no_pod(site: Site) -> None:
    site.remove("Pod", f"{names.SERVER}-1")


def _not_ready(site: Site) -> None:
    site.pod(f"{names.SERVER}-2", names.SERVER, ready="False")


def _errors(site: Site) -> None:
    site.log(names.SERVER, "10:00 | INFO  | fine", "10:01 | ERROR | canary-text", "x ERROR y")


def _traceback(site: Site) -> None:
    site.log(names.SERVER, "Traceback (most recent call last):", "ValueError: canary-text")


def _no_service(site: Site) -> None:
    site.remove("Service", names.SERVER)


def _other_selector(site: Site) -> None:
    def edit(found: dict[str, Any]) -> None:
        found["spec"]["selector"] = {"app": "other"}

    site.fake.edit("Service", names.SERVER, "ann", edit)


def _no_endpoint(site: Site) -> None:
    site.not_ready(names.SERVER)


def _no_endpoints(site: Site) -> None:
    """As the API server writes a slice without any."""

    def edit(found: dict[str, Any]) -> None:
        found["endpoints"] = None

    site.fake.edit("EndpointSlice", names.SERVER, "c", edit)


def _no_secret(site: Site) -> None:
    site.installed.secrets = MemorySecrets()


def _server_cut_off(site: Site) -> None:
    site.network.open.clear()


def _no_policies(site: Site) -> None:
    site.network.open.add(HEALTH)


def _offline(site: Site) -> None:
    site.installed.prefect.workers[names.POOL, f"{names.WORKER}-1"]["status"] = "OFFLINE"


def _silent_pod(site: Site) -> None:
    site.pod(f"{names.PLATFORM_WORKER}-2", names.PLATFORM_WORKER)


@pytest.mark.parametrize(
    ("fault", "check", "evidence", "remedy"),
    [
        (_no_workload, "workloads up", f"{names.WORKER} is not there", "deploy/self"),
        (_not_up, "workloads up", f"{names.SERVER}: ", "deploy/self"),
        (_no_server, "workloads up", f"{names.SERVER} is scaled to 0", SCALE + names.SERVER),
        (_no_worker, "workloads up", f"{names.WORKER} is scaled to 0", SCALE + names.WORKER),
        (_no_pod, "pods ready", f"{names.SERVER} has no pod", "kubectl -n clinical-ai get pods"),
        (
            _not_ready,
            "pods ready",
            f"{names.SERVER}-2 is not ready",
            "kubectl -n clinical-ai describe pod",
        ),
        (_errors, "logs free of errors", f"2 in {names.SERVER}-1", "kubectl -n clinical-ai logs"),
        (
            _traceback,
            "logs free of errors",
            f"1 in {names.SERVER}-1",
            "kubectl -n clinical-ai logs",
        ),
        (_no_service, "services", f"Service {names.SERVER} is not there", "deploy/self"),
        (_other_selector, "services", "selects {'app': 'other'}", "undo the edit"),
        (_no_endpoint, "services", "has no endpoint", "endpointslices"),
        (_no_endpoints, "services", "has no endpoint", "endpointslices"),
        (_no_secret, "secrets", names.DATABASE_URL, "kubectl"),
        (_server_cut_off, "network policies", "can't be reached from a run", "NetworkPolicy"),
        (_no_policies, "network policies", f"reaches the health port of {names.WORKER}", "enforce"),
        (_offline, "workers online", f"{names.WORKER}-1", "log"),
        (_silent_pod, "workers online", f"{names.PLATFORM_WORKER}-2", "log"),
    ],
    ids=lambda value: value.__name__.strip("_") if callable(value) else "",
)
def test_a_fault_fails_its_check_and_no_other_and_says_what_to_do(
    site: Site, fault: Callable[[Site], None], check: str, evidence: str, remedy: str
) -> None:
    fault(site)
    found = site.failed()
    assert list(found) == [check]
    assert evidence in found[check].evidence
    assert remedy in found[check].remedy
    assert "canary-text" not in str(found)


def test_what_this_pod_began_too_early_to_have_is_neither_wrong_nor_shown(site: Site) -> None:
    late = credentials.storage(site.installed.settings)
    needed = set(site.installed.platform().references()) - set(late)
    site.installed.secrets = MemorySecrets(dict.fromkeys(needed, "not-secret"))
    assert list(site.failed()) == ["secrets"]
    unseen = [it for it in site.verify(late=late) if it.check in OWN and not it.shown]
    assert [it.check for it in unseen] == ["secrets", "storage"]
    assert all(it.passed and ", ".join(late) in it.evidence for it in unseen)
    assert names.DATABASE_URL in unseen[0].evidence


def test_what_runs_write_into_the_log_of_their_worker_is_theirs(site: Site) -> None:
    lines = ("10:01 | ERROR | Flow run 'a' - no", "10:01 | ERROR | Task run 'b' - no")
    site.log(names.WORKER, *lines, "Traceback (most recent call last):")
    assert "logs free of errors" not in site.failed()
    site.log(names.WORKER, "10:01 | ERROR | prefect.worker - can't poll")
    assert "logs free of errors" in site.failed()


# Policies in force.


def policies(site: Site) -> Result:
    return next(it for it in site.verify() if it.check == "network policies")


def test_what_must_fail_is_a_connection_to_a_port_at_which_a_ready_pod_listens(site: Site) -> None:
    assert policies(site).passed
    assert site.network.tried[-1] == HEALTH
    site.not_ready(names.WORKER)
    assert policies(site).passed
    assert site.network.tried[-1] == (ADDRESSES[names.PLATFORM_WORKER], names.HEALTH_PORT)


def test_without_anything_that_listens_nothing_is_proved(site: Site) -> None:
    for name in names.WORKERS.values():
        site.not_ready(name)
    found = policies(site)
    assert not found.passed
    assert "no worker is ready" in found.evidence
    assert "deploy/self" in found.remedy


def test_a_policy_that_is_in_force_a_moment_later_is_waited_for(site: Site, clock: Clock) -> None:
    site.network.open.add(HEALTH)
    clock.happens(lambda: None, lambda: site.network.open.discard(HEALTH))
    assert policies(site).passed


def settings_with(**cluster: Any) -> Settings:
    return parse({"kubernetes": {"registry": "registry.example.org", **cluster}})


@pytest.mark.parametrize("enforced", [True, False])
def test_settings_that_allow_it_are_told_and_what_is_refused_proves_it_all_the_same(
    site: Site, *, enforced: bool
) -> None:
    site.installed.settings = settings_with(
        clients={"all": {"cidrs": ["10.0.0.0/8"], "ports": ["health"]}},
        egress={"proxy": [{"cidrs": ["0.0.0.0/0"], "ports": [names.HEALTH_PORT]}]},
    )
    if not enforced:
        site.network.open.add(HEALTH)
    found = policies(site)
    assert found.passed
    assert ("as clients and egress of the settings allow" in found.evidence) is not enforced


def test_a_pod_that_goes_between_two_looks_is_no_error_in_a_log(site: Site) -> None:
    def vanish(name: str = f"{names.SERVER}-1") -> None:
        site.installed.cluster.delete(
            Ref("v1", "Pod", name),
            uid=site.fake.look("Pod", name)["metadata"]["uid"],
        )

    real = site.installed.cluster.logs

    def late(pod: str, **more: Any) -> str:
        if pod == f"{names.SERVER}-1":
            vanish()
        return real(pod, **more)

    site.installed.cluster.logs = late  # type: ignore[method-assign]
    assert "logs free of errors" not in site.failed()


def test_a_cluster_and_a_server_that_are_away_fail_checks_and_end_none(site: Site) -> None:
    site.fake.down = True
    site.installed.prefect.down = True
    assert {*site.failed()} == {*OWN} - {"secrets", "exposure", "storage"}
