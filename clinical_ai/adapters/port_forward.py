"""A Service of the cluster at a port of this machine's loopback, by kubectl, while a block runs."""

import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from queue import Empty, Queue
from threading import Event, Lock, Thread
from typing import Final

from clinical_ai.errors import NeedsOperator, Transient

_READY: Final = re.compile(r"Forwarding from 127\.0\.0\.1:(\d+)")
_SECONDS: Final = 30
_PAUSE: Final = 1.0  # before kubectl is started again


@contextmanager
def forwarded(
    environ: Mapping[str, str], namespace: str, service: str, port: int, *, context: str = ""
) -> Iterator[int]:
    """The local port, for as long as the block runs.

    kubectl ends when the pod that it chose does; it is started again with the same local port, so
    that whoever uses it survives a roll-out. NeedsOperator without kubectl; Transient when the
    Service has no pod at first.
    """
    words = ["kubectl", *(["--context", context] if context else []), "--namespace", namespace]
    words += ["port-forward", "--address", "127.0.0.1", f"service/{service}"]
    forward = _Forward(words, environ, service, port)
    try:
        yield forward.start()
    finally:
        forward.stop()


def by_hand(namespace: str, service: str, port: int) -> str:
    """The command with which a person does so, at the same port."""
    return f"kubectl port-forward -n {namespace} svc/{service} {port}:{port}"


def check_kubectl(environ: Mapping[str, str]) -> str:
    """It is here; NeedsOperator when it is not."""
    if shutil.which("kubectl", path=environ.get("PATH")) is None:
        raise _no_kubectl()
    return "kubectl"


def _no_kubectl() -> NeedsOperator:
    return NeedsOperator("kubectl is not on the PATH", "install it: it forwards ports")


@dataclass
class _Forward:
    """One kubectl after the other."""

    words: list[str]
    environ: Mapping[str, str]
    service: str
    port: int
    _over: Event = field(default_factory=Event)
    _lock: Lock = field(default_factory=Lock)
    _process: "subprocess.Popen[str] | None" = None

    def start(self) -> int:
        """The local port that kubectl chose."""
        process = self._launch(f":{self.port}")
        lines: Queue[str] = Queue()
        Thread(target=self._keep, args=(process, lines), daemon=True).start()
        return self._chosen(lines)

    def stop(self) -> None:
        """No kubectl runs any more."""
        with self._lock:
            self._over.set()
            if self._process is not None:
                self._process.terminate()
                self._process.wait()

    def _keep(self, process: "subprocess.Popen[str]", lines: "Queue[str]") -> None:
        """Read what kubectl says, so that a full pipe never stops it, and start the next one."""
        chosen = ""
        while True:
            for line in process.stdout or ():
                lines.put(line.strip())
                if found := _READY.match(line):
                    chosen = found[1]
            process.wait()
            lines.put("")
            if not chosen or self._over.wait(_PAUSE):
                return
            with self._lock:
                if self._over.is_set():
                    return
                process = self._launch(f"{chosen}:{self.port}")

    def _launch(self, ports: str) -> "subprocess.Popen[str]":
        try:
            self._process = subprocess.Popen(
                [*self.words, ports],
                env=dict(self.environ),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        except FileNotFoundError:
            raise _no_kubectl() from None
        return self._process

    def _chosen(self, lines: "Queue[str]") -> int:
        said: list[str] = []
        while True:
            try:
                line = lines.get(timeout=_SECONDS)
            except Empty:
                raise Transient(
                    f"kubectl did not forward to {self.service} in {_SECONDS} s: it waits as"
                    " long as no pod of it runs"
                ) from None
            if found := _READY.match(line):
                return int(found[1])
            if not line:
                told = " ".join(said[-2:])
                raise Transient(f"kubectl can't forward to {self.service}: {told}")
            said.append(line)
