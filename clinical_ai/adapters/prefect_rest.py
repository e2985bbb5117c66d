"""Prefect's REST API over httpx: a tenth of the client's import time, and no profile is read."""

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from pydantic import SecretStr

from clinical_ai import names
from clinical_ai.errors import Locked, NeedsOperator, Transient
from clinical_ai.ports_cluster import in_namespace

if TYPE_CHECKING:
    import ssl

    import httpx

_PAGE: Final = 200  # the server refuses more
# Each request would be one line of the log otherwise.
logging.getLogger("httpx").setLevel(logging.WARNING)


class PrefectRest:
    """A server at `api_url` (which ends in /api); `auth` is `user:password` or None.

    `serves` tells whether the server behind this address is the one that is meant; the password
    goes to no other. `namespace`: where it runs, for remedies, when that is a cluster's.
    """

    def __init__(
        self,
        api_url: str,
        auth: SecretStr | None,
        *,
        timeout: float = 30,
        serves: Callable[[], bool] = lambda: True,
        namespace: str = "",
    ) -> None:
        self._api_url = api_url.rstrip("/")
        self._auth = auth
        self._timeout = timeout
        self._serves = serves
        self._namespace = namespace
        self._known = False
        self._of_thread = threading.local()

    @property
    def _client(self) -> "httpx.Client":
        """One a thread: a connection that the server closes is dropped under nobody else."""
        if (client := getattr(self._of_thread, "client", None)) is None:
            client = self._of_thread.client = self._connect()
        return client

    @cached_property
    def _trust(self) -> "ssl.SSLContext":
        """Made once for all threads: it reads every authority, which takes 16 ms."""
        import httpx

        return httpx.create_ssl_context(trust_env=False)

    def _connect(self) -> "httpx.Client":
        import httpx

        auth = None
        if self._auth is not None:
            user, _, password = self._auth.get_secret_value().partition(":")
            auth = httpx.BasicAuth(user, password)
        # trust_env off: a proxy or .netrc of the user's must not see the password.
        return httpx.Client(
            base_url=self._api_url,
            auth=auth,
            timeout=self._timeout,
            trust_env=False,
            verify=self._trust,
        )

    def get(self, path: str) -> Any:
        """The answer, or None for 404."""
        answer = self._send("GET", path)
        return None if answer is None else self._decoded(answer)

    def post(
        self, path: str, body: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None
    ) -> Any:
        """The decoded answer; None when it has no content."""
        answer = self._send("POST", path, {} if body is None else body)
        if answer is None:
            raise NeedsOperator(
                f"Prefect knows nothing at {path}",
                "compare the server's version with the release's",
            )
        return self._decoded(answer) if answer.content else None

    def patch(self, path: str, body: Mapping[str, Any]) -> None:
        """Change what the body names."""
        self._change("PATCH", path, body)

    def put(self, path: str, body: Mapping[str, Any]) -> None:
        """Replace what is there."""
        self._change("PUT", path, body)

    def delete(self, path: str) -> bool:
        """Whether there was something to delete."""
        return self._send("DELETE", path) is not None

    def pages(self, path: str, body: Mapping[str, Any] | None = None) -> Iterator[dict[str, Any]]:
        """All rows of a `/filter` path."""
        offset = 0
        while True:
            rows = self.post(path, {**(body or {}), "limit": _PAGE, "offset": offset})
            yield from rows
            if len(rows) < _PAGE:
                return
            offset += _PAGE

    def _decoded(self, answer: "httpx.Response") -> Any:
        try:
            return answer.json()
        except ValueError:
            raise NeedsOperator(
                f"what answers at {self._api_url} is not Prefect",
                "another server may own this port; see `clinical-ai status`",
            ) from None

    def _change(self, method: str, path: str, body: object) -> None:
        if self._send(method, path, body) is None:
            raise NeedsOperator(f"{path} does not exist any more", "run it again")

    def _send(self, method: str, path: str, body: object = None) -> "httpx.Response | None":
        import httpx

        self._known = self._known or self._serves()
        if not self._known:
            raise Transient(f"no process of this platform listens at {self._api_url}")
        try:
            answer = self._client.request(method, path, json=body)
        except httpx.TransportError as error:
            self._known = False
            raise Transient(
                f"no answer from Prefect at {self._api_url}: {type(error).__name__}"
            ) from None
        if answer.status_code >= 500:
            # It closes the connection after that: the next request would fail on it.
            self._client.close()
            del self._of_thread.client
        if answer.status_code == 404:
            return None
        if answer.status_code == 423:
            raise Locked(f"Prefect at {self._api_url}: somebody else holds it")
        if answer.status_code >= 500 or answer.status_code == 429:
            raise Transient(f"Prefect answered {answer.status_code} to {method} {path}")
        if answer.status_code == 401:
            remedy = (
                "on one machine another server may own this port; see `clinical-ai status`. In a "
                "cluster the server knows the password that the Secret had when it started: while "
                f"nothing runs, `kubectl rollout restart deployment/{names.SERVER}`, "
                "the same for both workers; run it again when they are up"
            )
            raise NeedsOperator(
                f"Prefect at {self._api_url} refused the password",
                in_namespace(remedy, self._namespace),
            )
        if answer.is_error:
            raise NeedsOperator(
                f"Prefect refused {method} {path} ({answer.status_code}): {_reason(answer)}",
                "correct the field it names",
            )
        return answer


def _reason(answer: "httpx.Response") -> str:
    """The fields and rules a refusal names, without the input it repeats."""
    try:
        told = answer.json()
    except ValueError:
        return "no reason given"
    faults = told.get("exception_detail") if isinstance(told, dict) else None
    if isinstance(faults, list):
        return "; ".join(
            f"{'.'.join(map(str, fault.get('loc', [])))}: {fault.get('msg', '')}"
            for fault in faults
            if isinstance(fault, dict)
        )
    if not isinstance(told, dict):
        return "; ".join(map(str, told if isinstance(told, list) else [told]))[:200]
    # "... field 'n'. Failure reason: 'the value' is not ...": what comes after repeats the value.
    return str(told.get("detail", "no reason given")).partition(" Failure reason")[0]
