"""Why a workload does not come up: from what the cluster shows to a cause and a remedy. Pure."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from clinical_ai.conditions import conditions_of
from clinical_ai.pod_faults import Diagnosis, faults_of_pod
from clinical_ai.ports_cluster import Object

_SECURITY: Final = re.compile(r'violates PodSecurity "([^"]*)": (.*)$')
_QUOTA: Final = re.compile(r"exceeded quota: (.*)$")
_NO_ACCOUNT: Final = re.compile(r'serviceaccount "([^"]+)" not found')


@dataclass(frozen=True)
class Facts:
    """What the cluster shows of a workload's newest pods.

    `owners`: its ReplicaSet or Job, where it is told that no pod can be made. `events`: by the uid
    of the pod.
    """

    workload: Object
    owners: Sequence[Object] = ()
    pods: Sequence[Object] = ()
    events: Mapping[str, Sequence[Object]] = field(default_factory=dict)


def explain(facts: Facts) -> list[Diagnosis]:
    """What is wrong, the most certain first; empty while nothing is known to be.

    That a deadline has passed comes last: it ends the wait, and says nothing of the cause.
    """
    found = list(_of_owners(facts))
    for pod in facts.pods:
        found += faults_of_pod(pod, facts.events.get(pod["metadata"].get("uid", ""), ()))
    return [*sorted(found, key=lambda it: it.patience), *_of_deadline(facts.workload)]


def _of_deadline(workload: Object) -> Iterator[Diagnosis]:
    for told in conditions_of(workload):
        if told.get("reason") == "ProgressDeadlineExceeded":
            text = "it did not come up before its progress deadline"
            yield Diagnosis(text, f"see `kubectl describe {_name(workload)}`", 0)


def _of_owners(facts: Facts) -> Iterator[Diagnosis]:
    """No pod can be made at all."""
    if facts.workload.get("spec", {}).get("paused"):
        about = facts.workload["metadata"]
        remedy = f"`kubectl rollout resume deployment/{about['name']}`"
        yield Diagnosis("somebody has paused its roll-outs", remedy, 5)
    for owner in (facts.workload, *facts.owners):
        for told in conditions_of(owner):
            if (told.get("type"), told.get("status")) == ("ReplicaFailure", "True"):
                yield _not_made(str(told.get("message", "")), owner)
    for event in facts.events.get(facts.workload["metadata"].get("uid", ""), ()):
        if event.get("reason") == "FailedCreate":  # a Job has no condition for it
            yield _not_made(str(event.get("message", "")), facts.workload)


def _not_made(message: str, owner: Object) -> Diagnosis:
    place = owner["metadata"].get("namespace", "")
    if quota := _QUOTA.search(message):
        return Diagnosis(
            f"its pods exceed the quota {quota[1]}",
            "see `kubectl describe quota`; raise it or ask for less in settings",
            10,
        )
    if security := _SECURITY.search(message):
        return Diagnosis(
            f"pod security {security[1]} refuses its pods: {security[2]}",
            f"see `kubectl get namespace {place} --show-labels`",
            5,
        )
    if account := _NO_ACCOUNT.search(message):
        return Diagnosis(
            f"its ServiceAccount {account[1]} does not exist", "run bootstrap, which makes it", 10
        )
    return Diagnosis(
        f"its pods can't be made: {message}", f"see `kubectl describe {_name(owner)}`", 15
    )


def _name(found: Object) -> str:
    about = found["metadata"]
    return f"{found.get('kind', '').lower()} {about['name']} -n {about.get('namespace', '')}"
