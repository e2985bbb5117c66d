"""One change at a time in a cluster: a Lease that says who holds it.

Ours rather than a client's: those never count a change of holders, and one writes local time.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Any, Final

from clinical_ai import names
from clinical_ai.errors import Locked, PlatformError, TimedOut
from clinical_ai.ports_cluster import Changed, Cluster, Object, Ref
from clinical_ai.steps.cluster.break_glass import refuse_when_stopped
from clinical_ai.waiting import Moment, Sighting, wait_until

log = logging.getLogger(__name__)

LEASE: Final = Ref("coordination.k8s.io/v1", "Lease", names.CLUSTER_LEASE)
_MICRO_TIME: Final = "%Y-%m-%dT%H:%M:%S.%fZ"  # the API server takes exactly six digits
_SECONDS: Final = 60
_SILENT: Final = timedelta(seconds=2 * _SECONDS)
_RENEW_AFTER: Final = 15.0
_PATIENCE: Final = 90  # longer than the lease of a killed holder


@dataclass(frozen=True)
class Holder:
    """Who holds a lease, since when, and their last sign of life, by the clock that wrote it."""

    who: str
    since: str
    renewed: str

    def __str__(self) -> str:
        return f"{self.who}, since {self.since}"

    @property
    def silent(self) -> bool:
        """Whether they were killed, as far as two clocks tell. To be told; it takes no lease."""
        try:
            renewed = datetime.fromisoformat(self.renewed)
        except ValueError:
            return False
        return datetime.now(UTC) - renewed > _SILENT


@dataclass
class ClusterLease:
    """The right to change the platform, while it is renewed."""

    cluster: Cluster
    ref: Ref
    who: str
    held: Object
    renewed: Moment

    def renew(self) -> None:
        """To be called before each write, and while waiting.

        Locked when somebody else has taken it meanwhile, as after a long pause of this process, or
        of its machine: then nothing may be written any more.
        """
        at = Moment()
        if at.after(self.renewed) <= _RENEW_AFTER:
            return
        try:
            self.held = _write(self.cluster, self.held, {"renewTime": _now()})
        except Changed:
            found = self.cluster.find(self.ref)
            if found is None or found["spec"].get("holderIdentity") != self.who:
                raise Locked(f"{self.ref.short} was lost to {_told(found)}") from None
            self.held = found  # somebody put a label on it; the next call renews
            return
        self.renewed = at


def find_holder(cluster: Cluster, *, name: str = names.CLUSTER_LEASE) -> Holder | None:
    """Who holds it, or held it when they were killed; None when it is free."""
    found = cluster.find(_ref(name))
    return None if found is None else _holder(found)


@contextmanager
def cluster_lease(
    cluster: Cluster, who: str, *, seconds: float = _PATIENCE, name: str = names.CLUSTER_LEASE
) -> Iterator[ClusterLease]:
    """Hold the lease while the block runs. `who` must be nobody else's: a host, and a process.

    Waits `seconds` for whoever has it, then raises Locked with their name. That of a killed holder
    is free after a minute without a sign of life, as this process has seen it: clocks of others
    are not trusted. None is taken while self-management is stopped; one that is held is given back
    even so.
    """
    lease = _take(cluster, _ref(name), who, seconds)
    try:
        yield lease
    finally:
        _free(lease)


def remove_lease(cluster: Cluster, *, name: str = names.CLUSTER_LEASE) -> None:
    """It is gone. Locked when somebody has taken it: then it stays, and so must all else."""
    ref = _ref(name)
    found = cluster.find(ref)
    if found is None:
        return
    about = found["metadata"]
    try:
        if _holder(found) is None:
            version = about["resourceVersion"]
            cluster.delete(ref, uid=about["uid"], resource_version=version)
            return
    except Changed:
        found = cluster.find(ref)
    raise Locked(f"another change has begun: {_told(found)} holds {ref.short}")


def _take(cluster: Cluster, ref: Ref, who: str, seconds: float) -> ClusterLease:
    seen = _Seen()
    taken: list[ClusterLease] = []

    def look() -> Sighting:
        found, at = cluster.find(ref), Moment()
        if found is not None and not seen.is_over(found, monotonic()):
            return Sighting(done=False, summary=f"held by {_told(found)}")
        refuse_when_stopped(cluster)
        held = _make(cluster, ref, who) if found is None else _take_over(cluster, found, who)
        if held is None:
            return Sighting(done=False, summary="somebody else was faster")
        taken.append(ClusterLease(cluster, ref, who, held, at))
        return Sighting(done=True, summary="taken")

    try:
        wait_until(str(ref.short), look, seconds=seconds, every=1)
    except TimedOut:
        holder = _told(cluster.find(ref))
        raise Locked(
            f"another change is under way: {holder} holds {ref.short} after {seconds:g} s"
        ) from None
    return taken[0]


class _Seen:
    """When this process last saw a holder's record change."""

    def __init__(self) -> None:
        self._record: Any = None
        self._since = 0.0

    def is_over(self, found: Object, now: float) -> bool:
        """Whether nobody holds it, or the holder has given no sign of life for long enough."""
        spec = found["spec"]
        if not spec.get("holderIdentity"):
            return True
        record = [spec.get(name) for name in ("holderIdentity", "renewTime", "leaseTransitions")]
        if record != self._record:
            self._record, self._since = record, now
        return now - self._since >= int(spec.get("leaseDurationSeconds") or _SECONDS)


def _make(cluster: Cluster, ref: Ref, who: str) -> Object | None:
    about = {"name": ref.name, "labels": {"app.kubernetes.io/part-of": names.PRODUCT}}
    lease = {"apiVersion": ref.api_version, "kind": ref.kind, "metadata": about}
    return cluster.create({**lease, "spec": {**_fresh(who), "leaseTransitions": 0}})


def _take_over(cluster: Cluster, found: Object, who: str) -> Object | None:
    count = int(found["spec"].get("leaseTransitions") or 0) + 1
    try:
        return _write(cluster, found, {**_fresh(who), "leaseTransitions": count})
    except Changed:
        return None


def _fresh(who: str) -> dict[str, Any]:
    now = _now()
    return {
        "holderIdentity": who,
        "leaseDurationSeconds": _SECONDS,
        "acquireTime": now,
        "renewTime": now,
    }


def _free(lease: ClusterLease) -> None:
    """The next one need not wait. What goes wrong here heals by itself in a minute."""
    cluster, given = lease.cluster, {"holderIdentity": "", "renewTime": _now()}
    try:
        try:
            _write(cluster, lease.held, given)
        except Changed:  # by a renewal whose answer was lost, or by a label that somebody put on it
            found = cluster.find(lease.ref)
            if found is not None and found["spec"].get("holderIdentity") == lease.who:
                _write(cluster, found, given)
    except PlatformError as error:
        log.info("%s was not given back: %s", lease.ref.short, error)


def _write(cluster: Cluster, found: Object, spec: dict[str, Any]) -> Object:
    """Only if it is still as it was read."""
    version = {"resourceVersion": found["metadata"]["resourceVersion"]}
    return cluster.patch(Ref.of(found), {"metadata": version, "spec": spec})


def _holder(found: Object) -> Holder | None:
    spec = found["spec"]
    if not (who := spec.get("holderIdentity")):
        return None
    return Holder(str(who), str(spec.get("acquireTime", "?")), str(spec.get("renewTime", "?")))


def _told(found: Object | None) -> str:
    return str((found and _holder(found)) or "nobody")


def _ref(name: str) -> Ref:
    return Ref(LEASE.api_version, LEASE.kind, name)


def _now() -> str:
    return datetime.now(UTC).strftime(_MICRO_TIME)
