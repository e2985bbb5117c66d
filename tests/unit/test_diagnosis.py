"""What the cluster shows of a workload becomes a cause and what a person does, in words."""

from typing import Any

import pytest

from clinical_ai.diagnosis import Facts, explain
from clinical_ai.pod_faults import Diagnosis
from clinical_ai.ports_cluster import Object

WORKLOAD: Object = {
    "kind": "Deployment",
    "metadata": {"name": "web", "namespace": "place", "uid": "w"},
}


def pod(name: str = "web-1", **status: Any) -> Object:
    return {"kind": "Pod", "metadata": {"name": name, "uid": name}, "status": status}


def container(state: Object, last: Object | None = None, **more: Any) -> Object:
    given = {"name": "main", "image": "x:1", "restartCount": 0, **more}
    return {**given, "state": state, "lastState": last or {}}


def waiting(reason: str, message: str = "", **more: Any) -> Object:
    return container({"waiting": {"reason": reason, "message": message}}, **more)


def ended(code: int, reason: str = "Error", message: str = "") -> Object:
    return {"terminated": {"exitCode": code, "reason": reason, "message": message}}


def event(reason: str, message: str, about: str = "spec.containers{main}") -> Object:
    return {"reason": reason, "message": message, "involvedObject": {"fieldPath": about}}


def first(*statuses: Object, events: list[Object] | None = None) -> Diagnosis:
    shown = pod(containerStatuses=list(statuses))
    found = explain(Facts(WORKLOAD, pods=[shown], events={"web-1": events or []}))
    assert found
    return found[0]


def owner(**condition: str) -> Diagnosis:
    told = {**WORKLOAD, "status": {"conditions": [{"status": "True", **condition}]}}
    [found] = explain(Facts(WORKLOAD, owners=[told]))
    return found


def test_a_workload_whose_rollouts_are_paused_makes_no_new_pod() -> None:
    paused = {**WORKLOAD, "spec": {"paused": True}}
    [found] = explain(Facts(paused))
    assert found.cause == "somebody has paused its roll-outs"
    assert found.remedy == "`kubectl rollout resume deployment/web`"


def test_nothing_is_wrong_with_what_starts_runs_or_has_ended_well() -> None:
    fine = [
        waiting("ContainerCreating"),
        waiting("PodInitializing"),
        container({"running": {}}),
        container(ended(0, "Completed")),
        container(ended(0, "Completed"), ended(1)),  # the second try of an init container
    ]
    ready = {"type": "Ready", "status": "True"}
    shown = pod(containerStatuses=fine, conditions=[ready])
    old = event("Unhealthy", "Readiness probe failed: then")
    assert explain(Facts(WORKLOAD, pods=[shown], events={"web-1": [old]})) == []
    assert explain(Facts(WORKLOAD, pods=[pod()])) == []


@pytest.mark.parametrize(
    ("message", "cause", "remedy"),
    [
        ("x:1: not found", "does not exist in the registry", "check the tag"),
        ("manifest unknown", "does not exist in the registry", "check the tag"),
        ("401 Unauthorized", "the registry refuses us", "image pull secret"),
        ("denied: access forbidden", "the registry refuses us", "image pull secret"),
        ("dial tcp: i/o timeout", "can't be pulled: dial tcp: i/o timeout", "reach the registry"),
    ],
)
@pytest.mark.parametrize("reason", ["ErrImagePull", "ImagePullBackOff"])
def test_an_image_that_is_not_pulled(reason: str, message: str, cause: str, remedy: str) -> None:
    found = first(waiting(reason, message))
    assert found.cause.startswith("image 'x:1' ")
    assert cause in found.cause
    assert remedy in found.remedy


def test_what_the_registry_said_is_taken_from_the_events_when_the_state_forgets_it() -> None:
    told = event("Failed", 'Failed to pull image "x:1": manifest unknown')
    found = first(waiting("ImagePullBackOff", 'Back-off pulling image "x:1"'), events=[told])
    assert "does not exist" in found.cause
    assert found.kind == first(waiting("ErrImagePull", "manifest unknown")).kind


@pytest.mark.parametrize(
    ("message", "cause", "remedy"),
    [
        ('secret "db" not found', "Secret db does not exist", "kubectl get secret"),
        ('configmap "c" not found', "ConfigMap c does not exist", "kubectl get configmap"),
        ("couldn't find key k in Secret place/db", "Secret db has no key k", "describe secret db"),
        ("couldn't find key k in ConfigMap p/c", "ConfigMap c has no key k", "configmap c"),
        ("container has runAsNonRoot", "container has runAsNonRoot", "describe pod web-1"),
    ],
)
def test_what_a_container_needs_and_lacks(message: str, cause: str, remedy: str) -> None:
    found = first(waiting("CreateContainerConfigError", message))
    assert cause in found.cause
    assert remedy in found.remedy


def test_a_container_that_ends_is_certain_only_when_it_does_so_again() -> None:
    once = first(container({"running": {}}, ended(1), restartCount=1))
    again = first(waiting("CrashLoopBackOff", restartCount=2) | {"lastState": ended(1)})
    assert "ends with exit code 1" in once.cause
    assert "exit code 1, 3 times" in again.cause
    assert once.patience > again.patience
    assert once.kind == again.kind
    assert (again.pod, again.container) == ("web-1", "main")
    assert "logs web-1 -c main --previous" in again.remedy


def test_the_same_of_another_pod_is_of_the_same_kind() -> None:
    facts = [
        Facts(WORKLOAD, pods=[pod(name, containerStatuses=[container(ended(1))])])
        for name in ("web-1", "web-2")
    ]
    assert len({explain(each)[0].kind for each in facts}) == 1


def test_memory_a_missing_program_and_a_probe_are_told_apart_from_a_crash() -> None:
    assert "more memory than its limit" in first(container(ended(137, "OOMKilled"))).cause
    start = ended(128, "StartError", 'exec: "nope": executable file not found')
    assert 'can\'t be started: exec: "nope"' in first(container(start)).cause
    probe = event("Unhealthy", "Liveness probe failed: 500")
    killed = first(container({"running": {}}, ended(137), restartCount=1), events=[probe])
    assert "is killed, for Liveness probe failed: 500" in killed.cause
    of_another = event("Unhealthy", "Liveness probe failed: 500", "spec.containers{side}")
    found = first(container(ended(143)), events=[of_another])
    assert "ends with exit code 143" in found.cause


def test_init_containers_are_looked_at_too() -> None:
    shown = pod(initContainerStatuses=[waiting("ErrImageNeverPull")])
    [found] = explain(Facts(WORKLOAD, pods=[shown]))
    assert "its pull policy forbids" in found.cause


@pytest.mark.parametrize(
    ("message", "cause"),
    [
        ('pods "x" is forbidden: exceeded quota: q, used: pods=1', "exceed the quota q, used"),
        (
            'violates PodSecurity "restricted:latest": runAsNonRoot',
            "pod security restricted:latest",
        ),
        ('error looking up serviceaccount "sa" not found', "ServiceAccount sa does not exist"),
        ("admission webhook said no", "its pods can't be made: admission webhook said no"),
    ],
)
def test_pods_that_can_not_be_made(message: str, cause: str) -> None:
    assert cause in owner(type="ReplicaFailure", message=message).cause
    events = {"w": [event("FailedCreate", message)]}
    [found] = explain(Facts(WORKLOAD, events=events))
    assert cause in found.cause


def test_a_deadline_that_has_passed_ends_the_wait_and_hides_no_cause() -> None:
    condition = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}
    late = {**WORKLOAD, "status": {"conditions": [condition]}}
    shown = pod(containerStatuses=[container(ended(1))])
    cause, deadline = explain(Facts(late, pods=[shown]))
    assert "ends with exit code 1" in cause.cause
    assert deadline.patience == 0


def test_a_pod_without_a_node_and_one_that_was_given_up_are_told() -> None:
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
    unscheduled = pod(conditions=[{**condition, "message": "0/1 nodes: Insufficient cpu"}])
    killed = [container(ended(137))]
    told = {"phase": "Failed", "reason": "Evicted", "message": "disk pressure"}
    evicted = pod("web-2", **told, containerStatuses=killed)
    found = [it.cause for it in explain(Facts(WORKLOAD, pods=[unscheduled, evicted]))]
    assert found == [
        "no node takes pod web-1: 0/1 nodes: Insufficient cpu",
        "pod web-2 was given up (Evicted: disk pressure)",
    ]


@pytest.mark.parametrize(
    ("told", "cause"),
    [
        (event("FailedMount", 'secret "s" not found'), "Secret s does not exist"),
        (event("FailedMount", "no such disk"), "a volume of pod web-1 can't be mounted"),
        (event("Unhealthy", "Readiness probe failed: 503"), "unhealthy: Readiness probe failed"),
        (event("FailedCreatePodSandBox", "no network"), "the node can't start pod web-1"),
    ],
)
def test_what_only_events_tell(told: Object, cause: str) -> None:
    assert cause in first(waiting("ContainerCreating"), events=[told]).cause


@pytest.mark.parametrize(("probe", "patience"), [("Startup", 180), ("Readiness", 60)])
def test_what_starts_slowly_is_given_more_time_than_what_has_started(
    probe: str, patience: int
) -> None:
    told = event("Unhealthy", f"{probe} probe failed: 503")
    assert first(waiting("ContainerCreating"), events=[told]).patience == patience


def test_a_reason_that_was_never_seen_is_told_as_such() -> None:
    assert "not seen before: Brandnew" in first(waiting("Brandnew")).cause


def test_a_pod_that_is_being_deleted_is_no_concern() -> None:
    shown = pod(containerStatuses=[container(ended(137))])
    shown["metadata"]["deletionTimestamp"] = "now"
    assert explain(Facts(WORKLOAD, pods=[shown])) == []
