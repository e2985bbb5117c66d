"""Vault on the loopback, as far as a pod asks it: health, Kubernetes authentication and key-value
secrets.

tests/contract asks a real Vault the same, by `make e2e`.
"""

import json
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, Final, Literal
from urllib.parse import parse_qs, urlsplit

import pytest

JWT: Final = "eyJ-of-a-pod-hunter2"
TOKEN: Final = "hvs.hunter2"
ROLE: Final = "clinical-ai-prefect"


@dataclass
class Given:
    """An answer to give instead of the right one."""

    status: int
    body: Any = None


@dataclass
class Asked:
    """A request that came."""

    method: str
    path: str
    token: str | None
    namespace: str | None


class VaultTestServer:
    """`secrets`: fields by mount and path. `answers` are given first, one a request.

    `pair`: a certificate and its key, to be asked by TLS.
    """

    def __init__(self, pair: tuple[Path, Path] | None = None) -> None:
        self.versions: dict[str, Literal["v1", "v2"]] = {"secret": "v2"}
        self.secrets: dict[str, dict[str, Any]] = {}
        self.jwts = {JWT}
        self.forbidden: set[str] = set()
        self.tokens: set[str] = set()
        self.lease = 300
        self.answers: list[Given] = []
        self.asked: list[Asked] = []
        self.logins = 0
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        if pair:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(*pair)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        scheme = "https" if pair else "http"
        self.address = f"{scheme}://127.0.0.1:{self._server.server_port}"
        Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def keep(self, place: str, **fields: Any) -> None:
        """`place`: MOUNT/PATH; beside the fields that it has."""
        self.secrets.setdefault(place, {}).update(fields)

    def answer(self, asked: Asked, body: dict[str, Any]) -> Given:
        """What one request is answered."""
        self.asked.append(asked)
        if self.answers:
            return self.answers.pop(0)
        path = urlsplit(asked.path)
        if path.path == "/v1/sys/health" and asked.namespace is None:  # of the root one alone
            active = parse_qs(path.query).get("standbyok") == ["true"]
            return Given(200 if active else 429, {"initialized": True, "sealed": False})
        if asked.method == "POST":
            return self._login(asked.path, body)
        if asked.token not in self.tokens:
            return _refused(403, "permission denied", "invalid token")
        return self._read(path.path.removeprefix("/v1/"))

    def _login(self, path: str, body: dict[str, Any]) -> Given:
        if urlsplit(path).path != "/v1/auth/kubernetes/login":  # a proxy is asked by an address
            return _refused(403, "permission denied")
        if body["role"] != ROLE:
            return _refused(400, f'invalid role name "{body["role"]}"')
        if body["jwt"] not in self.jwts:
            return _refused(403, "permission denied")
        self.logins += 1
        self.tokens.add(token := f"{TOKEN}-{self.logins}")
        return Given(200, {"auth": {"client_token": token, "lease_duration": self.lease}})

    def _read(self, path: str) -> Given:
        if path in self.forbidden:
            return _refused(403, "1 error occurred:\n\t* permission denied\n\n")
        mount, _, rest = path.partition("/")
        versioned = self.versions.get(mount) == "v2"
        if mount not in self.versions or (versioned and not rest.startswith("data/")):
            return _refused(404)
        found = self.secrets.get(f"{mount}/{rest.removeprefix('data/') if versioned else rest}")
        if found is None:
            return _refused(404)
        return Given(200, {"data": {"data": found, "metadata": {}} if versioned else found})


def _refused(status: int, *errors: str) -> Given:
    return Given(status, {"errors": list(errors)})


def _handler(owner: VaultTestServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length) or b"{}")
            headers = self.headers.get("X-Vault-Token"), self.headers.get("X-Vault-Namespace")
            given = owner.answer(Asked(self.command, self.path, *headers), body)
            text = given.body if isinstance(given.body, str) else json.dumps(given.body)
            self.send_response(given.status)
            if 300 <= given.status < 400:
                self.send_header("Location", text)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

        def do_POST(self) -> None:
            self.do_GET()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  (its name there)
            pass

    return Handler


@pytest.fixture
def vault() -> Iterator[VaultTestServer]:
    """Nothing is in it, and it lets the pod in whose token is JWT."""
    server = VaultTestServer()
    yield server
    server.close()


@pytest.fixture
def pod_token(tmp_path: Path) -> Path:
    """The file of that token, as the kubelet writes it."""
    path = tmp_path / "vault-token"
    path.write_text(JWT)
    return path
