"""A Docker daemon on the loopback, and the registry behind it; Docker's own client talks to it."""

import json
import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from threading import Thread
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest

from tests.support.certificates import Authority

Answer = tuple[int, Any]
_NOTHING: Final = {"labels": "{}", "buildargs": "{}"}


class FakeDocker:
    """Digests by reference, `here` and in the `registry`; `built`: what builds were asked for.

    `looked_for`: references that the registry was asked about, in order.

    `failing`: code and message for requests of a kind (`build`, `push`, `distribution`, ...). With
    code 200 the message comes in the stream, as of a failed step or a refused layer.
    """

    def __init__(self) -> None:
        self.here: dict[str, str] = {}
        self.registry: dict[str, str] = {}
        self.built: list[dict[str, str]] = []
        self.looked_for: list[str] = []
        self.failing: dict[str, tuple[int, str]] = {}
        self._number = count(1)

    def answer(self, path: str, query: dict[str, str]) -> Answer:
        """Code and body; a list is a stream of lines."""
        for pattern, answer in _ROUTES.items():
            if found := re.fullmatch(rf"(?:/v1\.\d+)?{pattern}", path):
                kind = answer.__name__.strip("_")
                code, message = self.failing.get(kind, (0, ""))
                if code == 200:
                    return 200, [{"error": message}]
                return (
                    (code, {"message": message}) if code else answer(self, query, *found.groups())
                )
        return 404, {"message": "page not found"}

    def _ping(self, _: dict[str, str]) -> Answer:
        return 200, "OK"

    def _version(self, _: dict[str, str]) -> Answer:
        return 200, {"ApiVersion": "1.44", "Version": "28.1.0"}

    def _distribution(self, _: dict[str, str], reference: str) -> Answer:
        self.looked_for.append(reference)
        found = self.registry.get(reference)
        if found is None:
            return 404, {"message": "manifest unknown"}
        return 200, {"Descriptor": {"digest": found}}

    def _inspect(self, _: dict[str, str], reference: str) -> Answer:
        found = self._find(reference)
        return (200, {"Id": found}) if found else _absent(reference)

    def _build(self, query: dict[str, str]) -> Answer:
        self.built.append(_NOTHING | query)
        made = f"sha256:{sha256(str(next(self._number)).encode()).hexdigest()}"
        self.here[made] = made
        return 200, [{"stream": "Step 1/2 : FROM base\n"}, {"aux": {"ID": made}}]

    def _create(self, query: dict[str, str]) -> Answer:
        repository, digest = query["fromImage"], query["tag"]
        if not any(
            (reference.rpartition(":")[0], found) == (repository, digest)
            for reference, found in self.registry.items()
        ):
            return _absent(f"{repository}@{digest}")
        self.here[f"{repository}@{digest}"] = digest
        return 200, [{"status": "Pull complete"}]

    def _tag(self, query: dict[str, str], reference: str) -> Answer:
        found = self._find(reference)
        if found is None:
            return _absent(reference)
        self.here[f"{query['repo']}:{query['tag']}"] = found
        return 201, ""

    def _push(self, query: dict[str, str], repository: str) -> Answer:
        reference = f"{repository}:{query['tag']}"
        self.registry[reference] = self.here[reference]
        return 200, [{"status": "Pushed", "progress": "[=>]"}]

    def _find(self, reference: str) -> str | None:
        known = {**self.here, **{found: found for found in self.here.values()}}
        return known.get(reference)


_ROUTES: Final[dict[str, Any]] = {
    "/_ping": FakeDocker._ping,
    "/version": FakeDocker._version,
    "/distribution/(.+)/json": FakeDocker._distribution,
    "/images/create": FakeDocker._create,
    "/images/(.+)/json": FakeDocker._inspect,
    "/images/(.+)/tag": FakeDocker._tag,
    "/images/(.+)/push": FakeDocker._push,
    "/build": FakeDocker._build,
}


def _absent(reference: str) -> Answer:
    return 404, {"message": f"No such image: {reference}"}


@pytest.fixture
def docker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeDocker]:
    """A daemon where Docker's client looks for it, and nobody is logged in anywhere."""
    fake = FakeDocker()
    with _served(fake) as port:
        _show(monkeypatch, tmp_path, port)
        yield fake


@pytest.fixture
def docker_over_tls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeDocker]:
    """The same on another machine: over TLS, for whoever has a certificate of its authority."""
    fake, authority = FakeDocker(), Authority(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue("daemon"))
    context.load_verify_locations(authority.certificate)
    context.verify_mode = ssl.CERT_REQUIRED
    folder = tmp_path / "certificates"
    folder.mkdir()
    files = (authority.certificate, *authority.issue("client"))
    for path, name in zip(files, ("ca.pem", "cert.pem", "key.pem"), strict=True):
        (folder / name).write_bytes(path.read_bytes())
    with _served(fake, context) as port:
        _show(monkeypatch, tmp_path, port)
        monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
        monkeypatch.setenv("DOCKER_CERT_PATH", str(folder))
        yield fake


@contextmanager
def _served(fake: FakeDocker, context: ssl.SSLContext | None = None) -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(fake))
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _show(monkeypatch: pytest.MonkeyPatch, folder: Path, port: int) -> None:
    for name in ("DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH", "DOCKER_CONTEXT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DOCKER_HOST", f"tcp://127.0.0.1:{port}")
    monkeypatch.setenv("DOCKER_CONFIG", str(folder / "docker"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def _handler(fake: FakeDocker) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            parts = urlsplit(self.path)
            code, body = fake.answer(unquote(parts.path), dict(parse_qsl(parts.query)))
            self.send_response(code)
            if isinstance(body, list):
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                for each in [*(json.dumps(row) + "\r\n" for row in body), ""]:
                    self.wfile.write(f"{len(each):x}\r\n{each}\r\n".encode())
                return
            text = body if isinstance(body, str) else json.dumps(body)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        do_POST = do_GET  # noqa: N815 - named by the standard library

        def log_message(self, *_: object) -> None:
            """Nobody reads it."""

    return Handler
