"""Checks of a platform in a cluster: the guide's, from inside, each with its evidence."""

import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Final, Protocol

from clinical_ai import names
from clinical_ai.conditions import is_ready
from clinical_ai.errors import NeedsOperator, TimedOut
from clinical_ai.manifests.kubernetes.credentials import (
    agent,
    connections,
    external_secrets,
    known,
)
from clinical_ai.ports import SecretStore
from clinical_ai.ports_cluster import Cluster, Ref, in_namespace
from clinical_ai.steps import verify
from clinical_ai.steps.cluster import scale
from clinical_ai.steps.cluster.exposure import check_exposure
from clinical_ai.steps.cluster.network import check_policies, ready_addresses
from clinical_ai.steps.cluster.rollout import rollout_state
from clinical_ai.steps.cluster.synced import KIND, check_synced
from clinical_ai.steps.cluster.workers import lives, pods_of
from clinical_ai.steps.orchestration import find_workers
from clinical_ai.steps.verify import NotShown, Result
from clinical_ai.waiting import Sighting, wait_until

_TAIL: Final = 500  # lines of a log
# What is wrong now says so again within a minute. What has healed is no fault of what was changed
# since: a quiet server would show it for days.
_LATELY: Final = 60
_WRONG: Final = (" ERROR ", " CRITICAL ", "Traceback (most recent call last)", "dead letter queue")
# Prefect handles that event once more, and tells of the queue above when it gives up.
_TRIED_AGAIN: Final = "messaging.memory - Failed in consume_loop"
_RECORD: Final = re.compile(r"\d\d:\d\d:\d\d\.\d+ \|")
_OF_RUNS: Final = ("Flow run '", "Task run '")
_HEARTBEAT_SECONDS: Final = 45  # a worker sends one each half minute


class Parts(verify.SharedParts, Protocol):
    """What of a platform is looked at."""

    @property
    def cluster(self) -> Cluster:
        """Its namespace."""

    @property
    def secrets(self) -> SecretStore:
        """Its secrets."""

    def references(self) -> Sequence[str]:
        """References to the secrets that its runs need."""


def verify_cluster(
    parts: Parts, *, fly: bool = True, history: bool = True, late: Sequence[str] = ()
) -> list[Result]:
    """All checks, in the order in which one depends on another; none stops the next.

    Canary runs go on beside the others: until they are due is most of their time.
    `fly` off: without canary runs, which take a quarter of a minute. `history` off: without the
    logs, which tell of what was before a change as well. `late`: references to secrets that this
    pod began too early to have: they can't be looked at here, which is no fault.
    """
    own: list[tuple[str, Callable[[Parts], str]]] = [
        ("workloads up", _workloads),
        ("pods ready", _pods),
        *([("logs free of errors", _logs)] if history else []),
        ("services", _services),
        ("secrets", partial(_secrets, late=late)),
        ("network policies", _policies),
        ("exposure", _exposure),
        ("workers online", await_workers),
        ("storage", partial(_storage, late=late)),
    ]
    with ThreadPoolExecutor(1) as beside:
        flying = [beside.submit(_run, parts, verify.CANARIES, _canaries)] if fly else []
        results = [_run(parts, check, look) for check, look in (*own, *verify.SHARED)]
        results += [each.result() for each in flying]
    space = parts.cluster.namespace
    return [replace(each, remedy=in_namespace(each.remedy, space)) for each in results]


def _run(parts: Parts, check: str, look: Callable[[Parts], str]) -> Result:
    return verify.run(check, partial(look, parts), parts.repair)


def _workloads(parts: Parts) -> str:
    scale.check_scale(parts.cluster, names.WORKLOADS)
    told: list[str] = []
    wrong: list[str] = []
    for name in names.WORKLOADS:
        found = parts.cluster.find(Ref("apps/v1", "Deployment", name))
        if found is None:
            wrong.append(f"{name} is not there")
            continue
        state = rollout_state(found)
        several = scale.warning(found)
        seen = f"{state.summary} ({several})" if several else state.summary
        (told if state.done else wrong).append(f"{name}: {seen}")
    if wrong:
        raise NeedsOperator("; ".join(wrong), "run deploy/self, which tells why")
    return "; ".join(told)


def _pods(parts: Parts) -> str:
    told = []
    for name in names.WORKLOADS:
        pods = pods_of(parts.cluster, name)
        if not pods:
            raise NeedsOperator(f"{name} has no pod", f"kubectl get pods -l app={name}")
        for pod in pods:
            about = pod["metadata"]["name"]
            if not is_ready(pod):
                phase = pod.get("status", {}).get("phase")
                problem = f"pod {about} is not ready ({phase})"
                raise NeedsOperator(problem, f"kubectl describe pod {about}")
            restarts = sum(
                each.get("restartCount", 0) for each in pod["status"].get("containerStatuses", [])
            )
            told.append(f"{about} ({restarts} restarts)")
    return ", ".join(told)


def _logs(parts: Parts) -> str:
    """Only counted: a line may hold what belongs to nobody else."""
    wrong = []
    for name in names.WORKLOADS:
        for pod in pods_of(parts.cluster, name):
            about, container = pod["metadata"]["name"], pod["spec"]["containers"][0]["name"]
            told = parts.cluster.logs(about, container=container, tail=_TAIL, seconds=_LATELY)
            of_worker = name in names.WORKERS.values()
            if found := sum(_is_wrong(line, of_worker=of_worker) for line in _lasting(told)):
                wrong.append(f"{found} in {about}")
    if wrong:
        raise NeedsOperator(
            f"errors in the last {_LATELY} s: {', '.join(wrong)}",
            "read them: `kubectl logs POD | grep -E 'ERROR|CRITICAL|Traceback'`",
        )
    return f"none in the last {_LATELY} s of each"


def _lasting(told: str) -> Iterator[str]:
    """Lines of a log without records, and their tracebacks, of what is tried again at once."""
    again = False
    for line in told.splitlines():
        if _RECORD.match(line):
            again = _TRIED_AGAIN in line
        if not again:
            yield line


def _is_wrong(line: str, *, of_worker: bool) -> bool:
    """A worker's log holds what its runs write, too; that is theirs."""
    if of_worker and ("Traceback" in line or any(word in line for word in _OF_RUNS)):
        return False
    return any(word in line for word in _WRONG)


def _services(parts: Parts) -> str:
    told = []
    for name in names.WORKLOADS:
        found = parts.cluster.find(Ref("v1", "Service", name))
        if found is None:
            raise NeedsOperator(f"Service {name} is not there", "run deploy/self")
        selector = found["spec"].get("selector") or {}
        if selector != {"app": name}:
            raise NeedsOperator(
                f"Service {name} selects {selector}, its pods are labelled app={name}",
                "run deploy/self, or undo the edit",
            )
        ready = len(ready_addresses(parts.cluster, name))
        if not ready:
            raise NeedsOperator(f"Service {name} has no endpoint", "kubectl get endpointslices")
        told.append(f"{name}: {ready} endpoint(s)")
    return ", ".join(told)


def _secrets(parts: Parts, late: Sequence[str]) -> str:
    needed = [each for each in parts.references() if each not in late]
    missing = [each for each in needed if parts.secrets.find(each) is None]
    if missing:
        raise NeedsOperator(
            f"not there: {', '.join(missing)}",
            "run deploy/self when the settings name them for the first time, else add them with"
            " kubectl",
        )
    seen = [", ".join(needed), *_from_vault(parts), *_of_connections(parts), *_unseen(parts)]
    evidence = "; ".join(seen)
    if late:
        raise NotShown(f"{evidence}; not in this run's pod yet: {', '.join(late)}")
    return evidence


def _from_vault(parts: Parts) -> list[str]:
    """That what comes from Vault is kept in step with it."""
    if agent(parts.settings):
        return ["rendered by Vault's agent"]
    return [
        check_synced(parts.cluster, Ref.of(each), datetime.now(UTC))
        for each in external_secrets(parts.settings)
        if each["kind"] == KIND
    ]


def _of_connections(parts: Parts) -> Iterator[str]:
    """They may be absent: that is the fault of the runs that name them."""
    named = connections(parts.settings)
    absent = [each for each in named if parts.secrets.find(each) is None]
    if len(absent) < len(named):
        yield f"of connections {', '.join(each for each in named if each not in absent)}"
    if absent:
        yield f"not in this run's pod, which fails runs that need it: {', '.join(absent)}"


def _unseen(parts: Parts) -> Iterator[str]:
    """What no run is given, and no account of the platform may look at."""
    every = [f"secret:{name}/{key}" for name, keys in known(parts.settings).items() for key in keys]
    looked_at = {*parts.references(), *connections(parts.settings)}
    if unseen := sorted(set(every) - looked_at):
        yield f"not looked at from inside: {', '.join(unseen)}"


def _storage(parts: Parts, late: Sequence[str]) -> str:
    """Listed only: the buckets belong to others."""
    if late:
        raise NotShown(f"not in this run's pod yet: {', '.join(late)}")
    return f"{len(parts.storage.buckets())} bucket(s) listed"


def _policies(parts: Parts) -> str:
    return check_policies(parts.cluster, parts.settings)


def _exposure(parts: Parts) -> str:
    return check_exposure(parts.cluster, parts.settings)


def _canaries(parts: Parts) -> str:
    return verify.canaries(parts, lambda worker: lives(parts.cluster, worker))


def await_workers(parts: Parts) -> str:
    """Each worker's pod is known to the server as online: workers are named by their pods.

    A new pod answers its probe before its first heartbeat has arrived, so that is waited for.
    """
    told: list[str] = []

    def look() -> Sighting:
        told[:], lost = [], []
        for pool, name in names.WORKERS.items():
            online = {w["name"] for w in find_workers(parts.api, pool) if w["status"] == "ONLINE"}
            pods = {pod["metadata"]["name"] for pod in pods_of(parts.cluster, name)}
            lost += [f"{pod} in pool {pool}" for pod in sorted(pods - online)]
            told.extend(sorted(pods))
        return Sighting(not lost, f"not online: {', '.join(lost)}")

    try:
        wait_until("each worker online", look, seconds=_HEARTBEAT_SECONDS)
    except TimedOut as error:
        raise NeedsOperator(str(error), "read that pod's log") from None
    return ", ".join(told)
