"""Secrets that External Secrets Operator keeps: in step with Vault, or it is told why not."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from time import monotonic
from typing import Any, Final

from clinical_ai.conditions import conditions_of, shortened
from clinical_ai.errors import NeedsOperator, PlatformError
from clinical_ai.ports_cluster import Cluster, Forbidden, Object, Ref
from clinical_ai.steps.cluster.rollout import RolloutFailed, get_awaited
from clinical_ai.waiting import Sighting, outlasting, wait_until

OPERATOR: Final = "external-secrets.io/v1"
KIND: Final = "ExternalSecret"
STORE: Final = "SecretStore"
_PATIENCE: Final = 60.0  # for a Vault or an operator that is just starting
_NUDGED: Final = 15.0  # seconds between two
# Any change of an annotation makes the operator look at once; this one is its documentation's.
_NUDGE: Final = "force-sync"
_SYNCED: Final = "SecretSynced"
# Of the Secret: what the operator wrote into it, as a hash.
_HASH: Final = "reconcile.external-secrets.io/data-hash"
_LEFT: Final = "its change is not synced yet"  # the operator does so by itself
_MISSED: Final = 3  # refreshes in a row: then nobody keeps the Secret any more
_SLACK: Final = 60.0
_UNITS: Final = {"h": 3600, "m": 60, "s": 1}


def await_synced(
    cluster: Cluster,
    ref: Ref,
    *,
    seconds: float,
    every: float = 0.5,
    beat: Callable[[], None] = lambda: None,
) -> Sighting:
    """The ExternalSecret has made its Secret as it is wanted now.

    What was not so at first is proved by a sync since: the operator's reason, a later
    `refreshTime`, and the hash of what it wrote, which changes only where the values do.
    RolloutFailed, with what the operator or Vault says, when it has been wrong for a minute. The
    operator waits longer after each failure, so it is asked to look again: Vault may be mended.
    """
    watch = _Watch(cluster, ref, beat, since=monotonic())
    look = outlasting(watch.look, beat)
    return wait_until(f"the sync of {ref}", look, seconds=seconds, every=every)


def look_at_sync(cluster: Cluster, found: Object) -> Sighting:
    """Whether the newest generation is in its Secret, which the operator has written.

    The Secret's values are not read. Who may not read what stands about it, as before bootstrap has
    given the right, believes what the operator says of itself.
    """
    state = synced_state(found)
    if state.done and not _is_written(cluster, found):
        told = f"Secret {secret_of(found)} is not there, or not written by the operator"
        return Sighting(done=False, summary=told)
    return state


def synced_state(found: Object) -> Sighting:
    """Whether the newest generation is synced, in the operator's words."""
    ready = _ready(found)
    if ready is None:
        return Sighting(done=False, summary="External Secrets Operator has not looked at it")
    if (ready["status"], ready.get("reason")) != ("True", _SYNCED):
        return Sighting(done=False, summary=_words(ready))
    # The generation that was synced, and a hash of labels and annotations.
    seen = str(found["status"].get("syncedResourceVersion", "")).partition("-")[0]
    if seen != str(found["metadata"]["generation"]) or not _refreshed(found):
        return Sighting(done=False, summary=_LEFT)
    return Sighting(done=True, summary=f"synced at {_refreshed(found)}")


def check_synced(cluster: Cluster, ref: Ref, now: datetime) -> str:
    """When it was last compared with Vault; NeedsOperator when it is not kept any more."""
    found = cluster.get(ref)
    state = synced_state(found)
    if not state.done:
        raise _fault(cluster, found, state)
    age = (now - _moment(found["status"]["refreshTime"])).total_seconds()
    interval = _seconds(found["spec"].get("refreshInterval", "1h"))
    if interval and age > _MISSED * interval + _SLACK:
        raise NeedsOperator(
            f"{ref.short} was last compared with Vault {age / 60:.0f} minutes ago,"
            f" and should be every {found['spec']['refreshInterval']}",
            "see whether External Secrets Operator runs",
        )
    name = secret_of(found)
    secret = cluster.find_metadata(_secret(found))
    if secret is None:
        raise NeedsOperator(f"Secret {name} is not there", "see whether the operator runs")
    owners = [it.get("uid") for it in secret["metadata"].get("ownerReferences", [])]
    if found["metadata"]["uid"] not in owners or _HASH not in _annotations(secret):
        raise NeedsOperator(
            f"Secret {name} is not kept by {ref.short}: somebody else made it",
            f"delete that Secret; {ref.short} makes it anew",
        )
    return f"Secret {name} {state.summary}"


def against_store(cluster: Cluster, ref: Ref) -> str:
    """Why a store is not ready; empty when it is, is not there, or nobody has looked at it yet."""
    found = cluster.find(ref)
    ready = _ready(found) if found else None
    if found is None or ready is None or ready["status"] == "True":
        return ""
    return "; ".join(filter(None, [_words(ready), _warning(cluster, found)]))


def secret_of(external: Object) -> str:
    """The name of the Secret that an ExternalSecret keeps."""
    return str(external["spec"].get("target", {}).get("name") or external["metadata"]["name"])


@dataclass
class _Watch:
    """What was found wrong, and since when. `before`: when it was synced last, as first seen."""

    cluster: Cluster
    ref: Ref
    guard: Callable[[], None]
    since: float
    nudged: float = float("-inf")
    before: str | None = None

    def look(self) -> Sighting:
        found = get_awaited(self.cluster, self.ref)
        state = look_at_sync(self.cluster, found)
        if state.done and self.before != _refreshed(found):
            return state
        if state.done:
            state = Sighting(done=False, summary=f"not synced again since {self.before}")
        if self.before is None:
            self.before = _refreshed(found)
        now = monotonic()
        if now - self.since >= _PATIENCE:
            raise _fault(self.cluster, found, state)
        left = _ready(found) is None or state.summary == _LEFT
        if not left and now - self.nudged >= _NUDGED:
            self.nudged = now
            self._nudge(found)
        return state

    def _nudge(self, found: Object) -> None:
        stamp = datetime.now(UTC).isoformat(timespec="seconds")
        for ref in (_store_of(found), self.ref):
            if self.cluster.find(ref) is not None:
                self.guard()
                self.cluster.patch(ref, {"metadata": {"annotations": {_NUDGE: stamp}}})


def _fault(cluster: Cluster, found: Object, state: Sighting) -> RolloutFailed:
    """With the store's own state, and the last warning: the conditions hide what Vault said."""
    ref, store = Ref.of(found), _store_of(found)
    looked_at = [found, *filter(None, [cluster.find(store)])]
    told = [state.summary]
    for each in looked_at[1:]:
        ready = _ready(each)
        if ready is None or ready["status"] != "True":
            why = ready.get("message", "") if ready else "not looked at"
            told.append(f"{store.short}: {shortened(why)}")
    told += filter(None, [_warning(cluster, each) for each in looked_at])
    seen = _ready(found)
    if seen is None or seen["status"] == "True":
        remedy = "see whether External Secrets Operator runs and watches this namespace"
    else:
        remedy = "check that Vault is up, and its address, role, audience, path and fields"
    space = f" -n {ref.namespace}" if ref.namespace else ""
    remedy += f"; `kubectl describe secretstore,externalsecret{space}`"
    text = "; ".join(dict.fromkeys(told))
    return RolloutFailed(f"{ref.short} is not in step with Vault: {text}", remedy)


def _is_written(cluster: Cluster, found: Object) -> bool:
    try:
        secret = cluster.find_metadata(_secret(found))
    except Forbidden:
        return True
    return secret is not None and _HASH in _annotations(secret)


def _secret(found: Object) -> Ref:
    return Ref("v1", "Secret", secret_of(found), Ref.of(found).namespace)


def _annotations(found: Object) -> Mapping[str, str]:
    return found["metadata"].get("annotations") or {}


def _refreshed(found: Object) -> str:
    """When it was synced last; empty when it never was."""
    return str(found.get("status", {}).get("refreshTime") or "")


def _store_of(found: Object) -> Ref:
    ref, reference = Ref.of(found), found["spec"].get("secretStoreRef", {})
    return Ref(ref.api_version, STORE, reference.get("name", ""), ref.namespace)


def _warning(cluster: Cluster, found: Object) -> str:
    try:
        events = [it for it in cluster.events(found) if it.get("type") == "Warning"]
    except PlatformError:
        return ""
    return shortened(str(events[-1].get("message", ""))) if events else ""


def _words(ready: Mapping[str, Any]) -> str:
    """Why a condition is not true, as the operator says it."""
    return shortened(f"{ready.get('reason', '')}: {ready.get('message', '')}")


def _ready(found: Object) -> dict[str, Any] | None:
    return next((dict(it) for it in conditions_of(found) if it.get("type") == "Ready"), None)


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def _seconds(duration: str) -> float:
    """Of a duration as Go writes it; 0 means: never again."""
    return sum(
        float(number) * _UNITS[unit] for number, unit in re.findall(r"([0-9.]+)([hms])", duration)
    )
