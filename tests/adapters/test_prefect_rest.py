"""How an answer of Prefect's server becomes an answer, a Transient or a NeedsOperator."""

import json
from collections.abc import Iterator
from contextlib import nullcontext
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from pydantic import SecretStr

from clinical_ai import names
from clinical_ai.adapters.prefect_rest import PrefectRest
from clinical_ai.errors import NeedsOperator, Transient
from clinical_ai.wiring_cluster import reach_api
from tests.support.fake_cluster import FakeCluster

CANARY = "rest-canary"


class _Scripted(BaseHTTPRequestHandler):
    """Gives the answer it was told to give, and notes what it was asked."""

    def handle_one_request(self) -> None:
        """Whatever the method is."""
        self.raw_requestline = self.rfile.readline(65_537)
        if not self.raw_requestline or not self.parse_request():
            self.close_connection = True
            return
        length = int(self.headers["Content-Length"] or 0)
        body = json.loads(self.rfile.read(length) or "null")
        self.server.asked.append((self.command, self.path, body, dict(self.headers)))  # type: ignore[attr-defined]
        status, text = self.server.answers.pop(0)  # type: ignore[attr-defined]
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - inherited
        pass


@pytest.fixture
def server() -> Iterator[Any]:
    """With `answers` to give (status and text) and what was `asked`."""
    made: Any = ThreadingHTTPServer(("127.0.0.1", 0), _Scripted)
    made.answers, made.asked, made.daemon_threads = [], [], True
    Thread(target=made.serve_forever, args=(0.02,), daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


def opened(server: Any, auth: str | None = "admin:pass:word") -> PrefectRest:
    url = f"http://127.0.0.1:{server.server_port}/api/"
    return PrefectRest(url, SecretStr(auth) if auth else None)


@pytest.mark.parametrize("status", [500, 502, 503, 429])
def test_an_outage_is_worth_another_try_and_tells_where(server: Any, status: int) -> None:
    server.answers += [(status, f'{{"detail": "{CANARY}"}}')]
    with pytest.raises(Transient, match=f"Prefect answered {status} to POST /flows/") as met:
        opened(server).post("/flows/", {"name": "x"})
    assert CANARY not in str(met.value)


def test_a_server_that_does_not_listen_or_answer_is_worth_another_try(server: Any) -> None:
    with pytest.raises(Transient, match=r"no answer from Prefect at .*: ConnectError"):
        PrefectRest("http://127.0.0.1:9/api", None).get("/health")
    silent = PrefectRest(f"http://127.0.0.1:{server.server_port}/api", None, timeout=0.2)
    server.answers = _Slow()
    with pytest.raises(Transient, match="ReadTimeout"):
        silent.get("/health")


def test_a_server_that_is_not_the_one_meant_gets_no_request_and_no_password(server: Any) -> None:
    url, ours = f"http://127.0.0.1:{server.server_port}/api", [False, True]
    api = PrefectRest(url, SecretStr("admin:word"), serves=lambda: ours.pop(0))
    with pytest.raises(Transient, match="no process of this platform listens at"):
        api.get("/health")
    assert server.asked == []
    server.answers += [(200, "{}")] * 2
    assert [api.get("/health"), api.get("/health")] == [{}, {}], "asked once, then known"


def test_who_serves_is_asked_again_after_the_server_was_away() -> None:
    asked: list[int] = []
    api = PrefectRest("http://127.0.0.1:9/api", None, serves=lambda: not asked.append(1))
    for _ in range(2):
        with pytest.raises(Transient, match="ConnectError"):
            api.get("/health")
    assert len(asked) == 2


class _Slow(list[Any]):
    """No answer within the time of a test."""

    def pop(self, _index: Any = 0) -> Any:
        from threading import Event

        Event().wait(2)
        return 200, "{}"


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (
            {
                "exception_message": "Invalid request received.",
                "exception_detail": [
                    {"loc": ["body", "tags", 0], "msg": "Input should be a string"},
                    {"loc": ["body", "name"], "msg": "Field required", "input": CANARY},
                ],
                "request_body": CANARY,
            },
            "body.tags.0: Input should be a string; body.name: Field required",
        ),
        ({"detail": "Flow run name is too long."}, "Flow run name is too long."),
        ({"other": CANARY}, "no reason given"),
        (["a list"], "a list"),
        (None, "no reason given"),
    ],
)
def test_a_refusal_tells_fields_and_rules_and_not_what_was_sent(
    server: Any, answer: Any, told: str
) -> None:
    server.answers += [(422, json.dumps(answer) if answer else f"<html>{CANARY}</html>")]
    with pytest.raises(NeedsOperator) as refused:
        opened(server).post("/flows/", {"name": CANARY})
    assert f"Prefect refused POST /flows/ (422): {told}" in str(refused.value)
    assert CANARY not in f"{refused.value!r} {refused.value}"


def test_a_wrong_password_is_told_with_what_may_be_the_cause(server: Any) -> None:
    server.answers += [(401, "")]
    with pytest.raises(NeedsOperator, match=r"refused the password.*another server may own") as it:
        opened(server).get("/work_pools/default")
    assert f"kubectl rollout restart deployment/{names.SERVER}`" in it.value.remedy


def test_a_wrong_password_in_a_cluster_is_told_with_its_namespace(
    server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From outside, through a forwarded port."""
    server.answers += [(401, "")]
    forwarded = nullcontext(server.server_port)
    monkeypatch.setattr("clinical_ai.adapters.port_forward.forwarded", lambda *_, **__: forwarded)
    cluster = FakeCluster("ward").open("ward")
    with reach_api(cluster, {}) as api, pytest.raises(NeedsOperator) as refused:
        api.get("/work_pools/default")
    restart = f"kubectl -n ward rollout restart deployment/{names.SERVER}"
    assert restart in refused.value.remedy


def test_absent_is_none_false_or_an_error_by_what_was_asked(server: Any) -> None:
    server.answers += [(404, "{}")] * 5
    api = opened(server)
    assert api.get("/x") is None
    assert api.delete("/x") is False
    with pytest.raises(NeedsOperator, match="knows nothing at /x"):
        api.post("/x")
    for change in (api.patch, api.put):
        with pytest.raises(NeedsOperator, match="/x does not exist any more"):
            change("/x", {})


def test_answers_without_content_are_answers(server: Any) -> None:
    server.answers += [(204, "")] * 4
    api = opened(server)
    assert api.post("/x") is None
    api.patch("/x", {})
    api.put("/x", {})
    assert api.delete("/x") is True


def test_the_password_goes_along_whole_and_the_callers_proxy_and_netrc_are_not_used(
    server: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\n")
    monkeypatch.setenv("NETRC", str(netrc))
    server.answers += [(200, "[]")] * 2
    opened(server).get("/flows")
    opened(server, auth=None).get("/flows")
    with_password, without = (headers for _, _, _, headers in server.asked)
    assert with_password["Authorization"] == "Basic YWRtaW46cGFzczp3b3Jk"
    assert "Authorization" not in without


def test_pages_are_asked_for_until_one_is_not_full(server: Any) -> None:
    full, rest = ([{"n": n} for n in numbers] for numbers in (range(200), range(200, 203)))
    server.answers += [(200, json.dumps(full)), (200, json.dumps(rest))]
    rows = opened(server).pages("/flows/filter", {"sort": "NAME_ASC"})
    assert [row["n"] for row in rows] == list(range(203))
    assert [body for _, _, body, _ in server.asked] == [
        {"sort": "NAME_ASC", "limit": 200, "offset": offset} for offset in (0, 200)
    ]
