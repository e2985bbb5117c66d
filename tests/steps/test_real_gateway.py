"""The HTTPRoute that settings ask for, on a real Gateway: what carries it, and what is told."""

import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from bootstrap.cluster import exposure as before
from clinical_ai import names
from clinical_ai.adapters.kubernetes_api import KubernetesApi
from clinical_ai.errors import ManyFaults, NeedsOperator
from clinical_ai.manifests.kubernetes.exposure import exposure
from clinical_ai.ports_cluster import Object
from clinical_ai.settings import Settings, parse
from clinical_ai.steps.cluster import exposure as after
from clinical_ai.steps.cluster.ensure import ensure_objects
from clinical_ai.waiting import Sighting, wait_until
from tests.support.certificates import Authority
from tests.support.cluster_site import REGISTRY
from tests.support.gateway import GATEWAY, PORT, gateway, real_gateway
from tests.support.kubernetes_examples import DEVELOPMENT
from tests.support.real_cluster import own_namespace

pytestmark = [pytest.mark.cluster, pytest.mark.parts]

HOST: Final = "prefect.example.org"
_SERVED: Final = "import http.server as s; s.test(s.SimpleHTTPRequestHandler, port={port})"


@dataclass
class Site:
    """A namespace with a Gateway and, as the Service of the server, any web server."""

    cluster: KubernetesApi
    address: str
    authority: Path

    def settings(self, host: str = HOST, **parent: Any) -> Settings:
        chosen = {"kind": "gateway", "host": host, "parents": [{"name": GATEWAY, **parent}]}
        more = {"namespace": self.cluster.namespace, "exposure": chosen}
        clients = {"gateway": {"namespace": self.cluster.namespace}}
        return parse({"kubernetes": DEVELOPMENT["kubernetes"] | more | {"clients": clients}})

    def route(self, settings: Settings) -> None:
        ensure_objects(self.cluster, exposure(settings), write=True)

    def ask(self, host: str = HOST) -> httpx.Response:
        trust = ssl.create_default_context(cafile=str(self.authority))
        with httpx.Client(verify=trust, timeout=15) as client:
            return client.get(
                f"https://{self.address}:{PORT}/",
                headers={"Host": host},
                extensions={"sni_hostname": HOST},
            )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    authority = Authority(tmp_path_factory.mktemp("gateway"))
    pair = authority.issue("gateway", HOST)
    with own_namespace() as cluster, real_gateway(cluster, HOST, pair) as address:
        for each in server():
            cluster.create(each)
        yield Site(cluster, address, authority.certificate)


def server() -> list[Object]:
    """Any web server in the place of Prefect's."""
    container = {
        "name": "web",
        "image": f"{REGISTRY}/python:3.13",
        "command": ["python3", "-c", _SERVED.format(port=names.API_PORT)],
        "workingDir": "/etc/ssl/certs",
    }
    labels = {"app": names.SERVER}
    about = {"name": names.SERVER, "labels": labels}
    ports = [{"name": "api", "port": names.API_PORT}]
    pod = {"containers": [container], "terminationGracePeriodSeconds": 1}
    service = {"selector": labels, "ports": ports}
    return [
        {"apiVersion": "v1", "kind": "Pod", "metadata": about, "spec": pod},
        {"apiVersion": "v1", "kind": "Service", "metadata": about, "spec": service},
    ]


def told_before(site: Site, settings: Settings) -> list[str]:
    """Bootstrap's faults."""
    with pytest.raises(ManyFaults) as caught:
        before.check_exposure(site.cluster, settings)
    return [each.problem for each in caught.value.faults]


def test_a_route_is_accepted_and_carries_requests_to_the_server(site: Site) -> None:
    settings = site.settings()
    wait_until("the Gateway", lambda: ready(site, settings), seconds=60)
    site.route(settings)
    told = after.check_exposure(site.cluster, settings)
    assert told == f"HTTPRoute for {HOST}: Gateway {GATEWAY} has accepted it"

    def look() -> Sighting:
        try:
            answer = site.ask()
        except httpx.HTTPError as error:  # its certificate is not read yet
            return Sighting(done=False, summary=str(error))
        return Sighting(answer.status_code == 200, str(answer.status_code))

    wait_until("the route", look, seconds=60)
    assert "ca-certificates.crt" in site.ask().text
    assert site.ask("other.example.org").status_code == 404


def ready(site: Site, settings: Settings) -> Sighting:
    try:
        return Sighting(done=True, summary=before.check_exposure(site.cluster, settings))
    except ManyFaults as faults:
        return Sighting(done=False, summary=str(faults))


@pytest.mark.parametrize(
    ("host", "parent", "told"),
    [
        ("other.example.org", {}, "NoMatchingListenerHostname"),
        (HOST, {"section-name": "gone"}, "NoMatchingParent"),
    ],
)
def test_a_route_that_the_gateway_does_not_take_is_told_with_its_reason(
    site: Site, monkeypatch: pytest.MonkeyPatch, host: str, parent: dict[str, str], told: str
) -> None:
    monkeypatch.setattr(after, "_PATIENCE", 10.0)
    settings = site.settings(host, **parent)
    site.route(settings)
    with pytest.raises(NeedsOperator) as caught:
        after.check_exposure(site.cluster, settings)
    assert told in caught.value.problem
    assert "kubectl describe httproute" in caught.value.remedy


def test_bootstrap_tells_of_gateways_that_cannot_carry_it(site: Site) -> None:
    site.cluster.create(gateway("of-nobody", "nobody", HOST))
    [absent] = told_before(site, site.settings(name="absent"))
    assert absent == f"there is no Gateway {site.cluster.namespace}/absent"
    [nobody] = told_before(site, site.settings(name="of-nobody"))
    assert "is not ready: " in nobody
    assert "Waiting for controller" in nobody
    [listener] = told_before(site, site.settings(**{"section-name": "http"}))
    assert listener.endswith("has no listener of section-name http")
