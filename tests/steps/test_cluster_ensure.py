"""Objects become as wanted with no write too many, and nobody's fields are taken."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest

from clinical_ai.change import Did
from clinical_ai.errors import NeedsOperator
from clinical_ai.ports_cluster import Changed, FieldConflict, Invalid, NotServed, Object, Ref
from clinical_ai.steps.cluster.ensure import ObjectChange, ensure_objects
from tests.support.fake_cluster import FakeCluster
from tests.support.objects import config, deployment, secret
from tests.support.world import World

CONFIG, WEB = Ref("v1", "ConfigMap", "settings"), Ref("apps/v1", "Deployment", "web")
HOSTED = {"name": "web", "image": "localhost:5000/nothing:1"}


def several() -> list[Object]:
    return [config(a="1"), config("more", b="2"), secret(key="s"), deployment(replicas=2)]


def did(changes: list[ObjectChange]) -> list[Did]:
    return [change.did for change in changes]


def versions(world: World, wanted: list[Object]) -> list[str]:
    found = [world.api.get(Ref.of(each)) for each in wanted]
    return [each["metadata"]["resourceVersion"] for each in found if each["kind"] != "Deployment"]


def test_the_second_time_nothing_is_written(world: World) -> None:
    made = ensure_objects(world.api, several(), write=True)
    assert did(made) == [Did.CREATED] * 4
    before = versions(world, several())
    again = ensure_objects(world.api, several(), write=True)
    assert did(again) == [Did.UNCHANGED] * 4
    assert versions(world, several()) == before
    assert [each.uid for each in again] == [each.uid for each in made]


def test_equal_objects_cost_one_dry_run_each_and_one_list_a_kind() -> None:
    fake = FakeCluster()
    accounts = [{**config(str(n)), "kind": "ServiceAccount"} for n in range(10)]
    for each in accounts:
        del each["data"]
    cluster, wanted = fake.open(), [*accounts, secret(a="b")]
    ensure_objects(cluster, wanted, write=True)
    fake.requests.clear()
    assert did(ensure_objects(cluster, wanted, write=True)) == [Did.UNCHANGED] * 11
    asked = [str(request) for request in fake.requests]
    assert asked[:2] == ["list serviceaccounts/", "get secrets/credentials"]
    assert all("dry run" in each for each in asked[2:])
    assert len(asked) == 2 + 11


@pytest.mark.parametrize("make", [secret, config])
def test_what_may_hold_anybodys_data_is_never_listed(make: Callable[[str], Object]) -> None:
    fake = FakeCluster()
    ensure_objects(fake.open(), [make("a"), make("b")], write=True)
    assert "list" not in [it.verb for it in fake.requests]


def test_looking_tells_the_same_changes_and_writes_nothing(world: World) -> None:
    ensure_objects(world.api, several(), write=True)
    wanted = [config(a="2"), config("new"), *several()[1:]]
    before = versions(world, several())
    looked = ensure_objects(world.api, wanted, write=False)
    assert did(looked) == [Did.UPDATED, Did.CREATED] + [Did.UNCHANGED] * 3
    assert versions(world, several()) == before
    done = ensure_objects(world.api, wanted, write=True)
    assert did(done) == did(looked)
    assert [each.fields for each in done] == [each.fields for each in looked]


def test_a_change_names_the_fields_and_no_value_of_a_secret(world: World) -> None:
    ensure_objects(world.api, several(), write=True)
    wanted = [config(a="2", c="3"), secret(key="hunter2")]
    told = [str(change) for change in ensure_objects(world.api, wanted, write=True)]
    assert told[0] == (
        'ConfigMap settings: updated (.data.a: "1" becomes "2"; .data.c: "3" is new)'
    )
    assert told[1] == "Secret credentials: updated (.data.key: (hidden) becomes (hidden))"


def test_a_line_tells_the_first_fields_and_a_report_all_of_them() -> None:
    cluster = FakeCluster().open()
    names = [f"a{number}" for number in range(9)]
    ensure_objects(cluster, [config(**dict.fromkeys(names, "1"))], write=True)
    [change] = ensure_objects(cluster, [config(**dict.fromkeys(names, "2"))], write=False)
    assert sorted(change.details) == [f'.data.{name}: "1" becomes "2"' for name in names]
    assert change.detail == "; ".join([*change.details[:5], "and 4 more fields"])


def test_a_report_of_very_many_fields_ends_with_how_many_more_there_are() -> None:
    cluster, names = FakeCluster().open(), [f"a{number}" for number in range(2000)]
    ensure_objects(cluster, [config(**dict.fromkeys(names, "x" * 500))], write=True)
    [change] = ensure_objects(cluster, [config(**dict.fromkeys(names, "y" * 500))], write=False)
    assert 1 < len(change.details) < len(names)
    assert change.details[-1] == f"and {len(names) - len(change.details) + 1} more fields"
    assert len("".join(change.details)) < 21_000
    assert len(change.detail) < 2200


@pytest.mark.parametrize(
    "damage",
    [
        lambda api: api.delete(CONFIG, uid=api.get(CONFIG)["metadata"]["uid"]),
        lambda api: api.patch(CONFIG, {"data": {"a": None}}),
        lambda api: api.patch(CONFIG, {"metadata": {"labels": None}}),
    ],
    ids=["deleted", "a field lost", "labels lost"],
)
def test_damage_is_healed(world: World, damage: Callable[[Any], object]) -> None:
    ensure_objects(world.api, several(), write=True)
    damage(world.other("kubectl-edit"))
    [change, *others] = ensure_objects(world.api, several(), write=True)
    assert change.wrote
    assert not any(each.wrote for each in others)
    found = world.api.get(CONFIG)
    assert (found["data"], found["metadata"]["labels"]) == ({"a": "1"}, {"app": "contract"})


def test_what_others_added_is_no_difference(world: World) -> None:
    ensure_objects(world.api, several(), write=True)
    theirs = {"metadata": {"annotations": {"mesh": "on"}}, "data": {"theirs": "x"}}
    world.other("mesh").patch(CONFIG, theirs)
    assert not any(each.wrote for each in ensure_objects(world.api, several(), write=True))
    assert world.api.get(CONFIG)["data"] == {"a": "1", "theirs": "x"}


def test_a_field_of_somebody_else_is_left_alone_and_told_and_the_rest_is_applied(
    world: World,
) -> None:
    ensure_objects(world.api, several(), write=True)
    theirs = {"spec": {"template": {"spec": {"containers": [{**HOSTED, "image": "other:1"}]}}}}
    world.other("kubectl-set").patch(WEB, theirs)
    wanted = deployment(minReadySeconds=7)
    for write in (False, True):
        [change] = ensure_objects(world.api, [wanted], write=write)
        image = '.spec.template.spec.containers[name="web"].image'
        assert change.conflicts == (FieldConflict(image, "kubectl-set"),)
        assert f"left alone: {image} belongs to kubectl-set" in change.detail
        assert change.details[-1] == f"left alone: {image} belongs to kubectl-set"
    found = world.api.get(WEB)
    assert found["spec"]["template"]["spec"]["containers"][0]["image"] == "other:1"
    assert found["spec"]["minReadySeconds"] == 7
    [again] = ensure_objects(world.api, [wanted], write=True)
    assert (again.did, len(again.conflicts)) == (Did.UNCHANGED, 1)


def referring() -> Object:
    """A workload that takes a variable from a ConfigMap."""
    wanted = deployment()
    reference = {"configMapKeyRef": {"name": "settings", "key": "a"}}
    [container] = wanted["spec"]["template"]["spec"]["containers"]
    container["env"] = [{"name": "C", "valueFrom": reference}]
    return wanted


def set_variable(world: World) -> None:
    """What `kubectl set env` does: a value takes the place of the reference."""
    theirs = {**HOSTED, "env": [{"name": "C", "value": "theirs"}]}
    body: Object = {"spec": {"template": {"spec": {"containers": [theirs]}}}}
    world.other("kubectl-set").patch(WEB, body)


def test_an_object_in_which_somebody_excludes_a_field_of_ours_is_left_alone_and_told(
    world: World,
) -> None:
    ensure_objects(world.api, [config(a="1"), referring()], write=True)
    set_variable(world)
    before = world.api.get(WEB)
    for write in (False, True):
        left, other = ensure_objects(world.api, [referring(), config(a=f"new{write}")], write=write)
        assert (left.did, left.contested) == (Did.UNCHANGED, True)
        assert [each.manager for each in left.conflicts] == ["kubectl-set"]
        assert "left alone: beside fields of kubectl-set it is not valid: " in left.detail
        assert left.details == [left.detail]
        assert "env[0].valueFrom: Invalid value, may not be specified when" in left.detail
        assert other.did is Did.UPDATED
    assert world.api.get(WEB)["spec"] == before["spec"]


def test_an_object_that_is_invalid_by_itself_is_refused_whoever_else_has_a_part_in_it(
    world: World,
) -> None:
    ensure_objects(world.api, [referring()], write=True)
    set_variable(world)
    wrong = referring()
    wrong["spec"]["template"]["metadata"]["labels"] = {"app": "other"}
    with pytest.raises(Invalid, match="is not valid"):
        ensure_objects(world.api, [wrong], write=False)


def test_an_invalid_object_in_which_nobody_else_has_a_part_is_refused(world: World) -> None:
    ensure_objects(world.api, [referring()], write=True)
    wrong = referring()
    wrong["spec"]["template"]["spec"]["containers"][0]["env"][0]["value"] = "x"
    with pytest.raises(Invalid, match=r"valueFrom"):
        ensure_objects(world.api, [wrong], write=False)


@pytest.mark.parametrize("manager", ["kubectl", "kube-controller-manager"])  # of autoscalers
def test_replicas_are_set_at_creation_and_never_again(world: World, manager: str) -> None:
    ensure_objects(world.api, [deployment(replicas=2)], write=True)
    assert world.api.get(WEB)["spec"]["replicas"] == 2
    scaled = {"spec": {"replicas": 4}}
    world.other(manager).patch(WEB, scaled, subresource="scale")
    [change] = ensure_objects(world.api, [deployment(replicas=1)], write=True)
    assert (change.did, change.conflicts) == (Did.UNCHANGED, ())
    assert world.api.get(WEB)["spec"]["replicas"] == 4


def test_replicas_that_a_kill_left_unset_are_set_the_next_time() -> None:
    fake = FakeCluster()
    cluster = fake.open()

    def killed() -> None:
        if len(fake.writes) == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ensure_objects(cluster, [deployment(replicas=3)], write=True, guard=killed)
    assert fake.look("Deployment", "web")["spec"]["replicas"] == 1
    ensure_objects(cluster, [deployment(replicas=3)], write=True)
    assert fake.look("Deployment", "web")["spec"]["replicas"] == 3


def test_the_guard_is_asked_before_each_write_and_stops_it() -> None:
    fake = FakeCluster()
    cluster = fake.open()

    def refuse() -> None:
        raise NeedsOperator("stopped", "")

    with pytest.raises(NeedsOperator, match="stopped"):
        ensure_objects(cluster, several(), write=True, guard=refuse)
    assert fake.writes == []
    asked: list[int] = []
    ensure_objects(cluster, several(), write=True, guard=lambda: asked.append(len(fake.writes)))
    assert asked == list(range(len(fake.writes)))
    ensure_objects(cluster, several(), write=True, guard=refuse)


def test_what_would_stand_in_a_namespace_to_come_can_be_looked_at(world: World) -> None:
    name = f"{world.api.namespace}-new"
    space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    inside = config(a="1")
    inside["metadata"]["namespace"] = name
    assert did(ensure_objects(world.api, [space, inside], write=False)) == [Did.CREATED] * 2
    with pytest.raises(NeedsOperator, match=f"kubectl create namespace {name}"):
        ensure_objects(world.api, [inside], write=False)


def test_an_invalid_object_is_refused_when_it_is_only_looked_at(world: World) -> None:
    wanted = deepcopy(deployment())
    wanted["spec"]["replica"] = 1
    with pytest.raises(NeedsOperator, match=r"spec\.replica: unknown field"):
        ensure_objects(world.api, [wanted], write=False)


def test_what_is_being_deleted_is_not_taken_for_what_is_there(world: World) -> None:
    held = config(a="1")
    held["metadata"]["finalizers"] = ["test.example/hold"]
    uid = world.api.apply(held)["metadata"]["uid"]
    world.api.delete(CONFIG, uid=uid)
    for write in (False, True):
        with pytest.raises(Changed, match="ConfigMap settings is being deleted") as refused:
            ensure_objects(world.api, [config(a="1")], write=write)
        assert "kept by finalizers: test.example/hold; it is made anew" in str(refused.value)
    world.api.patch(CONFIG, {"metadata": {"finalizers": None}})
    assert did(ensure_objects(world.api, [config(a="1")], write=True)) == [Did.CREATED]


@pytest.mark.parametrize("write", [False, True])
def test_what_somebody_deletes_between_two_looks_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, *, write: bool
) -> None:
    fake = FakeCluster()
    cluster, place = fake.open(), ("v1", "ConfigMap", "default", "settings")
    ensure_objects(cluster, [config(a="1")], write=True)
    find = cluster.find

    def find_and_delete(ref: Ref) -> Object | None:
        found = find(ref)
        fake.objects.all.pop(place, None)
        return found

    monkeypatch.setattr(cluster, "find", find_and_delete)
    with pytest.raises(Changed, match="ConfigMap settings was deleted meanwhile"):
        ensure_objects(cluster, [config(a="1")], write=write)
    assert did(ensure_objects(cluster, [config(a="1")], write=True)) == [Did.CREATED]


def test_a_field_that_can_not_change_is_told_with_the_way_out(world: World) -> None:
    held = {**config(a="1"), "immutable": True}
    ensure_objects(world.api, [held], write=True)
    wanted = {**held, "data": {"a": "2"}}
    with pytest.raises(NeedsOperator, match="immutable") as refused:
        ensure_objects(world.api, [wanted], write=False)
    assert "delete ConfigMap" in refused.value.remedy


def test_a_kind_that_is_not_served_is_named(world: World) -> None:
    thing = {"apiVersion": "nowhere.test/v1", "kind": "Thing", "metadata": {"name": "x"}}
    with pytest.raises(NotServed, match=r"no Thing of nowhere\.test/v1"):
        ensure_objects(world.api, [thing], write=False)
