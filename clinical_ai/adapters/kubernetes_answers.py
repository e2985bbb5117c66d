"""What an API server answered: objects, pages of them, or a refusal."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from clinical_ai.adapters.kubernetes_errors import Asked, refusal
from clinical_ai.errors import NeedsOperator, PlatformError, Transient
from clinical_ai.ports_cluster import Object

if TYPE_CHECKING:
    import httpx

Answer = dict[str, Any]

_NO_SUCH_PATH: Final = "404 page not found"  # of a kind that is not served


def decoded(answer: "httpx.Response", asked: Asked) -> Answer:
    """The object; Transient or NeedsOperator for a refusal."""
    if answer.is_error:
        raise refused(answer, asked)
    try:
        found: Answer = answer.json()
    except ValueError:
        raise NeedsOperator(
            f"what answers at {answer.request.url.host} is not Kubernetes", "see KUBECONFIG"
        ) from None
    return found


def refused(answer: "httpx.Response", asked: Asked) -> PlatformError:
    """The error for a refusal, which may be that of a proxy: Transient when it finds no way on."""
    code = answer.status_code
    if code == 429 or code >= 500 or _is_of_kubernetes(answer):
        return refusal(code, status_of(answer), asked)
    problem = f"what answered {code} to {asked.verb} {asked.what} is not Kubernetes, but before it"
    if code == 404:
        return Transient(problem)
    return NeedsOperator(
        problem,
        "have the proxy let it through, or go past it: see HTTPS_PROXY, NO_PROXY, and proxy-url in "
        "the kubeconfig",
    )


def is_absence(answer: "httpx.Response", asked: Asked) -> bool:
    """Whether Kubernetes says that it is not there.

    Transient when a proxy says so, which has lost the API server: for want of an object one would
    be made, or a switch be taken for off.
    """
    if answer.status_code != 404:
        return False
    if not _is_of_kubernetes(answer):
        raise refused(answer, asked)
    return True


def _is_of_kubernetes(answer: "httpx.Response") -> bool:
    return status_of(answer).get("kind") == "Status" or answer.text.strip() == _NO_SUCH_PATH


def status_of(answer: "httpx.Response") -> Answer:
    """The `Status` of a refusal; empty when something else than the API server answered."""
    try:
        told = answer.json()
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}


def read_pages(
    send: Callable[[dict[str, str]], "httpx.Response"], asked: Asked
) -> list[Object] | None:
    """All rows; None when the server has forgotten where the next page starts.

    `send` asks for the page that a query names.
    """
    rows: list[Object] = []
    more = ""
    while True:
        answer = send({"continue": more} if more else {})
        if answer.status_code == 410:
            return None
        listed = decoded(answer, asked)
        rows += listed.get("items") or []
        more = listed["metadata"].get("continue", "")
        if not more:
            return rows


def last_seen(event: Object) -> str:
    """When an event was last seen; RFC 3339 in UTC sorts as text, but for fractions of a second."""
    series = event.get("series") or {}
    moments = (series.get("lastObservedTime"), event.get("lastTimestamp"), event.get("eventTime"))
    return next((str(moment) for moment in moments if moment), "")
