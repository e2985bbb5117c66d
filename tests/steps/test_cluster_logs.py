"""What verify looks at in a cluster, where a single check has a rule of its own."""

from dataclasses import dataclass
from typing import Any, cast

from clinical_ai import names
from clinical_ai.ports_cluster import Cluster
from clinical_ai.steps.cluster import verify
from tests.support.fake_cluster import FakeCluster


@dataclass
class Parts:
    cluster: Cluster


def test_only_what_a_log_told_lately_counts() -> None:
    fake = FakeCluster()
    about = {"name": "server-1", "labels": {"app": names.SERVER}}
    spec = {"containers": [{"name": "prefect-server", "image": "x:1"}]}
    fake.put({"apiVersion": "v1", "kind": "Pod", "metadata": about, "spec": spec})
    assert verify._logs(cast(Any, Parts(fake.open()))) == "none in the last 60 s of each"
    [asked] = [it for it in fake.requests if it.subresource == "log"]
    assert asked.query["sinceSeconds"] == "60"
