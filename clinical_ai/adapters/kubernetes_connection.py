"""Requests to an API server: who we are, when to ask again, and what a broken connection means."""

import json
import logging
import ssl
from collections.abc import Callable, Mapping
from time import sleep
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from clinical_ai.adapters.kubernetes_access import Access
from clinical_ai.errors import NeedsOperator, Transient

if TYPE_CHECKING:
    import httpx

_JSON: Final = "application/json"
_MOST_TRIES: Final = 5  # of a request that a busy server asks to repeat
_MOST_WAIT: Final = 10.0  # seconds before one of them; all together less than a lease lasts
# Each request would be one line of the log otherwise.
logging.getLogger("httpx").setLevel(logging.WARNING)


class Connection:
    """The API server that `load` leads to; `load` is asked again when credentials have run out.

    `transport`: instead of the network. `pause`: what waits, in seconds.
    """

    def __init__(
        self,
        load: Callable[[], Access],
        *,
        timeout: float,
        transport: "httpx.BaseTransport | None",
        pause: Callable[[float], None] = sleep,
    ) -> None:
        self._load = load
        self._timeout = timeout
        self._transport = transport
        self._pause = pause
        self._opened: tuple[Access, httpx.Client] | None = None

    @property
    def access(self) -> Access:
        """Where the server is and who we are to it."""
        return self._open()[0]

    def send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        content_type: str = _JSON,
        *,
        accept: str = _JSON,
    ) -> "httpx.Response":
        """The answer, a refusal too. Waits and repeats what a busy server turned away unread."""
        renewed = False
        for left in reversed(range(_MOST_TRIES)):
            answer = self._once(method, path, query or {}, body, content_type, accept)
            if answer.status_code == 401 and not renewed:
                self.close()  # a token or certificate that ran out: nothing was done
                renewed = True
            elif answer.status_code == 429 and left:
                self._pause(max(0.0, min(_retry_after(answer), _MOST_WAIT)))
            else:
                break
        if answer.status_code == 401:
            raise NeedsOperator(
                f"the API server at {self.access.host} does not know {self.access.who}",
                "log in to the cluster again; see `kubectl auth whoami`",
            )
        if answer.status_code >= 500:
            self.close()  # it may close the connection, and the next request would fail on it
        return answer

    def close(self) -> None:
        """Connections are given back; the next request reads the credentials anew."""
        if self._opened is not None:
            self._opened[1].close()
            self._opened = None

    def _once(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        body: Mapping[str, Any] | None,
        content_type: str,
        accept: str,
    ) -> "httpx.Response":
        import httpx

        access, client = self._open()
        headers = {"Accept": accept}
        if authorization := access.authorization():
            headers["Authorization"] = authorization
        if body is not None:
            headers["Content-Type"] = content_type
        named = {"sni_hostname": access.server_name} if access.server_name else {}
        try:
            return client.request(
                method,
                f"{access.host.rstrip('/')}{path}" + (f"?{urlencode(query)}" if query else ""),
                content=None if body is None else json.dumps(body),
                headers=headers,
                extensions=named,
            )
        except httpx.TransportError as error:
            if _is_untrusted(error):
                raise NeedsOperator(
                    f"the certificate of {access.host} is not of the authority that {access.who} "
                    "trusts, or has expired",
                    "see certificate-authority-data in the kubeconfig; a proxy may stand between",
                ) from None
            raise Transient(
                f"no answer from the API server at {access.host}: {_reason(error)};"
                f" see whether `kubectl version` gets one, as {access.who}"
            ) from None

    def _open(self) -> "tuple[Access, httpx.Client]":
        if self._opened is None:
            import httpx

            access = self._load()
            # trust_env off: `access` knows the proxy as kubectl would, and .netrc is not ours.
            client = httpx.Client(
                verify=access.trust,
                proxy=access.proxy,
                timeout=self._timeout,
                trust_env=False,
                transport=self._transport,
            )
            self._opened = access, client
        return self._opened


def _reason(error: Exception) -> str:
    """`Connection refused`, and not its class alone."""
    return str(error).partition("] ")[2] or str(error) or type(error).__name__


def _retry_after(answer: "httpx.Response") -> float:
    try:
        return float(answer.headers.get("Retry-After", "1"))
    except ValueError:
        return 1.0


def _is_untrusted(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return True
        error = error.__cause__ or error.__context__
    return False
