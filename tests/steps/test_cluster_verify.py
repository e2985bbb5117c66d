"""What verify looks at in a cluster, where a single check has a rule of its own."""

from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from clinical_ai import names
from clinical_ai.errors import NeedsOperator
from clinical_ai.ports_cluster import Cluster
from clinical_ai.steps.cluster import verify
from tests.support.clock import Clock
from tests.support.fake_cluster import FakeCluster


class Server:
    """Prefect's API, to which workers become known in time."""

    def __init__(self) -> None:
        self.online: set[str] = set()

    def pages(self, path: str, body: object = None) -> list[dict[str, str]]:
        return [{"name": name, "status": "ONLINE"} for name in self.online if name in path]


@dataclass
class Parts:
    cluster: Cluster
    api: Server = field(default_factory=Server)


@pytest.fixture
def parts() -> Parts:
    """With one worker's pod for each pool, named by the pool."""
    fake = FakeCluster()
    for name, app in (("default", names.WORKER), ("platform", names.PLATFORM_WORKER)):
        about = {"name": name, "labels": {"app": app}}
        fake.put({"apiVersion": "v1", "kind": "Pod", "metadata": about})
    return Parts(fake.open())


def test_a_worker_that_has_just_started_is_waited_for(parts: Parts, clock: Clock) -> None:
    clock.happens(lambda: parts.api.online.add("default"), lambda: parts.api.online.add("platform"))
    assert verify._workers(cast(Any, parts)) == "default, platform"


def test_a_worker_that_does_not_become_known_is_named(parts: Parts, clock: Clock) -> None:
    parts.api.online.add("default")
    with pytest.raises(NeedsOperator, match="not online in pool platform: platform"):
        verify._workers(cast(Any, parts))
    assert clock.now == 30


def test_only_what_a_log_told_lately_counts() -> None:
    fake = FakeCluster()
    about = {"name": "server-1", "labels": {"app": names.SERVER}}
    spec = {"containers": [{"name": "prefect-server", "image": "x:1"}]}
    fake.put({"apiVersion": "v1", "kind": "Pod", "metadata": about, "spec": spec})
    assert verify._logs(cast(Any, Parts(fake.open()))) == "none in the last 60 s of each"
    [asked] = [it for it in fake.requests if it.subresource == "log"]
    assert asked.query["sinceSeconds"] == "60"
