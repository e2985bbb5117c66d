"""A difference names the field, shows both values, and never a secret."""

from copy import deepcopy
from typing import Any

from hypothesis import given
from hypothesis import strategies as some

from clinical_ai.object_diff import differences
from clinical_ai.ports_cluster import Object

CANARY = "hunter2"


def deployment(**container: Any) -> Object:
    spec = {"containers": [{"name": "a", "image": "x:1", **container}, {"name": "b"}]}
    about = {"name": "web", "resourceVersion": "1", "generation": 1, "managedFields": [1]}
    return {"kind": "Deployment", "metadata": about, "spec": spec, "status": {"replicas": 1}}


def told(before: Object, after: Object) -> list[str]:
    return [str(each) for each in differences(before, after)]


def test_what_the_server_keeps_for_itself_is_no_difference() -> None:
    after = deepcopy(deployment())
    after["metadata"] |= {"resourceVersion": "2", "generation": 2, "managedFields": []}
    after["status"] = {}
    assert told(deployment(), after) == []


def test_a_changed_a_new_and_a_lost_field_are_told_by_their_paths() -> None:
    before = deployment(env=[{"name": "A", "value": "1"}, {"name": "B", "value": "2"}])
    after = deployment(image="x:2", env=[{"name": "B", "value": "3"}, {"name": "C"}], tty=True)
    assert told(before, after) == [
        '.spec.containers[name=a].image: "x:1" becomes "x:2"',
        '.spec.containers[name=a].env[name=A]: {"name": "A", "value": "1"} goes',
        '.spec.containers[name=a].env[name=B].value: "2" becomes "3"',
        '.spec.containers[name=a].env[name=C]: {"name": "C"} is new',
        ".spec.containers[name=a].tty: true is new",
    ]


def test_another_order_is_a_difference_too() -> None:
    after = deployment()
    after["spec"]["containers"].reverse()
    assert told(deployment(), after) == ['.spec.containers (order): ["a", "b"] becomes ["b", "a"]']


def test_a_number_and_a_truth_value_are_not_the_same() -> None:
    assert told({"a": 1}, {"a": True}) == [".a: 1 becomes true"]


def test_values_of_a_secret_are_never_shown() -> None:
    copy = {"kubectl.kubernetes.io/last-applied-configuration": CANARY}
    for before, after in (
        ({"data": {"k": CANARY, "same": "s"}}, {"data": {"k": "new", "same": "s"}}),
        ({}, {"data": {"k": CANARY}}),
        ({"stringData": {"k": CANARY}}, {}),
        ({"metadata": {"annotations": copy}}, {"metadata": {"annotations": {"a": "b"}}}),
        ({"metadata": {"annotations": copy}}, {"metadata": {}}),
        ({"metadata": {"annotations": copy}}, {}),
    ):
        found = differences({"kind": "Secret", **before}, {"kind": "Secret", **after})
        assert found
        assert CANARY not in repr(found)
    both = {"kind": "Secret", "data": {"k": CANARY}}, {"kind": "Secret", "data": {"k": "x"}}
    assert told(*both) == [".data.k: (hidden) becomes (hidden)"]


def config(data: dict[str, str], **about: Any) -> Object:
    return {"kind": "ConfigMap", "metadata": {"name": "c", **about}, "data": data}


def test_what_somebody_else_wrote_in_clear_is_not_shown_either() -> None:
    copy = {"kubectl.kubernetes.io/last-applied-configuration": f'{{"env": "{CANARY}"}}'}
    entry = {"name": "T_PASSWORD", "value": CANARY}
    address = f"postgresql://u:{CANARY}@db/x"
    for before, after in (
        (deployment(env=[entry]), deployment(env=[])),
        (deployment(env=[entry]), deployment(env=[{**entry, "value": "x"}])),
        (deployment(env=[entry]), deployment()),
        (deployment(env=[{"name": "DATABASE", "value": address}]), deployment(env=[])),
        (config({"endpoint": address}), config({"endpoint": "http://m:9000"})),
        (config({"api-token": CANARY}), config({})),
        (config({"note": f"password={CANARY}"}), config({})),
        (config({}, annotations=copy), config({})),
    ):
        for found in (differences(before, after), differences(after, before)):
            assert found
            assert CANARY not in repr(found)


def test_which_secret_is_meant_is_shown() -> None:
    def reading(name: str) -> Object:
        key = {"secretKeyRef": {"name": name, "key": "password"}}
        return deployment(env=[{"name": "T_PASSWORD", "valueFrom": key}])

    path = ".spec.containers[name=a].env[name=T_PASSWORD].valueFrom.secretKeyRef.name"
    assert told(reading("a"), reading("b")) == [f'{path}: "a" becomes "b"']


def test_a_long_value_is_cut() -> None:
    [found] = differences({"a": "x" * 1000}, {"a": "y" * 1000})
    assert len(str(found)) < 450


_values = some.recursive(
    some.none() | some.booleans() | some.integers(0, 2) | some.sampled_from(["", "x", "y"]),
    lambda inner: (
        some.lists(inner, max_size=3)
        | some.dictionaries(some.sampled_from(["name", "a", "b.c"]), inner, max_size=3)
    ),
    max_leaves=8,
)
_objects = some.dictionaries(some.sampled_from(["spec", "data", "kind"]), _values, max_size=3)


@given(_objects)
def test_an_object_differs_from_itself_in_nothing(whole: Object) -> None:
    assert differences(whole, deepcopy(whole)) == []


@given(_objects, _objects)
def test_two_objects_that_differ_show_it_in_both_directions(one: Object, other: Object) -> None:
    there, back = differences(one, other), differences(other, one)
    assert bool(there) == bool(back)
    assert bool(there) or one == other
    assert sorted((it.path, str(it.before)) for it in there) == sorted(
        (it.path, str(it.after)) for it in back
    )
