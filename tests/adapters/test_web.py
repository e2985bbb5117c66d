"""Health checks and pages of our own processes."""

import socket
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from clinical_ai.adapters.web import answers, find_title

_PAGES = {
    "/": (200, "<html><title> Prefect Server </title></html>", None),
    "/health": (200, '{"status": "ok"}', None),
    "/made": (201, "<title>not yet a page</title>", None),
    "/closed": (401, "<title>Log in</title>", None),
    "/broken": (503, "<title>Sorry</title>", None),
    "/odd": (200, "<title>\udcff</title>", None),
    "/moved": (307, "", "/also-moved"),
    "/also-moved": (302, "", "http://127.0.0.1:9/"),
    "/circle": (302, "", "/circle"),
    "/nowhere": (302, "", None),
}


class _Pages(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        status, text, place = _PAGES.get(self.path, (404, "", None))
        self.send_response(status)
        if place:
            self.send_header("Location", place)
        self.end_headers()
        self.wfile.write(text.encode(errors="surrogateescape"))

    def log_message(self, format: str, *_: object) -> None:  # noqa: A002 - the base's name
        """Say nothing."""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Pages) as server:
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def mute() -> Iterator[str]:
    """A port where somebody listens who speaks no HTTP."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def hang_up() -> None:
            taken, _ = server.accept()
            with taken:
                taken.sendall(b"SSH-2.0\r\n\r\n")

        Thread(target=hang_up, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize(
    ("path", "good"),
    [
        ("", True),
        ("/health", True),
        ("/made", True),
        ("/moved", True),
        ("/closed", False),
        ("/broken", False),
        ("/absent", False),
    ],
)
def test_an_answer_below_400_is_one(url: str, path: str, *, good: bool) -> None:
    assert answers(f"{url}{path}") == good


@pytest.mark.parametrize(
    ("path", "title"),
    [
        ("", "Prefect Server"),
        ("/moved", "Prefect Server"),
        ("/odd", "\ufffd"),
        ("/health", None),
        ("/made", None),
        ("/closed", None),
        ("/broken", None),
        ("/circle", None),
        ("/nowhere", None),
    ],
)
def test_a_page_is_known_by_its_title(url: str, path: str, title: str | None) -> None:
    assert find_title(f"{url}{path}") == title


def test_who_does_not_answer_or_not_by_http_has_no_page(mute: str) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # and does not listen
        nobody = f"http://127.0.0.1:{bound.getsockname()[1]}/"
        assert not answers(nobody)
        assert find_title(nobody) is None
    assert not answers(mute)
