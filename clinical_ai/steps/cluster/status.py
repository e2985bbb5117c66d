"""What runs in the namespace, whether it drifted, who changes it, and what stops that."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Final, Self, TypeVar

from clinical_ai import names
from clinical_ai.errors import NeedsOperator, PlatformError
from clinical_ai.plans import Journal
from clinical_ai.ports import PrefectApi
from clinical_ai.ports_cluster import Cluster, Forbidden, Ref
from clinical_ai.settings import Settings
from clinical_ai.steps.cluster.break_glass import find_stop
from clinical_ai.steps.cluster.drift import in_detail, in_short, look_at_drift
from clinical_ai.steps.cluster.hold import find_open, is_held
from clinical_ai.steps.cluster.lease import Holder, find_holder
from clinical_ai.steps.cluster.needed_secrets import absent_secrets
from clinical_ai.steps.cluster.records import Records
from clinical_ai.steps.cluster.rollout import rollout_state
from clinical_ai.steps.settings_block import find_settings
from clinical_ai.steps.status import NO_BACKUP, last_runs, run_lines

_MOST_SHOWN: Final = 10
_SHOWN_OF_ENTRY: Final = ("at", "release", "run", "failed", "healing")
_ABANDONED: Final = (
    "; whoever began that is gone: run `clinical-ai deploy --runtime kubernetes`, which opens them"
)


Reach = Callable[[], AbstractContextManager[PrefectApi]]
_T = TypeVar("_T")


class _NotKnown(str):
    """Stands where something may not be read, and tells why."""

    __slots__ = ()

    @classmethod
    def since(cls, error: Forbidden) -> Self:
        """As a person reads it."""
        return cls(f"not known: {error}")


def see(cluster: Cluster, reach: Reach) -> dict[str, Any]:
    """Everything `status --json` prints; works with any part of the platform down.

    What this account may not read is told as such, and a platform that is partly seen is not
    healthy. `reach`: Prefect's API, for as long as it is asked; raises a PlatformError.
    """
    workloads = [_workload(cluster, name) for name in names.WORKLOADS]
    ledger = _ledger(cluster)
    holder, stop = _known(lambda: find_holder(cluster)), _known(lambda: find_stop(cluster))
    version = _known(lambda: ".".join(map(str, cluster.version())))
    journal, damaged = _journal(cluster)
    told = _ask(reach, journal)
    held = _held(journal) if journal and told.is_paused else damaged
    killed = isinstance(holder, Holder) and holder.silent
    abandoned = held is not None and not isinstance(held, _NotKnown) and (holder is None or killed)
    unseen = any(isinstance(each, _NotKnown) for each in (ledger, holder, stop, version, held))
    drift = look_at_drift(cluster, told.settings)
    secrets = _known(lambda: list(map(str, absent_secrets(cluster, told.settings))))
    ready = told.api == "ready" and all(each["ready"] for each in workloads)
    return {
        # Nobody but a person heals rights that differ, or brings back a Secret.
        "healthy": ready and not (abandoned or unseen or drift["rights"]["differing"] or secrets),
        "namespace": cluster.namespace,
        "kubernetes": version,
        **_release(ledger),
        "api": told.api,
        "workloads": workloads,
        "drift": drift,
        "secrets": secrets,
        "break_glass": stop,
        "lease": _lease(holder) if holder else None,
        "held": f"{held}{_ABANDONED if abandoned else ''}" if held else None,
        "runs": told.runs,
        "backup": NO_BACKUP,
    }


def _known(look: Callable[[], _T]) -> _T | _NotKnown:
    try:
        return look()
    except Forbidden as error:
        return _NotKnown.since(error)


def _workload(cluster: Cluster, name: str) -> dict[str, Any]:
    found = _known(lambda: cluster.find(Ref("apps/v1", "Deployment", name)))
    if found is None or isinstance(found, _NotKnown):
        why = found or "is not there"
        return {"name": name, "ready": False, "state": why, "image": None}
    state, wanted = rollout_state(found), found["spec"].get("replicas", 1)
    available = found.get("status", {}).get("availableReplicas", 0)
    return {
        "name": name,
        "ready": state.done and 0 < available == wanted,
        "replicas": wanted,
        "available": available,
        "state": state.summary,
        "image": found["spec"]["template"]["spec"]["containers"][0]["image"],
    }


def _release(ledger: list[dict[str, Any]] | _NotKnown) -> dict[str, Any]:
    """What runs by the ledger, and whether the last change failed."""
    if isinstance(ledger, _NotKnown):
        unseen = dict.fromkeys(("applied", "by", "failed", "healing"))
        return {"release": ledger, **unseen, "taken_back": False}
    # What came up and was proved is there, also when it was found to start no run.
    done = [entry for entry in ledger if "failed" not in entry or "verified" in entry]
    last = ledger[-1] if ledger else {}
    return {
        "release": done[-1]["release"] if done else None,
        "applied": done[-1]["at"] if done else None,
        "by": done[-1]["run"] if done else None,
        "failed": last.get("failed"),
        "healing": last.get("healing"),
        "taken_back": "failed" in last and "verified" not in last,
    }


def _ledger(cluster: Cluster) -> list[dict[str, Any]] | _NotKnown:
    """Its entries; that it is damaged is the last thing that failed."""
    records = Records(cluster)
    try:
        entries = records.read_ledger()
    except Forbidden as error:
        return _NotKnown.since(error)
    except NeedsOperator as error:
        return [{"failed": str(error)}]
    whole = [{"failed": "", "healing": ""} | entry for entry in entries]  # of what failed alone
    shown = [entry.get(field) for entry in whole for field in _SHOWN_OF_ENTRY]
    if not all(isinstance(value, str) for value in shown):
        return [{"failed": str(records.damaged(names.LEDGER))}]
    return entries


def _lease(holder: Holder | _NotKnown) -> str:
    """A killed change leaves it taken; the next one takes it over."""
    if isinstance(holder, _NotKnown):
        return holder
    if not holder.silent:
        return str(holder)
    why = "it was killed, or its clock is behind the one here"
    return f"{holder}; no sign of life since {holder.renewed}: {why}"


def _journal(cluster: Cluster) -> tuple[Journal | None, str | None]:
    """That of a hold which nobody has ended; else what is wrong with it."""
    try:
        return find_open(Records(cluster)), None
    except Forbidden as error:
        return None, _NotKnown.since(error)
    except NeedsOperator as error:
        return None, str(error)


def _held(journal: Journal) -> str:
    """Which pools hand out no run, since when and why: a change did not end, or did not yet."""
    return f"{', '.join(journal.paused_before)}, since {journal.started}: {journal.reason}"


@dataclass(frozen=True)
class _Answers:
    """What Prefect says of itself and its runs, and whether it holds pools as the journal does.

    The journal is believed while nobody can be asked. `settings`: None when they are not known.
    """

    api: str
    runs: list[dict[str, Any]] = field(default_factory=list)
    is_paused: bool = True
    settings: Settings | None = None


def _ask(reach: Reach, journal: Journal | None) -> _Answers:
    try:
        with reach() as api:
            ready = "ready" if api.get("/ready") is not None else "what answers is not Prefect"
            held = journal is not None and is_held(api, journal)
            return _Answers(ready, last_runs(api), held, known_settings(api))
    except PlatformError as error:
        return _Answers(str(error))


def known_settings(api: PrefectApi) -> Settings | None:
    """What the block says; None when it says nothing of a cluster: deploy/self tells why."""
    try:
        found = find_settings(api)
    except PlatformError:
        return None
    return found if found and found.kubernetes else None


def table(seen: dict[str, Any]) -> list[str]:
    """The same for a terminal."""
    applied = f"applied {seen['applied']} by {seen['by']}" if seen["applied"] else ""
    lines = [
        f"namespace    {seen['namespace']}  (Kubernetes {seen['kubernetes']})",
        f"release      {seen['release'] or 'none yet'}",
        *([f"             {applied}"] if applied else []),
        *([f"{_failed(seen):<12} {seen['failed']}"] if seen["failed"] else []),
        *([f"healing      {seen['healing']}"] if seen["healing"] else []),
        f"API          {seen['api']}",
        f"drift        {in_short(seen['drift'])}",
        *(f"             {each}" for each in in_detail(seen["drift"])[:_MOST_SHOWN]),
        f"secrets      {_of_secrets(seen['secrets'])}",
        *(f"             {each}" for each in _listed(seen["secrets"])),
        f"break-glass  {seen['break_glass'] or 'off'}",
        f"lease        {seen['lease'] or 'free'}",
        *([f"held         {seen['held']}"] if seen["held"] else []),
        f"backup       {seen['backup']}",
        "",
    ]
    lines += [f"{each['name']:<38} {each['state']}" for each in seen["workloads"]]
    return [*lines, *run_lines(seen["runs"])]


def _failed(seen: dict[str, Any]) -> str:
    return "taken back" if seen["taken_back"] else "not good"


def _of_secrets(seen: list[str] | str) -> str:
    if isinstance(seen, str):
        return seen
    return f"{len(seen)} not as pods need them" if seen else "present"


def _listed(seen: list[str] | str) -> list[str]:
    return [] if isinstance(seen, str) else seen
