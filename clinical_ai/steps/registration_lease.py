"""One registration at a time on a server: a slot of a concurrency limit of that server."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from time import monotonic
from typing import Any, Final

from clinical_ai import names
from clinical_ai.errors import Locked, NeedsOperator, TimedOut
from clinical_ai.ports import PrefectApi
from clinical_ai.waiting import Sighting, wait_until

_SECONDS: Final = 60  # the least that the server takes; a killed holder has it as long
_RENEW_AFTER: Final = 15.0
_LIMITS: Final = "/v2/concurrency_limits"


@contextmanager
def registration_lease(
    api: PrefectApi, who: str, *, seconds: float
) -> Iterator[Callable[[], None]]:
    """Hold the lease while the block runs; gives a function to call before each write.

    Waits `seconds` for whoever has it; NeedsOperator then names them. A lease that ran out
    meanwhile, as after a long pause of this process, ends the work at the next write.
    """
    if api.get(f"{_LIMITS}/{names.REGISTRATION}") is None:
        api.post(f"{_LIMITS}/", {"name": names.REGISTRATION, "limit": 1, "active": True})
    lease = _take(api, seconds)
    _tell(api, who)
    renewed = monotonic()

    def renew() -> None:
        nonlocal renewed
        if monotonic() - renewed > _RENEW_AFTER:
            api.post(f"{_LIMITS}/leases/{lease}/renew", {"lease_duration": _SECONDS})
            renewed = monotonic()

    try:
        yield renew
    finally:
        api.post(f"{_LIMITS}/decrement-with-lease", {"lease_id": lease})


def _take(api: PrefectApi, seconds: float) -> str:
    body = {"slots": 1, "names": [names.REGISTRATION], "lease_duration": _SECONDS}
    taken: list[str] = []

    def look() -> Sighting:
        try:
            taken.append(str(api.post(f"{_LIMITS}/increment-with-lease", body)["lease_id"]))
        except Locked:
            return Sighting(done=False, summary=_holder(api))
        return Sighting(done=True, summary="taken")

    try:
        wait_until("the lease of registration", look, seconds=seconds, every=1)
    except TimedOut:
        raise NeedsOperator(
            f"another registration is under way: {_holder(api)}",
            f"wait until it has ended; that of a killed one ends after {_SECONDS} s",
        ) from None
    return taken[0]


def _tell(api: PrefectApi, who: str) -> None:
    """For the second: who has it. A variable, since a lease names only runs."""
    since = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    value = {"who": who, "since": since}
    path = f"/variables/name/{names.REGISTERING}"
    if api.get(path) is None:
        api.post("/variables/", {"name": names.REGISTERING, "value": value})
    else:
        api.patch(path, {"name": names.REGISTERING, "value": value})


def _holder(api: PrefectApi) -> str:
    found: Any = (api.get(f"/variables/name/{names.REGISTERING}") or {}).get("value")
    if not isinstance(found, dict):
        return "its holder is just starting"
    return f"{found.get('who')}, since {found.get('since')}"
