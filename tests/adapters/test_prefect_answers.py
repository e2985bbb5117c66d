"""Answers that a healthy server seldom gives, for every method, and what is never told of them."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any, ClassVar

import pytest
from pydantic import SecretStr

from clinical_ai.adapters.prefect_rest import PrefectRest
from clinical_ai.errors import NeedsOperator, Transient
from tests.support.prefect_server import PrefectServer

SECRET = "s3cret-value"


class Canned(BaseHTTPRequestHandler):
    """Answers everything with what the test put there; remembers what it was asked."""

    status: ClassVar[int] = 200
    answer: ClassVar[bytes] = b"{}"
    asked: ClassVar[list[dict[str, Any]]] = []

    def _give(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        headers = dict(self.headers.items())
        Canned.asked.append({"path": self.path, "body": body, "headers": headers})
        self.send_response(Canned.status)
        self.send_header("Content-Length", str(len(Canned.answer)))
        self.end_headers()
        self.wfile.write(Canned.answer)

    do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = _give  # noqa: N815 - the server's names

    def log_message(self, *arguments: Any) -> None:
        """Say nothing."""


@pytest.fixture
def url() -> Iterator[str]:
    Canned.status, Canned.answer, Canned.asked = 200, b"{}", []
    with HTTPServer(("127.0.0.1", 0), Canned) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/api"
        server.shutdown()
        thread.join()


@pytest.fixture
def rest(url: str) -> PrefectRest:
    return PrefectRest(url, SecretStr(f"admin:{SECRET}:with-colon"))


def answering(status: int, answer: Any) -> None:
    Canned.status = status
    Canned.answer = answer if isinstance(answer, bytes) else json.dumps(answer).encode()


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_an_ailing_server_is_worth_another_try(rest: PrefectRest, status: int) -> None:
    answering(status, {"detail": SECRET})
    for ask in (
        lambda: rest.get("/things"),
        lambda: rest.post("/things", {"field": SECRET}),
        lambda: rest.patch("/things", {"field": SECRET}),
        lambda: rest.put("/things", {"field": SECRET}),
        lambda: rest.delete("/things"),
        lambda: list(rest.pages("/things", {"field": SECRET})),
    ):
        with pytest.raises(Transient, match=rf"answered {status} to [A-Z]+ /things$") as met:
            ask()
        assert SECRET not in str(met.value)


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (
            {
                "exception_message": "Invalid request received.",
                "exception_detail": [
                    {"loc": ["body", "a", 0], "msg": "too small", "input": SECRET},
                    {"loc": ["body", "b"], "msg": "required", "ctx": {"given": SECRET}},
                    "odd",
                ],
                "request_body": {"field": SECRET},
            },
            "body.a.0: too small; body.b: required",
        ),
        ({"detail": "no such thing"}, "no such thing"),
        ({"message": SECRET}, "no reason given"),
        (b"<html>", "no reason given"),
        (b"", "no reason given"),
        ("refused", "refused"),
    ],
    ids=["fields", "detail", "neither", "html", "empty", "text"],
)
def test_a_refusal_is_told_by_what_it_names(rest: PrefectRest, answer: Any, told: str) -> None:
    answering(422, answer)
    with pytest.raises(NeedsOperator) as met:
        rest.post("/things", {"field": SECRET})
    assert met.value.problem == f"Prefect refused POST /things (422): {told}"
    assert SECRET not in str(met.value)


@pytest.mark.parametrize(
    ("status", "answer"), [(200, b"<html>another server</html>"), (302, b""), (200, b"")]
)
def test_an_answer_of_another_kind_of_server_is_told(
    rest: PrefectRest, status: int, answer: bytes
) -> None:
    answering(status, answer)
    with pytest.raises((NeedsOperator, Transient)):
        rest.get("/ready")


def test_a_full_last_page_is_followed_by_an_empty_one(
    rest: PrefectRest, monkeypatch: pytest.MonkeyPatch
) -> None:
    def post(path: str, body: Any) -> list[dict[str, Any]]:
        return [{"id": body["offset"]}] * 200 if body["offset"] < 400 else []

    monkeypatch.setattr(rest, "post", post)
    assert len(list(rest.pages("/things/filter"))) == 400


def test_a_list_is_sent_as_a_list_and_nothing_as_an_empty_object(rest: PrefectRest) -> None:
    rest.post("/logs/", [{"a": 1}])
    rest.post("/filter")
    rest.post("/other", [])
    assert [asked["body"] for asked in Canned.asked] == [[{"a": 1}], {}, []]


def test_the_password_is_not_in_the_representation(rest: PrefectRest) -> None:
    rest.get("/things")
    assert SECRET not in repr(rest) + repr(rest.__dict__)


def test_a_refused_parameter_is_told_without_its_value(prefect_server: PrefectServer) -> None:
    api = prefect_server.open()
    if api.get("/work_pools/refusing") is None:
        api.post("/work_pools/", {"name": "refusing", "type": "process"})
    body = {
        "name": "refusing",
        "flow_id": api.post("/flows/", {"name": "refusing"})["id"],
        "work_pool_name": "refusing",
        "enforce_parameter_schema": True,
        "parameter_openapi_schema": {"type": "object", "properties": {"n": {"type": "integer"}}},
    }
    deployment = api.post("/deployments/", body)["id"]
    sent = {"parameters": {"n": SECRET}, "state": {"type": "SCHEDULED"}}
    with pytest.raises(NeedsOperator) as met:
        api.post(f"/deployments/{deployment}/create_flow_run", sent)
    assert "409" in str(met.value)
    assert SECRET not in str(met.value)
