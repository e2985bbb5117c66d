"""A bootstrap that signals its process group at a write to Kubernetes or to Prefect.

python -m tests.support.killed_bootstrap SIGNAL before|after WHICH WORDS    (WORDS: of `bootstrap`)

WHICH: the N-th of all, or the first one to a path that ends so (`/create_flow_run`).
"""

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from bootstrap.__main__ import main
from clinical_ai.adapters.guarded_api import _READS
from clinical_ai.adapters.kubernetes_connection import Connection
from clinical_ai.adapters.prefect_rest import PrefectRest


class _Death:
    """Comes when as many writes were begun, or done, as are allowed."""

    def __init__(self, how: signal.Signals, side: str, which: str) -> None:
        self._how, self._side = how, side
        self._left, self._end = (int(which), "") if which.isdigit() else (1, which)

    def comes(self, side: str, path: str) -> None:
        if side != self._side or not path.endswith(self._end):
            return
        self._left -= 1
        if not self._left:
            os.killpg(0, self._how)


def _is_write(method: str, path: str, query: Any) -> bool:
    if method == "GET" or "authorization.k8s.io" in path:
        return False
    dry = isinstance(query, dict) and "dryRun" in query  # Prefect's third argument is the body
    return not dry and not path.endswith(_READS)


def _count(owner: Any, name: str, death: _Death) -> None:
    real: Callable[..., Any] = getattr(owner, name)

    def send(self: Any, method: str, path: str, query: Any = None, *more: Any, **named: Any) -> Any:
        if not _is_write(method, path, query or named.get("query")):
            return real(self, method, path, query, *more, **named)
        death.comes("before", path)
        answer = real(self, method, path, query, *more, **named)
        death.comes("after", path)
        return answer

    setattr(owner, name, send)


if __name__ == "__main__":
    chosen, place, which, *words = sys.argv[1:]
    # A shell's `&` leaves SIGINT ignored in all that comes from it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    coming = _Death(signal.Signals[chosen], place, which)
    _count(Connection, "send", coming)
    _count(PrefectRest, "_send", coming)
    sys.exit(main(words))
