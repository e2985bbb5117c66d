"""A bad rollout is told from a good one, with its cause, long before its deadline.

The bad ones all run at once, each in a namespace of its own: most of their time is waiting.
"""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Final

import pytest

from clinical_ai.adapters.kubernetes_api import KubernetesApi
from clinical_ai.errors import TimedOut
from clinical_ai.ports_cluster import Object, Ref
from clinical_ai.steps.cluster.job import await_job
from clinical_ai.steps.cluster.rollout import RolloutFailed, await_rollout
from tests.support import undone_rollouts
from tests.support.real_cluster import own_namespace
from tests.support.undone_rollouts import Outcome, undo

pytestmark = pytest.mark.cluster

IMAGE = "localhost:5000/python:3.13"
WEB = Ref("apps/v1", "Deployment", "web")
SLEEP = ["python3", "-c", "import signal; signal.sigwait([15])"]


@pytest.fixture
def cluster() -> Iterator[KubernetesApi]:
    with own_namespace() as api:
        yield api


def pod(**container: Any) -> Object:
    given = {"name": "web", "image": IMAGE, "command": SLEEP, **container}
    limits = {"memory": "64Mi", "cpu": "100m"}
    return {
        "terminationGracePeriodSeconds": 1,
        "automountServiceAccountToken": False,
        "containers": [{"resources": {"limits": limits, "requests": limits}, **given}],
    }


def deployment(spec: Object, **more: Any) -> Object:
    labels = {"app": "web"}
    template = {"metadata": {"labels": labels}, "spec": spec}
    about = {"name": "web", "labels": labels}
    # Without a probe a pod is available as soon as it runs, and be it for a moment.
    whole = {
        "selector": {"matchLabels": labels},
        "template": template,
        "minReadySeconds": 3,
        **more,
    }
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": about, "spec": whole}


def job(spec: Object, **more: Any) -> Object:
    template = {"spec": {"restartPolicy": "Never", **spec}}
    whole = {"template": template, "backoffLimit": 0, **more}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "work"}, "spec": whole}


@dataclass(frozen=True)
class Case:
    """A Kubernetes Deployment that does not come up, and what is said of it."""

    spec: Object
    cause: str
    remedy: str = ""
    others: tuple[Object, ...] = ()
    labels: dict[str, str] = field(default_factory=dict)


def probed(**probes: Object) -> Object:
    http = {"httpGet": {"path": "/", "port": 80}, "periodSeconds": 1}
    return pod(**{name: {**http, **more} for name, more in probes.items()})


def with_key(kind: str, name: str) -> Object:
    source = {f"{kind[0].lower()}{kind[1:]}KeyRef": {"name": name, "key": "address"}}
    return pod(env=[{"name": "A", "valueFrom": source}])


def there(kind: str) -> Object:
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": "there"}}


def python(code: str) -> list[str]:
    return ["python3", "-c", code]


FIRST: Final = {"name": "first", "image": IMAGE}
HUGE: Final = {"limits": {"memory": "900Gi"}, "requests": {"memory": "900Gi"}}
MOUNT: Final = {"name": "v", "mountPath": "/v"}
VOLUME: Final = {"name": "v", "secret": {"secretName": "missing"}}
NO_PODS: Final = {"spec": {"hard": {"pods": "0"}}, "metadata": {"name": "none"}}
CASES: Final = {
    "an image that is not there": Case(
        pod(image="localhost:5000/nothing:1"),
        "image 'localhost:5000/nothing:1' does not exist in the registry",
        "check the tag",
    ),
    "a registry that can't be reached": Case(
        pod(image="127.0.0.1:9/nothing:1"),
        "image '127.0.0.1:9/nothing:1' can't be pulled",
        "reach the registry",
    ),
    "a name that is no image": Case(pod(image="Not/An Image"), "is no valid name"),
    "a crash, with the last lines": Case(
        pod(command=python("print('before'); print('no database'); exit(1)")),
        " times; its last lines:\nbefore\nno database\n",
        "--previous",
    ),
    "a program that is not in the image": Case(
        pod(command=["no-such-program"]), 'exec: "no-such-program"'
    ),
    "an init container that fails": Case(
        {
            **pod(),
            "initContainers": [{"name": "first", "image": IMAGE, "command": python("exit(3)")}],
        },
        "container first of pod web-",
    ),
    "too little memory": Case(
        pod(command=python("x = bytearray(200_000_000); print(len(x))")),
        "more memory than its limit",
        "raise its memory limit",
    ),
    "no Secret": Case(with_key("Secret", "absent"), "Secret absent does not exist"),
    "no ConfigMap": Case(with_key("ConfigMap", "absent"), "ConfigMap absent does not exist"),
    "no key of a Secret": Case(
        with_key("Secret", "there"), "Secret there has no key address", others=(there("Secret"),)
    ),
    "no key of a ConfigMap": Case(
        with_key("ConfigMap", "there"),
        "ConfigMap there has no key address",
        others=(there("ConfigMap"),),
    ),
    "no Secret for a volume": Case(
        {**pod(volumeMounts=[MOUNT]), "volumes": [VOLUME]},
        "Secret missing does not exist, which pod web-",
    ),
    "a readiness probe that fails": Case(
        probed(readinessProbe={}), "is unhealthy: Readiness probe failed"
    ),
    "a liveness probe that kills": Case(
        probed(livenessProbe={"failureThreshold": 1}, readinessProbe={}), "probe failed"
    ),
    "a quota": Case(
        pod(),
        "its pods exceed the quota none",
        " describe quota`; raise it",
        others=({"apiVersion": "v1", "kind": "ResourceQuota", **NO_PODS},),
    ),
    "pod security": Case(
        pod(),
        "pod security restricted:latest refuses its pods: allowPrivilegeEscalation",
        labels={"pod-security.kubernetes.io/enforce": "restricted"},
    ),
    "no node with room": Case(pod(resources=HUGE), "Insufficient memory", "add capacity"),
    "no ServiceAccount": Case(
        {**pod(), "serviceAccountName": "nobody"}, "ServiceAccount nobody does not exist"
    ),
}


def fail(case: Case) -> tuple[RolloutFailed, float]:
    """What is said of it, and after how many seconds."""
    with own_namespace(case.labels) as cluster:
        for each in case.others:
            cluster.apply(each)
        # However long a busy node takes to come to its end, no pod counts as available before.
        cluster.apply(deployment(case.spec, minReadySeconds=150))
        start = monotonic()
        try:
            await_rollout(cluster, WEB, seconds=300)
        except RolloutFailed as failed:
            return failed, monotonic() - start
    raise AssertionError(case)


@pytest.fixture(scope="module")
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(len(CASES) + len(undone_rollouts.CASES)) as made:
        yield made


@pytest.fixture(scope="module")
def outcomes(threads: ThreadPoolExecutor) -> dict[str, "Future[Outcome]"]:
    return {name: threads.submit(undo, it) for name, it in undone_rollouts.CASES.items()}


@pytest.fixture(scope="module")
def failures(
    threads: ThreadPoolExecutor,
    outcomes: dict[str, "Future[Outcome]"],  # which begin with these
) -> dict[str, "Future[tuple[RolloutFailed, float]]"]:
    return {name: threads.submit(fail, case) for name, case in CASES.items()}


@pytest.mark.parametrize("name", CASES)
def test_a_rollout_that_fails_is_told_with_its_cause_long_before_its_deadline(
    name: str, failures: dict[str, "Future[tuple[RolloutFailed, float]]"]
) -> None:
    failed, seconds = failures[name].result()
    assert CASES[name].cause in failed.problem
    assert CASES[name].remedy in failed.remedy
    assert seconds < 240  # of 600


@pytest.mark.parametrize("name", undone_rollouts.CASES)
def test_what_ran_before_a_bad_rollout_goes_on_and_all_is_as_it_was(
    name: str, outcomes: dict[str, "Future[Outcome]"]
) -> None:
    found = outcomes[name].result()
    assert undone_rollouts.CASES[name].cause in found.failed.problem
    assert "deadline" not in found.failed.problem
    assert found.after == found.before  # the same pods: none of them was ever away
    assert found.up
    assert found.differing == []


def test_a_rollout_is_done_when_only_new_pods_are_there_and_ready(cluster: KubernetesApi) -> None:
    cluster.apply(deployment(pod()))
    await_rollout(cluster, WEB, seconds=60)
    cluster.apply(deployment(pod(env=[{"name": "A", "value": "1"}])))
    await_rollout(cluster, WEB, seconds=60)
    pods = cluster.find_all("v1", "Pod", labels={"app": "web"})
    living = [it for it in pods if "deletionTimestamp" not in it["metadata"]]
    assert [it["spec"]["containers"][0]["env"][0]["value"] for it in living] == ["1"]
    assert await_rollout(cluster, WEB, seconds=0).summary == "1 pods are available"


def test_old_pods_that_fail_do_not_hold_up_their_replacement(cluster: KubernetesApi) -> None:
    cluster.apply(deployment(pod(command=["python3", "-c", "exit(1)"])))
    with pytest.raises(TimedOut, match="exit code 1"):
        await_rollout(cluster, WEB, seconds=6)
    cluster.apply(deployment(pod()))
    await_rollout(cluster, WEB, seconds=60)


def test_a_job_that_succeeds_gives_its_last_lines(cluster: KubernetesApi) -> None:
    cluster.apply(job(pod(command=["python3", "-c", "for n in range(9): print(n)"])))
    assert await_job(cluster, "work", seconds=60, tail=2) == "7\n8"


def test_a_job_that_fails_is_told_with_its_last_lines(cluster: KubernetesApi) -> None:
    cluster.apply(job(pod(command=["python3", "-c", "print('why'); exit(1)"])))
    with pytest.raises(
        RolloutFailed, match=r"has failed \(BackoffLimitExceeded; container web: exit code 1\)"
    ) as failed:
        await_job(cluster, "work", seconds=60)
    assert "why" in failed.value.problem


def test_a_job_that_can_not_start_is_told(cluster: KubernetesApi) -> None:
    cluster.apply(job(pod(image="localhost:5000/nothing:1")))
    with pytest.raises(RolloutFailed, match="does not exist in the registry"):
        await_job(cluster, "work", seconds=60)


def test_a_job_that_pod_security_refuses_is_told() -> None:
    with own_namespace({"pod-security.kubernetes.io/enforce": "restricted"}) as cluster:
        cluster.apply(job(pod()))
        with pytest.raises(RolloutFailed, match="pod security restricted"):
            await_job(cluster, "work", seconds=60)
