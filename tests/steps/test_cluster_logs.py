"""What verify looks at in a cluster, where a single check has a rule of its own."""

from dataclasses import dataclass
from typing import Any, cast

import pytest

from clinical_ai import names
from clinical_ai.errors import NeedsOperator
from clinical_ai.ports_cluster import Cluster
from clinical_ai.steps.cluster import verify
from tests.support.fake_cluster import FakeCluster


@dataclass
class Parts:
    cluster: Cluster


RETRIED = """\
23:09:58.424 | ERROR   | prefect.server.utilities.messaging.memory - Failed in consume_loop
Traceback (most recent call last):
  File "memory.py", line 375, in _consume_loop
KeyError: 'a bucket'

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "session.py", line 3192, in refresh
sqlalchemy.exc.InvalidRequestError: Could not refresh instance '<AutomationBucket at 0x7f>'
"""
FAILED = """\
23:10:01.002 | ERROR   | prefect.server.services.scheduler - it ended
Traceback (most recent call last):
  File "scheduler.py", line 3, in run
"""
GAVE_UP = "23:11:00.001 | WARNING | p - Message failed after 4 retries and will be moved to the"


@pytest.fixture
def fake() -> FakeCluster:
    """With one pod of the server."""
    made = FakeCluster()
    about = {"name": "server-1", "labels": {"app": names.SERVER}}
    spec = {"containers": [{"name": "prefect-server", "image": "x:1"}]}
    made.put({"apiVersion": "v1", "kind": "Pod", "metadata": about, "spec": spec})
    return made


def look(fake: FakeCluster) -> str:
    return verify._logs(cast(Any, Parts(fake.open())))


def test_only_what_a_log_told_lately_counts(fake: FakeCluster) -> None:
    assert look(fake) == "none in the last 60 s of each"
    [asked] = [it for it in fake.requests if it.subresource == "log"]
    assert asked.query["sinceSeconds"] == "60"


def test_an_event_that_prefect_handles_once_more_is_no_error(fake: FakeCluster) -> None:
    log = ("server-1", "prefect-server", False)
    fake.logs[log] = RETRIED
    assert look(fake) == "none in the last 60 s of each"
    for more, found in ((FAILED, 2), (f"{GAVE_UP} dead letter queue\n", 1)):
        fake.logs[log] = RETRIED + more + RETRIED
        with pytest.raises(NeedsOperator, match=f"{found} in server-1"):
            look(fake)
