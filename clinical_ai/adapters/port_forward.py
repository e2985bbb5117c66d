"""A Service of the cluster at a port of this machine's loopback, by kubectl, while a block runs."""

import re
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from queue import Empty, Queue
from threading import Thread
from typing import Final

from clinical_ai.errors import NeedsOperator, Transient

_READY: Final = re.compile(r"Forwarding from 127\.0\.0\.1:(\d+)")
_SECONDS: Final = 30


@contextmanager
def forwarded(
    environ: Mapping[str, str], namespace: str, service: str, port: int, *, context: str = ""
) -> Iterator[int]:
    """The local port. NeedsOperator without kubectl; Transient when the Service has no pod."""
    words = ["kubectl", *(["--context", context] if context else []), "--namespace", namespace]
    words += ["port-forward", "--address", "127.0.0.1", f"service/{service}", f":{port}"]
    try:
        process = subprocess.Popen(
            words,
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
    except FileNotFoundError:
        raise NeedsOperator("kubectl is not on the PATH", "install it: it forwards ports") from None
    try:
        yield _port(process, service)
    finally:
        process.terminate()
        process.wait()


def _port(process: "subprocess.Popen[str]", service: str) -> int:
    lines: Queue[str] = Queue()
    said: list[str] = []

    def read() -> None:
        # To its end, so that kubectl is never stopped by a full pipe.
        for line in process.stdout or ():
            lines.put(line.strip())
        lines.put("")

    Thread(target=read, daemon=True).start()
    while True:
        try:
            line = lines.get(timeout=_SECONDS)
        except Empty:
            raise Transient(f"kubectl did not forward to {service} in {_SECONDS} s") from None
        if found := _READY.match(line):
            return int(found[1])
        if not line:
            raise Transient(f"kubectl can't forward to {service}: {' '.join(said[-2:])}")
        said.append(line)
