"""A FHIR R4 server on the loopback, as far as searches go: pages, next links, faults on demand."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest


@dataclass
class Fault:
    """An answer to give instead of the right one."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: str = ""


class FhirTestServer:
    """Holds resources as JSON texts; `faults` are given first, one a request."""

    def __init__(self) -> None:
        self.resources: list[str] = []
        self.faults: list[Fault] = []
        self.asked: list[str] = []
        self.authorizations: list[str | None] = []
        self.next_base: str | None = None
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.base = f"http://127.0.0.1:{self._server.server_port}/fhir"
        Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, path: str) -> Fault:
        """What one GET is answered."""
        self.asked.append(path)
        if self.faults:
            return self.faults.pop(0)
        parts = urlsplit(path)
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        return Fault(200, body=self._bundle(parts.path.rsplit("/", 1)[-1], query))

    def _bundle(self, resource_type: str, query: dict[str, str]) -> str:
        found = [text for text in self.resources if _matches(text, resource_type, query)]
        start, count = int(query.get("_offset", "0")), int(query.get("_count", "50"))
        entries = [f'{{"resource": {text}}}' for text in found[start : start + count]]
        links = []
        if start + count < len(found):
            after = urlencode({**query, "_offset": str(start + count)})
            url = f"{self.next_base or self.base}/{resource_type}?{after}"
            links = [{"relation": "next", "url": url}]
        return (
            f'{{"resourceType": "Bundle", "type": "searchset", "link": {json.dumps(links)},'
            f' "entry": [{", ".join(entries)}]}}'
        )


def _matches(text: str, resource_type: str, query: dict[str, str]) -> bool:
    try:
        resource: dict[str, Any] = json.loads(text)
    except ValueError:
        return True  # broken on purpose
    if resource.get("resourceType") != resource_type:
        return False
    since = query.get("_lastUpdated", "")
    changed = resource.get("meta", {}).get("lastUpdated")
    if not since or changed is None:
        return True
    return datetime.fromisoformat(changed) >= datetime.fromisoformat(since.removeprefix("ge"))


def _handler(owner: FhirTestServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            owner.authorizations.append(self.headers.get("Authorization"))
            given = owner.answer(self.path)
            body = given.body.encode()
            self.send_response(given.status)
            for name, value in given.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  (its name there)
            pass

    return Handler


@pytest.fixture
def fhir_server() -> Iterator[FhirTestServer]:
    """An empty server."""
    server = FhirTestServer()
    yield server
    server.close()
