"""What is wanted no more goes, only what is ours, and a kill anywhere leaves nothing unlisted."""

from typing import Any

import pytest

from clinical_ai import names
from clinical_ai.change import Did
from clinical_ai.errors import NeedsOperator, PlatformError
from clinical_ai.ports_cluster import Object, Ref
from clinical_ai.steps.cluster.inventory import Ownership, read_inventory
from clinical_ai.steps.cluster.reconcile import Reconciled, reconcile
from tests.support.clock import Clock
from tests.support.fake_cluster import FakeCluster, Request
from tests.support.fake_refusals import Refusal
from tests.support.objects import LABELS, config
from tests.support.world import World

OURS = Ownership(LABELS, limit=3)


def run(api: Any, *wanted: str, write: bool = True, **more: Any) -> Reconciled:
    return reconcile(api, [config(name, a="1") for name in wanted], OURS, write=write, **more)


def there(api: Any) -> set[str]:
    """Ours, but for the inventory itself."""
    rows = api.find_all("v1", "ConfigMap", labels=LABELS)
    return {row["metadata"]["name"] for row in rows} - {names.INVENTORY}


def listed(api: Any) -> list[str]:
    return [ref.name for ref in read_inventory(api, OURS).uids]


def did(done: Reconciled) -> dict[str, Did]:
    return {change.what: change.did for change in done.changes}


def test_what_is_wanted_no_more_goes_and_the_rest_stays(world: World) -> None:
    run(world.api, "a", "b", "c")
    assert listed(world.api) == ["a", "b", "c"]
    done = run(world.api, "a", "d")
    assert did(done) == {
        "ConfigMap a": Did.UNCHANGED,
        "ConfigMap d": Did.CREATED,
        "ConfigMap c": Did.REMOVED,
        "ConfigMap b": Did.REMOVED,
        f"ConfigMap {names.INVENTORY}": Did.UPDATED,
    }
    assert there(world.api) == {"a", "d"}
    assert listed(world.api) == ["a", "d"]


def test_the_second_time_nothing_is_written(world: World) -> None:
    run(world.api, "a", "b")

    def refuse() -> None:
        raise AssertionError

    done = run(world.api, "a", "b", guard=refuse)
    assert not any(change.wrote for change in done.changes)


def test_looking_tells_what_would_go_and_leaves_it(world: World) -> None:
    run(world.api, "a", "b")
    assert did(run(world.api, "a", write=False))["ConfigMap b"] is Did.REMOVED
    assert there(world.api) == {"a", "b"}
    assert listed(world.api) == ["a", "b"]


def test_the_inventory_knows_each_object_by_its_uid(world: World) -> None:
    run(world.api, "a")
    found = world.api.get(Ref("v1", "ConfigMap", "a"))
    assert list(read_inventory(world.api, OURS).uids.values()) == [found["metadata"]["uid"]]


def test_what_is_not_ours_any_more_is_left_alone_and_forgotten(world: World) -> None:
    run(world.api, "a", "relabelled", "remade")
    relabelled, remade = (Ref("v1", "ConfigMap", name) for name in ("relabelled", "remade"))
    world.api.patch(relabelled, {"metadata": {"labels": {"app": "theirs"}}})
    world.api.delete(remade, uid=world.api.get(remade)["metadata"]["uid"])
    world.other("kubectl").create(config("remade", theirs="x"))
    done = run(world.api, "a")
    assert did(done)["ConfigMap remade"] is did(done)["ConfigMap relabelled"] is Did.UNCHANGED
    assert world.api.find(relabelled)
    assert world.api.get(remade)["data"] == {"theirs": "x"}
    assert listed(world.api) == ["a"]


def test_what_somebody_deleted_is_forgotten(world: World) -> None:
    run(world.api, "a", "b")
    gone = Ref("v1", "ConfigMap", "b")
    world.api.delete(gone, uid=world.api.get(gone)["metadata"]["uid"])
    assert "ConfigMap b" not in did(run(world.api, "a"))
    assert listed(world.api) == ["a"]


def test_nothing_wanted_and_too_many_to_go_are_refused(world: World) -> None:
    run(world.api, "a", "b", "c", "d", "e")
    with pytest.raises(NeedsOperator, match="everything would be deleted"):
        run(world.api)
    with pytest.raises(NeedsOperator, match="4 objects would be deleted, 3 at once are allowed"):
        run(world.api, "a", "new")
    looked = did(run(world.api, "a", write=False))
    assert list(looked.values()).count(Did.REMOVED) == 4
    assert there(world.api) == {"a", "b", "c", "d", "e"}
    more = Ownership(LABELS, limit=4)
    reconcile(world.api, [config("a", a="1")], more, write=True)
    assert there(world.api) == {"a"}


def test_of_its_own_objects_bootstrap_names_nobody_to_ask() -> None:
    cluster, own = FakeCluster().open(), Ownership(LABELS, 0, names.RIGHTS_INVENTORY)
    reconcile(cluster, [config("a"), config("b")], own, write=True)
    with pytest.raises(NeedsOperator, match="1 objects would be deleted") as refused:
        reconcile(cluster, [config("a")], own, write=True)
    assert refused.value.remedy.endswith("set kubernetes.prune-limit to 1 for that time")


def test_what_could_not_be_deleted_stays_in_the_inventory_and_goes_the_next_time() -> None:
    fake = FakeCluster()
    cluster = fake.open()
    run(cluster, "a", "b", "c")
    fake.denied = {("delete", "configmaps")}
    done = run(cluster, "a")
    assert len(done.faults) == 2
    assert isinstance(done.faults[0], NeedsOperator)
    assert listed(cluster) == ["a", "b", "c"]
    fake.denied = set()
    assert run(cluster, "a").faults == []
    assert (there(cluster), listed(cluster)) == ({"a"}, ["a"])


def keep(fake: FakeCluster, name: str, *finalizers: str) -> None:
    """By a controller that takes its finalizers away after an object's deletion."""
    finalized = {"finalizers": list(finalizers)}
    fake.edit("ConfigMap", name, "controller", lambda it: it["metadata"].update(finalized))


def deletes(fake: FakeCluster) -> int:
    return sum(it.verb == "delete" for it in fake.requests)


def test_what_finalizers_keep_stays_in_the_inventory_until_it_has_gone(clock: Clock) -> None:
    fake = FakeCluster()
    cluster = fake.open()
    run(cluster, "a", "b")
    keep(fake, "b", "x.test/clean", "y.test/tell")
    for _ in range(2):
        done = run(cluster, "a")
        [fault] = done.faults
        assert "ConfigMap b is wanted no more and is being deleted" in str(fault)
        assert "x.test/clean, y.test/tell" in str(fault)
        assert "ConfigMap b" not in did(done)
        assert listed(cluster) == ["a", "b"]
    assert deletes(fake) == 1
    assert clock.now < 10  # it is waited for once
    looked = did(run(cluster, "a", write=False))
    assert looked["ConfigMap b"] is Did.UNCHANGED
    none = Ownership(LABELS, limit=0)  # it was allowed before
    assert len(reconcile(cluster, [config("a", a="1")], none, write=True).faults) == 1
    keep(fake, "b")
    assert run(cluster, "a").faults == []
    assert (there(cluster), listed(cluster)) == ({"a"}, ["a"])
    assert deletes(fake) == 1


@pytest.mark.parametrize("finalizer", ["orphan", "x.test/clean"])
def test_what_takes_a_moment_to_go_is_no_fault(clock: Clock, finalizer: str) -> None:
    """Somebody cleans up after it; the garbage collector lets go of what it made."""
    fake = FakeCluster()
    cluster = fake.open()
    run(cluster, "a", "b")
    keep(fake, "b", finalizer)
    clock.happens(lambda: None, lambda: keep(fake, "b"))
    done = run(cluster, "a")
    assert (done.faults, did(done)["ConfigMap b"]) == ([], Did.REMOVED)
    assert listed(cluster) == ["a"]


def test_an_inventory_that_somebody_broke_is_told_and_nothing_goes(world: World) -> None:
    run(world.api, "a", "b")
    world.api.patch(Ref("v1", "ConfigMap", names.INVENTORY), {"data": {"objects.json": "oops"}})
    with pytest.raises(NeedsOperator, match=f"ConfigMap {names.INVENTORY} is no list"):
        run(world.api, "a")
    assert there(world.api) == {"a", "b"}


def test_a_kind_that_is_not_served_any_more_has_no_object_left() -> None:
    fake = FakeCluster()
    fake.serve("x.test/v1", "Thing", "things")
    cluster = fake.open()
    thing: Object = {"apiVersion": "x.test/v1", "kind": "Thing"}
    thing["metadata"] = {"name": "t", "labels": LABELS}
    reconcile(cluster, [config("a"), thing], OURS, write=True)
    fake.served = [it for it in fake.served if it.kind != "Thing"]
    again = fake.open()
    assert reconcile(again, [config("a")], OURS, write=True).faults == []
    assert listed(again) == ["a"]


def test_a_namespace_comes_before_the_inventory_that_stands_in_it() -> None:
    fake = FakeCluster()
    space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "new"}}
    cluster = fake.open("new")
    done = reconcile(cluster, [space, config("a")], OURS, write=True)
    assert [change.did for change in done.changes] == [Did.CREATED] * 3
    assert len(listed(cluster)) == 2


@pytest.mark.parametrize("after", range(8))
def test_a_kill_before_any_write_is_healed_by_the_next_run(after: int) -> None:
    fake = FakeCluster()
    cluster = fake.open()
    run(cluster, "a", "b")

    def dies(_: Request) -> None:
        if len(fake.writes) > after:
            raise Refusal(500, "Killed", "killed")

    fake.requests.clear()
    fake.on_write = dies
    try:
        run(cluster, "b", "c")
    except PlatformError:
        assert there(cluster) <= set(listed(cluster)) | {"a", "b", "c"}
        assert there(cluster) <= set(listed(cluster))
    fake.on_write = lambda _: None
    run(cluster, "b", "c")
    assert there(cluster) == {"b", "c"}
    assert listed(cluster) == ["b", "c"]
    run(cluster, "b")  # and what a killed run made is known by name alone
    assert there(cluster) == {"b"}


def test_what_may_not_be_written_is_listed_and_neither_looked_at_nor_removed() -> None:
    fake = FakeCluster()
    api = fake.open()
    run(api, "a", "b")
    fake.requests.clear()
    for write in (False, True):
        done = run(api, "a", write=write, kept=[Ref("v1", "ConfigMap", "b")])
        assert "ConfigMap b" not in did(done)
    assert there(api) == {"a", "b"}
    assert listed(api) == ["a", "b"]
    assert not any(it.name == "b" for it in fake.requests)
