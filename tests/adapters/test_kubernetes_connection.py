"""Requests are repeated only when nothing was done, and a broken connection is no refusal."""

import json
import ssl
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import httpx
import pytest

from clinical_ai.adapters.kubernetes_access import Access
from clinical_ai.adapters.kubernetes_api import KubernetesApi
from clinical_ai.adapters.kubernetes_connection import Connection
from clinical_ai.errors import NeedsOperator, Transient
from clinical_ai.ports_cluster import Ref
from tests.support.certificates import Authority
from tests.support.fake_cluster import FakeCluster
from tests.support.objects import config, secret
from tests.support.world import World

CONFIG = Ref("v1", "ConfigMap", "settings")
TRUST = ssl.create_default_context()


def answer(code: int, **headers: str) -> httpx.Response:
    return httpx.Response(code, json={"kind": "Status", "code": code}, headers=headers)


def waits(cluster: KubernetesApi) -> list[float]:
    """Seconds that the connection waited, none of which pass."""
    slept: list[float] = []
    cluster._connection._pause = slept.append
    return slept


@pytest.mark.parametrize("end", ["", "/"])
def test_a_server_behind_a_path_is_asked_below_it(end: str) -> None:
    """As a proxy before many clusters has it."""
    asked: list[str] = []

    def serve(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        return httpx.Response(200, json={})

    access = Access(f"https://many.example/k8s/c-1{end}", TRUST, "default", "a test", lambda: "")
    transport = httpx.MockTransport(serve)
    connection = Connection(lambda: access, timeout=1, transport=transport)
    connection.send("GET", "/api/v1/pods")
    connection.send("GET", "/api/v1/pods", {"labelSelector": "app=a,b=c", "limit": "5"})
    below = "https://many.example/k8s/c-1/api/v1/pods"
    assert asked == [below, f"{below}?labelSelector=app%3Da%2Cb%3Dc&limit=5"]


def test_credentials_that_ran_out_are_read_anew_and_the_request_is_repeated() -> None:
    fake = FakeCluster()
    cluster = fake.open()
    cluster.apply(config(a="1"))
    fake.first = [answer(401)]
    assert cluster.get(CONFIG)["data"] == {"a": "1"}
    assert fake.opened == 2


def test_credentials_that_are_refused_again_are_told_with_whose_they_are() -> None:
    fake = FakeCluster()
    fake.first = [answer(401), answer(401)]
    with pytest.raises(NeedsOperator, match="does not know a test"):
        fake.open().find(CONFIG)


def test_a_busy_server_is_asked_again_when_it_says() -> None:
    fake = FakeCluster()
    cluster = fake.open()
    cluster.apply(config(a="1"))
    slept = waits(cluster)
    fake.first = [answer(429, **{"Retry-After": it}) for it in ("2", "100", "soon", "-1")]
    assert cluster.get(CONFIG)
    assert slept == [2.0, 10.0, 1.0, 0.0]
    slept.clear()
    fake.first = [answer(429, **{"Retry-After": "60"})] * 5
    with pytest.raises(Transient, match="answered 429 to get ConfigMap default/settings"):
        cluster.get(CONFIG)
    assert slept == [10.0] * 4  # none before it gives up
    assert fake.first == []


@pytest.mark.parametrize("code", [500, 502, 503, 504])
def test_a_server_that_fails_is_an_outage_and_no_answer(code: int) -> None:
    fake = FakeCluster()
    cluster = fake.open()
    cluster.apply(config())
    fake.first = [answer(code)]
    with pytest.raises(Transient, match=f"answered {code}"):
        cluster.find(CONFIG)
    assert cluster.find(CONFIG)


@pytest.mark.parametrize("body", ["<html>404 Not Found</html>", "", '{"detail": "no route"}', "[]"])
def test_what_a_proxy_does_not_find_is_not_taken_for_absent(body: str) -> None:
    fake = FakeCluster()
    cluster = fake.open()
    uid = cluster.apply(config())["metadata"]["uid"]
    for ask in (lambda: cluster.find(CONFIG), lambda: cluster.delete(CONFIG, uid=uid)):
        fake.first = [httpx.Response(404, text=body)]
        with pytest.raises(Transient, match="is not Kubernetes, but before it"):
            ask()
    assert cluster.find(CONFIG)


@pytest.mark.parametrize("code", [400, 403, 407, 418, 422])
@pytest.mark.parametrize("body", ["<html>Access denied</html>", "", '{"error": "policy"}'])
def test_what_a_proxy_refuses_is_no_rule_of_the_cluster(code: int, body: str) -> None:
    fake = FakeCluster()
    cluster = fake.open()
    cluster.serves("v1", "ConfigMap")
    for ask in (lambda: cluster.find(CONFIG), lambda: cluster.apply(config())):
        fake.first = [httpx.Response(code, text=body)]
        with pytest.raises(NeedsOperator, match=f"answered {code} to .* is not Kub") as refused:
            ask()
        assert "NO_PROXY" in refused.value.remedy


def test_what_a_proxy_does_not_find_to_write_to_is_an_outage() -> None:
    fake = FakeCluster()
    cluster = fake.open()
    cluster.serves("v1", "ConfigMap")
    fake.first = [httpx.Response(404, text="no route")]
    with pytest.raises(Transient, match="answered 404 to patch"):
        cluster.apply(config())


def test_a_path_that_kubernetes_does_not_serve_holds_no_object() -> None:
    fake = FakeCluster()
    cluster = fake.open()
    cluster.apply(config())
    fake.first = [httpx.Response(404, text="404 page not found\n")]
    assert cluster.find(CONFIG) is None


def test_a_server_that_can_not_be_reached_is_an_outage() -> None:
    fake = FakeCluster()
    fake.down = True
    with pytest.raises(Transient, match=r"no answer from the API server at https://cluster\.test"):
        fake.open().find(CONFIG)


def test_why_there_is_no_answer_is_told_with_what_shows_it() -> None:
    def load() -> Access:
        return Access("https://127.0.0.1:9", ssl.create_default_context(), "n", "context test")

    with pytest.raises(Transient) as met:
        KubernetesApi(load).find(CONFIG)
    assert str(met.value) == (
        "no answer from the API server at https://127.0.0.1:9: Connection refused;"
        " see whether `kubectl version` gets one, as context test"
    )


def test_a_list_that_grew_old_is_read_from_its_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clinical_ai.adapters.kubernetes_api._PAGE", 1)
    fake = FakeCluster()
    cluster = fake.open()
    for name in ("a", "b", "c"):
        cluster.apply(config(name))
    fake.first = [None, answer(410)]
    found = cluster.find_all("v1", "ConfigMap", labels={"app": "contract"})
    assert [row["metadata"]["name"] for row in found] == ["a", "b", "c"]
    fake.first = [None, answer(410)] * 5
    with pytest.raises(Transient, match="change faster than they can be read"):
        cluster.find_all("v1", "ConfigMap", labels={"app": "contract"})


@pytest.mark.parametrize(
    ("message", "cause", "remedy"),
    [
        (
            'pods "x" is forbidden: exceeded quota: q, requested: pods=1, used: pods=2',
            "exceeds the quota q, requested: pods=1, used: pods=2",
            "kubectl describe quota -n default",
        ),
        (
            'x is forbidden: violates PodSecurity "restricted:latest": privileged',
            "pod security restricted:latest refuses ConfigMap default/settings: privileged",
            "kubectl get namespace default --show-labels",
        ),
        (
            "x is forbidden: unable to create new content in namespace default "
            "because it is being terminated",
            "namespace default is being deleted",
            "wait until",
        ),
        (
            'admission webhook "w.test" denied the request: no team label',
            'refuses ConfigMap default/settings: admission webhook "w.test" denied the request: no',
            "validatingwebhookconfigurations",
        ),
    ],
)
def test_a_rule_of_the_cluster_is_told_with_where_it_stands(
    message: str, cause: str, remedy: str
) -> None:
    fake = FakeCluster()
    cluster = fake.open()
    cluster.serves("v1", "ConfigMap")
    fake.first = [httpx.Response(403, json={"kind": "Status", "message": message})]
    with pytest.raises(NeedsOperator) as refused:
        cluster.apply(config())
    assert cause in refused.value.problem
    assert remedy in refused.value.remedy


def test_what_a_webhook_says_about_a_secret_is_withheld() -> None:
    fake = FakeCluster()
    cluster = fake.open()
    cluster.serves("v1", "Secret")
    told = 'admission webhook "w.test" denied the request: hunter2 is too short'
    fake.first = [httpx.Response(403, json={"kind": "Status", "message": told})]
    with pytest.raises(NeedsOperator, match=r'admission webhook "w\.test"') as refused:
        cluster.apply(secret(key="hunter2"))
    assert "hunter2" not in str(refused.value)


def test_what_is_no_api_server_is_told() -> None:
    fake = FakeCluster()
    fake.first = [httpx.Response(200, text="<html>")]
    with pytest.raises(NeedsOperator, match="is not Kubernetes"):
        fake.open().version()
    fake.first = [httpx.Response(418, text="<html>")]
    with pytest.raises(NeedsOperator, match="418"):
        fake.open().version()


class _Answering(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = json.dumps({"major": "1", "minor": "30+"}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def secured(tmp_path: Path) -> Iterator[tuple[str, Authority]]:
    """A server with TLS, and who signed its certificate."""
    authority = Authority(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue("server"))
    server = HTTPServer(("127.0.0.1", 0), _Answering)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"https://127.0.0.1:{server.server_port}", authority
    server.shutdown()
    server.server_close()


def connect(host: str, trust: ssl.SSLContext) -> KubernetesApi:
    return KubernetesApi(lambda: Access(host, trust, "default", "a test"))


def test_a_server_of_the_authority_that_is_trusted_is_spoken_to(
    secured: tuple[str, Authority],
) -> None:
    host, authority = secured
    trust = ssl.create_default_context(cafile=str(authority.certificate))
    assert connect(host, trust).version() == (1, 30)


def test_a_server_that_somebody_else_vouches_for_is_told_and_no_outage(
    secured: tuple[str, Authority],
) -> None:
    with pytest.raises(NeedsOperator, match="is not of the authority that a test trusts"):
        connect(secured[0], ssl.create_default_context()).version()


def test_a_connection_shows_no_token(world: World) -> None:
    connection: Connection = world.api._connection
    shown = repr(connection.access)
    assert "Bearer" not in shown
