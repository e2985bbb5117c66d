"""Somebody else's process that listens on a port."""

import os
import subprocess
import sys

_LISTEN = (
    "import socket, sys; s = socket.socket(); s.bind(('127.0.0.1', 0)); s.listen();"
    "print(s.getsockname()[1], flush=True); sys.stdin.read()"
)


class Listener:
    """Another process that holds a port until its input ends."""

    def __init__(self, **marks: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", _LISTEN],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **marks},
        )
        assert self.process.stdout
        self.port = int(self.process.stdout.readline())
        self.api = f"http://127.0.0.1:{self.port}/api"

    def __enter__(self) -> "Listener":
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        self.process.communicate(timeout=20)
