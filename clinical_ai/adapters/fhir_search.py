"""A FHIR R4 server over HTTP, searched page by page."""

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from time import monotonic, sleep, time
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urljoin

from pydantic import SecretStr

from clinical_ai.adapters.silence import silenced
from clinical_ai.addresses import bypasses_proxy, origin, within
from clinical_ai.errors import NeedsOperator, PlatformError, Transient

if TYPE_CHECKING:
    import httpx

log = logging.getLogger(__name__)

_TRY_AGAIN: Final = {408, 425, 429, 500, 502, 503, 504}
_LONGEST_PAUSE: Final = 60.0
_REMEDIES: Final = {
    401: "correct the credentials behind the connection",
    403: "let these credentials read the resource types of the source",
    404: "check the location and the resource types of the source",
    400: "check query and resource types in the source's options",
}


@dataclass(frozen=True)
class Access:
    """Where a FHIR server is and how it is reached.

    `allowed`: URL prefixes that may be asked, of which `base` is one or below one. `credentials`:
    `user:password`, a bearer token, or the whole value of the header Authorization.
    """

    base: str
    allowed: tuple[str, ...]
    credentials: SecretStr | None = None
    ca_bundle: str | None = None
    http_proxy: str | None = None
    https_proxy: str | None = None
    no_proxy: str | None = None


@dataclass(frozen=True)
class Patience:
    """How long an outage is borne: tries for each page, seconds for all of them, pause between."""

    tries: int = 6
    seconds: float = 300
    request_seconds: float = 60
    pause: Callable[[float], None] = field(default=sleep)


_PATIENCE: Final = Patience()


class HttpFhirServer:
    """A FhirServer; every address asked is checked against those allowed, next links too."""

    def __init__(self, access: Access, patience: Patience | None = None) -> None:
        self._access = access
        self._patience = patience or _PATIENCE
        self._place = origin(access.base)

    def search(self, resource_type: str, query: Mapping[str, str]) -> Iterator[str]:
        """The bundles of one search, as JSON texts."""
        with silenced("httpx", "httpcore"), closing(self._client()) as client:
            base = self._access.base.rstrip("/")
            request = client.build_request("GET", f"{base}/{resource_type}", params=dict(query))
            asked: set[str] = set()
            address: str | None = str(request.url)
            while address is not None:
                self._check(address, asked)
                text = self._page(client, address)
                yield text
                address = self._next(text, address)

    def _check(self, address: str, asked: set[str]) -> None:
        if not within(address, self._access.allowed):
            raise NeedsOperator(
                f"the FHIR server at {self._place} links to another address, {origin(address)}",
                "add it to the connection's addresses if it is trusted with the credentials",
            )
        if address in asked:
            raise Transient(f"the FHIR server at {self._place} sends the same page again and again")
        asked.add(address)

    def _page(self, client: "httpx.Client", address: str) -> str:
        """One page; outages are borne for a while. Raises Transient or NeedsOperator."""
        deadline = monotonic() + self._patience.seconds
        for attempt in range(1, self._patience.tries + 1):
            answer, met = self._ask(client, address)
            if answer is not None and answer.status_code == HTTPStatus.OK:
                return self._text(answer)
            if answer is not None and answer.status_code not in _TRY_AGAIN:
                raise self._refused(answer.status_code)
            told = met or f"HTTP {answer.status_code if answer else ''}"
            pause = _pause(answer, attempt)
            if attempt == self._patience.tries or monotonic() + pause > deadline:
                break
            log.info("FHIR server %s: %s, asking again in %.0f s", self._place, told, pause)
            self._patience.pause(pause)
        raise Transient(f"the FHIR server at {self._place} does not answer: {told}")

    def _ask(
        self, client: "httpx.Client", address: str
    ) -> "tuple[httpx.Response | None, str | None]":
        import httpx

        try:
            return client.get(address), None
        except httpx.TransportError as met:
            if "certificate verify failed" in str(met).lower():
                raise NeedsOperator(
                    f"the certificate of {self._place} is not trusted",
                    "name the authority that signed it in ca-bundle",
                ) from None
            return None, type(met).__name__
        except httpx.HTTPError as met:
            raise NeedsOperator(
                f"the FHIR server at {self._place} answers no HTTP ({type(met).__name__})",
                "check the location of the source",
            ) from None

    def _text(self, answer: "httpx.Response") -> str:
        try:
            return answer.content.decode()
        except UnicodeDecodeError:
            raise Transient(f"the FHIR server at {self._place} answered no UTF-8") from None

    def _refused(self, status: int) -> PlatformError:
        if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
            return NeedsOperator(
                f"the FHIR server at {self._place} sends on to another address (HTTP {status})",
                "write the address it really has as the location of the source",
            )
        remedy = _REMEDIES.get(status, "ask the operator of the FHIR server")
        return NeedsOperator(f"the FHIR server at {self._place} refuses: HTTP {status}", remedy)

    def _next(self, text: str, address: str) -> str | None:
        try:
            links: list[dict[str, Any]] = json.loads(text).get("link") or []
            found = [str(link["url"]) for link in links if link.get("relation") == "next"]
        except (ValueError, AttributeError, TypeError, KeyError, RecursionError):
            raise Transient(
                f"the FHIR server at {self._place} answered something that is not a bundle"
            ) from None
        return urljoin(address, found[0]) if found else None

    def _client(self) -> "httpx.Client":
        import httpx

        access = self._access
        return httpx.Client(
            headers={"Accept": "application/fhir+json", **_authorization(access.credentials)},
            timeout=self._patience.request_seconds,
            follow_redirects=False,
            trust_env=False,
            mounts={"http://": self._transport("http"), "https://": self._transport("https")},
        )

    def _transport(self, scheme: str) -> "httpx.BaseTransport":
        import ssl

        import httpx

        access = self._access
        host = httpx.URL(access.base).host
        proxy = access.https_proxy if scheme == "https" else access.http_proxy
        if bypasses_proxy(host, access.no_proxy):
            proxy = None
        with _bundle(access.ca_bundle):
            trust = ssl.create_default_context(cafile=access.ca_bundle)
        return httpx.HTTPTransport(verify=trust, proxy=proxy, trust_env=False)


@contextmanager
def _bundle(path: str | None) -> Iterator[None]:
    try:
        yield
    except OSError:  # ssl.SSLError is one
        raise NeedsOperator(
            f"the CA bundle {path} cannot be read", "give a readable file of PEM certificates"
        ) from None


def _authorization(credentials: SecretStr | None) -> dict[str, str]:
    """The header for `user:password`, a token, or a whole value such as `Bearer ...`."""
    import httpx

    if credentials is None:
        return {}
    text = credentials.get_secret_value().strip()
    if text.partition(" ")[0].lower() in {"bearer", "basic"}:
        return {"Authorization": text}
    if ":" in text:
        user, _, password = text.partition(":")
        request = httpx.Request("GET", "http://unused")
        next(httpx.BasicAuth(user, password).auth_flow(request))
        return {"Authorization": request.headers["Authorization"]}
    return {"Authorization": f"Bearer {text}"}


def _pause(answer: "httpx.Response | None", attempt: int) -> float:
    """Seconds until the next try: what Retry-After asks, else longer each time; never for ever."""
    asked = answer.headers.get("Retry-After") if answer is not None else None
    wanted = 2.0 ** (attempt - 1)
    if asked is not None:
        try:
            wanted = float(asked)
        except ValueError:
            with suppress(ValueError):
                wanted = parsedate_to_datetime(asked).timestamp() - time()
    return min(max(wanted, 0.0), _LONGEST_PAUSE)
