"""One switch stops every write, and says who pulled it."""

import pytest

from clinical_ai import names
from clinical_ai.change import Did
from clinical_ai.errors import PlatformError
from clinical_ai.ports_cluster import Ref
from clinical_ai.steps.cluster.break_glass import Stopped, find_stop, guarded, resume, stop
from clinical_ai.steps.cluster.ensure import ensure_objects
from tests.support.fake_cluster import FakeCluster
from tests.support.objects import config
from tests.support.world import World


def test_a_stop_lets_nothing_be_written_until_it_is_taken_back(world: World) -> None:
    cluster, guard = world.api, guarded(world.api)
    assert find_stop(cluster) is None
    assert stop(cluster, "ann", "incident 12").did is Did.STOPPED
    assert "incident 12 (ann, 20" in str(find_stop(cluster))
    with pytest.raises(Stopped, match="incident 12") as refused:
        ensure_objects(cluster, [config(a="1")], write=True, guard=guard)
    delete = f"kubectl delete configmap {names.BREAK_GLASS} -n {cluster.namespace}"
    assert delete in refused.value.remedy
    assert cluster.find(Ref("v1", "ConfigMap", "settings")) is None
    assert resume(cluster).wrote
    assert ensure_objects(cluster, [config(a="1")], write=True, guard=guard)[0].did is Did.CREATED


def test_a_stop_between_two_writes_stops_the_second() -> None:
    fake = FakeCluster()
    cluster = fake.open()
    guard = guarded(cluster, lambda: stop(cluster, "ann", "now") and None)
    wanted = [config("a"), config("b")]
    with pytest.raises(Stopped):
        ensure_objects(cluster, wanted, write=True, guard=guard)
    assert cluster.find(Ref("v1", "ConfigMap", "a"))
    assert cluster.find(Ref("v1", "ConfigMap", "b")) is None


def test_looking_is_allowed_while_stopped(world: World) -> None:
    stop(world.api, "ann", "x")
    guard = guarded(world.api)
    changes = ensure_objects(world.api, [config(a="1")], write=False, guard=guard)
    assert changes[0].did is Did.CREATED


def test_the_first_reason_stays_and_a_bare_key_stops_too(world: World) -> None:
    stop(world.api, "ann", "first")
    assert stop(world.api, "bob", "second").did is Did.UNCHANGED
    assert "first (ann" in str(find_stop(world.api))
    assert resume(world.api).wrote
    assert resume(world.api).did is Did.UNCHANGED
    bare = {"name": names.BREAK_GLASS}
    switch = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": bare, "data": {"other": "x"}}
    world.api.create(switch)
    assert find_stop(world.api) is None
    world.api.patch(Ref("v1", "ConfigMap", names.BREAK_GLASS), {"data": {"stop": ""}})
    assert find_stop(world.api) == "no reason given"


@pytest.mark.parametrize("fault", ["down", "denied"])
def test_a_switch_that_cannot_be_read_stops_too(fault: str) -> None:
    fake = FakeCluster()
    guard = guarded(fake.open())
    if fault == "down":
        fake.down = True
    else:
        fake.denied = {("get", "configmaps")}
    with pytest.raises(PlatformError):
        guard()
