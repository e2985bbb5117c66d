"""The exposure's check: what is certain to fail fails, with whose word it is and what to do."""

from collections.abc import Callable
from typing import Any

import pytest

from clinical_ai import names
from clinical_ai.errors import NeedsOperator
from clinical_ai.manifests.kubernetes import exposure
from clinical_ai.ports_cluster import group_of
from clinical_ai.settings import Settings, parse
from clinical_ai.steps.cluster.exposure import check_exposure
from tests.support.clock import Clock
from tests.support.fake_cluster import FakeCluster
from tests.support.kubernetes_examples import DEVELOPMENT, rules_of

TLS = f"{names.SERVER}-tls"
PAIR = {"tls.crt": "bm90LXNlY3JldA==", "tls.key": "bm90LXNlY3JldA=="}
INGRESS = {"kind": "ingress", "host": "prefect.example.org"}
PARENT = {"name": "public", "namespace": "gateways"}
GATEWAY = {"kind": "gateway", "host": "prefect.example.org", "parents": [PARENT]}
ACCEPTED = {"Accepted": "True", "ResolvedRefs": "True"}


class Outside:
    """A namespace with the exposure that its settings ask for."""

    def __init__(self, chosen: dict[str, Any]) -> None:
        self.fake = FakeCluster(names.NAMESPACE)
        self.fake.serve("gateway.networking.k8s.io/v1", "HTTPRoute", "httproutes")
        self.cluster = self.fake.open(names.NAMESPACE)
        self.settings: Settings = parse(
            {"kubernetes": {**DEVELOPMENT["kubernetes"], "exposure": chosen}}
        )
        for each in exposure.exposure(self.settings):
            self.cluster.apply(each)

    def secret(self, **data: str) -> None:
        about = {"name": TLS, "namespace": names.NAMESPACE}
        self.fake.put({"apiVersion": "v1", "kind": "Secret", "metadata": about, "data": data})

    def status(self, kind: str, told: dict[str, Any]) -> None:
        self.fake.edit(kind, names.SERVER, "a-controller", lambda it: it.update(status=told))

    def answer(self, told: dict[str, str], *, generation: int = 1, **parent: Any) -> None:
        """A Gateway's controller tells what it made of the route."""
        rows = [
            {
                "type": kind,
                "status": status,
                "reason": "Why",
                "message": "because",
                "observedGeneration": generation,
            }
            for kind, status in told.items()
        ]
        reference = {"group": "gateway.networking.k8s.io", "kind": "Gateway", **PARENT, **parent}
        parents = [{"parentRef": reference, "controllerName": "a/b", "conditions": rows}]
        self.status("HTTPRoute", {"parents": parents})

    def check(self) -> str:
        return check_exposure(self.cluster, self.settings)

    def fault(self) -> NeedsOperator:
        with pytest.raises(NeedsOperator) as caught:
            self.check()
        return caught.value


@pytest.fixture
def ingress(clock: Clock) -> Outside:
    made = Outside(INGRESS)
    made.secret(**PAIR)
    return made


@pytest.fixture
def gateway(clock: Clock) -> Outside:
    return Outside(GATEWAY)


def remove(site: Outside, kind: str) -> None:
    [place] = [it for it in site.fake.objects.all if it[1] == kind]
    del site.fake.objects.all[place]


@pytest.mark.parametrize("chosen", [INGRESS, GATEWAY], ids=["ingress", "gateway"])
def test_an_object_that_is_not_there_fails(chosen: dict[str, Any]) -> None:
    site = Outside(chosen)
    for kind in {it[1] for it in site.fake.objects.all} & {"Ingress", "HTTPRoute"}:
        remove(site, kind)
    found = site.fault()
    assert f"{names.SERVER} is not there" in found.problem
    assert "deploy/self" in found.remedy


# An Ingress.


@pytest.mark.parametrize(
    ("place", "told"),
    [({"ip": "10.1.2.3"}, "at 10.1.2.3"), ({"hostname": "lb.example.org"}, "at lb.example.org")],
)
def test_where_the_ingress_is_served_is_told(
    ingress: Outside, place: dict[str, str], told: str
) -> None:
    ingress.status("Ingress", {"loadBalancer": {"ingress": [place]}})
    assert told in ingress.check()
    assert f"Secret {TLS}" in ingress.check()
    assert "prefect.example.org" in ingress.check()


@pytest.mark.parametrize("status", [None, {}, {"loadBalancer": {}}])
def test_an_ingress_of_a_controller_that_tells_no_address_passes_and_says_so(
    ingress: Outside, status: dict[str, Any] | None
) -> None:
    if status is not None:
        ingress.status("Ingress", status)
    assert "no address yet" in ingress.check()


@pytest.mark.parametrize(
    ("data", "told"),
    [({"tls.crt": "bm90LXNlY3JldA=="}, "has no tls.key"), ({}, "has no tls.crt, tls.key")],
)
def test_a_secret_without_its_certificate_fails(
    ingress: Outside, data: dict[str, str], told: str
) -> None:
    remove(ingress, "Secret")
    ingress.secret(**data)
    found = ingress.fault()
    assert told in found.problem
    assert "kubernetes.io/tls" in found.remedy
    assert "bm90" not in str(found)


def test_a_certificate_that_is_still_being_made_is_waited_for(
    ingress: Outside, clock: Clock
) -> None:
    remove(ingress, "Secret")
    assert f"Secret {TLS} of the Ingress is not there" in ingress.fault().problem
    clock.happens(lambda: None, lambda: ingress.secret(**PAIR))
    assert f"Secret {TLS}" in ingress.check()


def test_without_tls_no_certificate_is_asked_for() -> None:
    site = Outside({**INGRESS, "tls": False})
    assert "certificate" not in site.check()
    assert [it.served.kind for it in site.fake.requests if it.verb == "get"] == ["Ingress"]


# An HTTPRoute.


def test_a_route_that_its_gateway_has_accepted_passes(gateway: Outside) -> None:
    gateway.answer(ACCEPTED)
    assert "Gateway public has accepted it" in gateway.check()


def test_a_gateway_of_the_same_namespace_may_be_answered_for_with_its_namespace() -> None:
    site = Outside({**GATEWAY, "parents": [{"name": "public"}]})
    site.answer(ACCEPTED, namespace=names.NAMESPACE)
    assert "has accepted it" in site.check()


def _refused(site: Outside) -> None:
    site.answer({**ACCEPTED, "Accepted": "False"})


def _unresolved(site: Outside) -> None:
    site.answer({**ACCEPTED, "ResolvedRefs": "False"})


def _half_told(site: Outside) -> None:
    site.answer({"Accepted": "True"})


def _earlier(site: Outside) -> None:
    site.answer(ACCEPTED, generation=0)


def _another(site: Outside) -> None:
    site.answer(ACCEPTED, name="other")


def _listener(site: Outside) -> None:
    site.answer(ACCEPTED, sectionName="https")


@pytest.mark.parametrize(
    ("happens", "told"),
    [
        (lambda _: None, "Gateway public has not answered"),
        (_refused, "Gateway public: Accepted is False (Why: because)"),
        (_unresolved, "Gateway public: ResolvedRefs is False (Why: because)"),
        (_half_told, "ResolvedRefs is not told"),
        (_earlier, "Accepted is of an earlier change"),
        (_another, "Gateway public has not answered"),
        (_listener, "Gateway public has not answered"),
    ],
)
def test_a_route_that_its_gateway_does_not_serve_fails_with_the_gateways_word(
    gateway: Outside, happens: Callable[[Outside], None], told: str
) -> None:
    happens(gateway)
    found = gateway.fault()
    assert told in found.problem
    assert "kubectl describe httproute" in found.remedy


def test_each_gateway_has_to_accept_it(clock: Clock) -> None:
    second = {"name": "inner", "namespace": "gateways"}
    site = Outside({**GATEWAY, "parents": [PARENT, second]})
    site.answer(ACCEPTED)
    assert "Gateway inner has not answered" in site.fault().problem
    assert "public" not in site.fault().problem


def test_a_gateway_that_answers_a_moment_later_is_waited_for(
    gateway: Outside, clock: Clock
) -> None:
    clock.happens(lambda: None, lambda: gateway.answer(ACCEPTED))
    assert "has accepted it" in gateway.check()


# Rights.


@pytest.mark.parametrize("chosen", [INGRESS, GATEWAY], ids=["ingress", "gateway"])
def test_what_the_check_reads_is_what_its_role_grants(clock: Clock, chosen: dict[str, Any]) -> None:
    site = Outside(chosen)
    site.fake.requests.clear()
    site.fault()
    granted = [
        (verb, group, resource, rule.get("resourceNames"))
        for rule in rules_of(site.settings, names.PLATFORM_JOB)
        for verb in rule["verbs"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    ]
    asked = {
        (it.verb, group_of(it.served.api_version), it.served.plural) for it in site.fake.requests
    }
    assert asked <= {row[:3] for row in granted}
    secrets = [row[3] for row in granted if row[2] == "secrets"]
    assert secrets == ([[TLS]] if chosen is INGRESS else [])
