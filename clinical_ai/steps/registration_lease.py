"""One registration at a time on a server: a slot of a concurrency limit of that server.

Who has it, and whether the last one came to its end, stands in a variable beside it.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from pydantic import AwareDatetime, BaseModel, ValidationError

from clinical_ai import names
from clinical_ai.errors import Locked, NeedsOperator, PlatformError, TimedOut
from clinical_ai.ports import PrefectApi
from clinical_ai.waiting import Moment, Sighting, wait_until

_SECONDS: Final = 60  # the least that the server takes; a killed holder has it as long
_RENEW_AFTER: Final = 15.0
_LIMITS: Final = "/v2/concurrency_limits"


class Unfinished(NeedsOperator):
    """A registration ended in the middle: what it wrote stands, and could not be put back."""


class Begun(BaseModel):
    """A registration: whose it is, since when, and of which owners' deployments."""

    who: str
    since: AwareDatetime
    owners: frozenset[str]
    ended: bool


@dataclass
class Lease:
    """The right to register. `unfinished`: one that was killed before it came to an end."""

    api: PrefectApi
    key: str
    unfinished: Begun | None
    renewed: Moment = field(default_factory=Moment)

    def renew(self) -> None:
        """To be called before each write.

        A lease that ran out meanwhile, as after a long pause of this process, or of its machine,
        ends the work here.
        """
        at = Moment()
        if at.after(self.renewed) > _RENEW_AFTER:
            self.api.post(f"{_LIMITS}/leases/{self.key}/renew", {"lease_duration": _SECONDS})
            self.renewed = at


@contextmanager
def registration_lease(
    api: PrefectApi, who: str, owners: frozenset[str], *, seconds: float
) -> Iterator[Lease]:
    """Hold the lease while the block runs and writes deployments of these owners.

    Waits `seconds` for whoever has it; NeedsOperator then names them. When the block is killed, or
    raises Unfinished, the next holder learns that it came to no end.
    """
    _ensure_limit(api)
    key = _take(api, seconds)
    with _freed(api, key):
        lease = Lease(api, key, find_unfinished(api))
        begun = Begun(who=who, since=datetime.now(UTC), owners=owners, ended=False)
        if last := lease.unfinished:
            taken_over = {"since": last.since, "owners": owners | last.owners}
            begun = begun.model_copy(update=taken_over)
        over = begun.model_copy(update={"ended": True})
        _tell(api, begun)
        try:
            yield lease
        except Unfinished:
            raise
        except PlatformError:
            _tell(api, over)
            raise
        _tell(api, over)


def _ensure_limit(api: PrefectApi) -> None:
    """One slot, whatever somebody made of it in the UI: more would let two register at once."""
    path = f"{_LIMITS}/{names.REGISTRATION}"
    found = api.get(path)
    if found is None:
        api.post(f"{_LIMITS}/", {"name": names.REGISTRATION, "limit": 1, "active": True})
    elif (found["limit"], found["active"]) != (1, True):
        api.patch(path, {"limit": 1, "active": True})


@contextmanager
def _freed(api: PrefectApi, key: str) -> Iterator[None]:
    """The lease is given back; when that fails after a failure, the first one is told."""
    failing: AbstractContextManager[None] = nullcontext()
    try:
        yield
    except PlatformError:
        failing = suppress(PlatformError)  # it runs out by itself
        raise
    finally:
        with failing:
            api.post(f"{_LIMITS}/decrement-with-lease", {"lease_id": key})


def find_unfinished(api: PrefectApi) -> Begun | None:
    """The registration that is under way, or was when it was killed; None when there is none."""
    told = (api.get(f"/variables/name/{names.REGISTERING}") or {}).get("value")
    try:
        found = Begun.model_validate(told)
    except ValidationError:
        return None  # nothing, or what somebody else wrote there
    return None if found.ended else found


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


def _tell(api: PrefectApi, begun: Begun) -> None:
    """For the second, and for the next. A variable, since a lease names only runs."""
    since = begun.since.isoformat(timespec="seconds")
    value = {**begun.model_dump(), "since": since, "owners": sorted(begun.owners)}
    path = f"/variables/name/{names.REGISTERING}"
    if api.get(path) is None:
        api.post("/variables/", {"name": names.REGISTERING, "value": value})
    else:
        api.patch(path, {"name": names.REGISTERING, "value": value})


def _holder(api: PrefectApi) -> str:
    found = find_unfinished(api)
    if found is None:
        return "its holder is just starting"
    return f"{found.who}, since {found.since:%Y-%m-%d %H:%M:%S} UTC"
