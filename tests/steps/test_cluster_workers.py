"""Workers whose pod is gone are forgotten, and nobody else's."""

from typing import Any

import pytest

from clinical_ai import names
from clinical_ai.change import Did
from clinical_ai.errors import NeedsOperator, Transient
from clinical_ai.ports_cluster import Ref
from clinical_ai.steps.cluster.workers import forget_workers, lives, pods_of
from tests.support.deploying import Namespace


def beat(
    namespace: Namespace, worker: str, pool: str = names.POOL, status: str = "OFFLINE"
) -> None:
    namespace.prefect.post(f"/work_pools/{pool}/workers/heartbeat", {"name": worker})
    namespace.prefect.workers[pool, worker]["status"] = status


def pod(namespace: Namespace, name: str, app: str = names.WORKER, **about: Any) -> None:
    metadata = {"name": name, "labels": {"app": app}, **about}
    namespace.fake.put({"apiVersion": "v1", "kind": "Pod", "metadata": metadata})


def known(namespace: Namespace) -> set[str]:
    return {name for _, name in namespace.prefect.workers}


def test_a_worker_is_forgotten_when_it_is_offline_and_its_pod_is_gone(namespace: Namespace) -> None:
    gone, there = f"{names.WORKER}-5d4-gone", f"{names.WORKER}-5d4-there"
    online = f"{names.WORKER}-5d4-online"
    pod(namespace, there)
    beat(namespace, gone)
    beat(namespace, there)
    beat(namespace, online, status="ONLINE")
    [told] = forget_workers(namespace.cluster, namespace.prefect, write=False)
    assert (told.did, known(namespace)) == (Did.LEFT_OVER, {gone, there, online})
    [change] = forget_workers(namespace.cluster, namespace.prefect, write=True)
    assert (change.did, gone in change.what) == (Did.TIDIED, True)
    assert known(namespace) == {there, online}
    assert forget_workers(namespace.cluster, namespace.prefect, write=True) == []


def test_an_evicted_pod_counts_as_gone(namespace: Namespace) -> None:
    """Kubernetes keeps it for days, so that a person can read why."""
    evicted, there = f"{names.WORKER}-5d4-evicted", f"{names.WORKER}-5d4-there"
    pod(namespace, evicted)
    pod(namespace, there)
    namespace.fake.edit("Pod", evicted, "kubelet", lambda it: it.update(status={"phase": "Failed"}))
    assert [it["metadata"]["name"] for it in pods_of(namespace.cluster, names.WORKER)] == [there]
    beat(namespace, evicted)
    [change] = forget_workers(namespace.cluster, namespace.prefect, write=True)
    assert evicted in change.what


def test_each_pool_has_the_workers_of_its_own_pods(namespace: Namespace) -> None:
    lost = f"{names.PLATFORM_WORKER}-1"
    pod(namespace, lost, names.WORKER)  # of that name, but none of the platform worker's
    beat(namespace, lost, names.PLATFORM_POOL)
    assert [
        change.did for change in forget_workers(namespace.cluster, namespace.prefect, write=True)
    ] == [Did.TIDIED]
    assert known(namespace) == set()


@pytest.mark.parametrize(
    "theirs", ["a-laptop", names.WORKER, f"{names.WORKER}2-1", f"my-{names.WORKER}-1", ""]
)
def test_a_worker_that_is_not_named_like_our_pods_is_left_alone(
    namespace: Namespace, theirs: str
) -> None:
    beat(namespace, theirs)
    assert forget_workers(namespace.cluster, namespace.prefect, write=True) == []
    assert known(namespace) == {theirs}


def test_a_pod_that_is_being_deleted_keeps_no_worker(namespace: Namespace) -> None:
    ending = f"{names.WORKER}-1"
    pod(namespace, ending, finalizers=["a/b"])
    found = namespace.fake.look("Pod", ending)["metadata"]["uid"]
    namespace.cluster.delete(Ref("v1", "Pod", ending), uid=found)
    beat(namespace, ending)
    forget_workers(namespace.cluster, namespace.prefect, write=True)
    assert known(namespace) == set()


def test_a_name_that_an_address_would_cut_off_is_forgotten_all_the_same(
    namespace: Namespace,
) -> None:
    odd = f"{names.WORKER}-a b?c#d%2F"
    beat(namespace, odd)
    forget_workers(namespace.cluster, namespace.prefect, write=True)
    assert known(namespace) == set()


def test_without_an_answer_of_the_cluster_no_worker_is_forgotten(namespace: Namespace) -> None:
    beat(namespace, f"{names.WORKER}-1")
    namespace.fake.denied = {("list", "pods")}
    with pytest.raises(NeedsOperator, match="list pods"):
        forget_workers(namespace.cluster, namespace.prefect, write=True)
    namespace.prefect.down = True
    with pytest.raises(Transient):
        forget_workers(namespace.cluster, namespace.prefect, write=True)
    assert known(namespace) == {f"{names.WORKER}-1"}


def test_a_worker_lives_as_long_as_its_pod_is_to_run(namespace: Namespace) -> None:
    there, ending = f"{names.WORKER}-5d4-there", f"{names.PLATFORM_WORKER}-5d4-ending"
    pod(namespace, there)
    pod(namespace, ending, names.PLATFORM_WORKER, deletionTimestamp="2026-11-27T12:00:00Z")
    assert lives(namespace.cluster, there)
    assert not lives(namespace.cluster, ending)
    assert not lives(namespace.cluster, f"{names.WORKER}-5d4-gone")
    assert lives(namespace.cluster, "a-worker-of-another-machine")
