"""Workers of a cluster are known to the server by the names of their pods."""

from dataclasses import dataclass
from typing import Any

import pytest

from clinical_ai import names
from clinical_ai.errors import NeedsOperator
from clinical_ai.steps.cluster.verify import await_workers
from tests.support.clock import Clock
from tests.support.fake_cluster import FakeCluster
from tests.support.fake_prefect import FakePrefect


@dataclass
class Parts:
    """As much of a platform as is asked for its workers."""

    cluster: Any
    api: Any


@pytest.fixture
def parts() -> Any:
    fake = FakeCluster("here")
    for name in (names.WORKER, names.PLATFORM_WORKER):
        about = {"name": f"{name}-1", "namespace": "here", "labels": {"app": name}}
        fake.put({"apiVersion": "v1", "kind": "Pod", "metadata": about})
    api = FakePrefect()
    for pool in (names.POOL, names.PLATFORM_POOL):
        api.post("/work_pools/", {"name": pool, "type": "process"})
    beat(api, names.PLATFORM_POOL, f"{names.PLATFORM_WORKER}-1")
    return Parts(fake.open("here"), api)


def beat(api: Any, pool: str, worker: str) -> None:
    api.post(f"/work_pools/{pool}/workers/heartbeat", {"name": worker})


def test_a_worker_that_is_ready_and_not_yet_known_is_waited_for(parts: Any, clock: Clock) -> None:
    clock.happens(lambda: None, lambda: beat(parts.api, names.POOL, f"{names.WORKER}-1"))
    assert await_workers(parts) == f"{names.WORKER}-1, {names.PLATFORM_WORKER}-1"


def test_a_worker_that_stays_unknown_is_told_with_its_pool(parts: Any, clock: Clock) -> None:
    beat(parts.api, names.POOL, f"{names.WORKER}-0")  # of a pod that is gone
    with pytest.raises(NeedsOperator, match=f"{names.WORKER}-1 in pool {names.POOL}") as told:
        await_workers(parts)
    assert "log" in told.value.remedy
