"""Pods are counted as Kubernetes counts them for its quotas."""

from typing import Any

import pytest

from clinical_ai.pod_amounts import is_counted, of_container, of_live_pod, of_pod
from clinical_ai.quantities import parsed


def container(cpu: str, **more: Any) -> dict[str, Any]:
    return {"name": "a", "resources": {"requests": {"cpu": cpu}}, **more}


def beside(cpu: str) -> dict[str, Any]:
    return container(cpu, restartPolicy="Always")


@pytest.mark.parametrize(
    ("first", "containers", "cpu"),
    [
        ([], [container("1")], "1"),
        ([], [container("1"), container("250m")], "1250m"),
        ([container("500m")], [container("1")], "1"),  # over before the work begins
        ([container("3"), container("2")], [container("1")], "3"),
        ([beside("500m")], [container("1")], "1500m"),  # a sidecar runs on
        ([beside("500m"), container("3")], [container("1")], "3500m"),
        ([container("3"), beside("500m")], [container("1")], "3"),
    ],
)
def test_a_pod_takes_what_runs_at_once(
    first: list[dict[str, Any]], containers: list[dict[str, Any]], cpu: str
) -> None:
    taken = of_pod({"initContainers": first, "containers": containers})
    assert taken["requests.cpu"] == parsed(cpu)
    assert taken["pods"] == 1


def test_a_limit_without_a_request_is_a_request_as_well() -> None:
    resources = {"limits": {"cpu": "2", "memory": "1Gi"}, "requests": {"memory": "512Mi"}}
    assert of_container({"resources": resources}) == {
        "requests.cpu": 2,
        "requests.memory": parsed("512Mi"),
        "limits.cpu": 2,
        "limits.memory": parsed("1Gi"),
    }


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_a_pod_that_has_ended_is_only_an_object(phase: str) -> None:
    pod = {"spec": {"containers": [container("1")]}, "status": {"phase": phase}}
    assert of_live_pod(pod) == {"count/pods": 1}


ORDINARY = {"containers": [container("1")]}
URGENT = {**ORDINARY, "priorityClassName": "urgent"}
ENDING = {**ORDINARY, "activeDeadlineSeconds": 5}
FOR_NOTHING = {"containers": [{"name": "a"}]}


def selecting(operator: str, *values: str) -> dict[str, Any]:
    row = {"scopeName": "PriorityClass", "operator": operator, "values": list(values)}
    return {"scopeSelector": {"matchExpressions": [row]}}


@pytest.mark.parametrize(
    ("quota", "pod", "counted"),
    [
        ({}, ORDINARY, True),
        ({"scopes": ["BestEffort"]}, ORDINARY, False),
        ({"scopes": ["BestEffort"]}, FOR_NOTHING, True),
        ({"scopes": ["NotBestEffort"]}, ORDINARY, True),
        ({"scopes": ["NotBestEffort"]}, FOR_NOTHING, False),
        ({"scopes": ["Terminating"]}, ORDINARY, False),
        ({"scopes": ["Terminating"]}, ENDING, True),
        ({"scopes": ["NotTerminating"]}, ORDINARY, True),
        ({"scopes": ["NotTerminating", "BestEffort"]}, ORDINARY, False),
        ({"scopes": ["PriorityClass"]}, ORDINARY, False),
        ({"scopes": ["PriorityClass"]}, URGENT, True),
        ({"scopes": ["CrossNamespacePodAffinity"]}, ORDINARY, False),
        (selecting("In", "urgent", "other"), URGENT, True),
        (selecting("In", "other"), URGENT, False),
        (selecting("NotIn", "other"), URGENT, True),
        (selecting("NotIn", "other"), ORDINARY, True),
        (selecting("DoesNotExist"), ORDINARY, True),
        (selecting("DoesNotExist"), URGENT, False),
    ],
)
def test_a_quota_counts_the_pods_of_its_scopes(
    quota: dict[str, Any], pod: dict[str, Any], counted: bool
) -> None:
    assert is_counted({"spec": quota}, pod) is counted
