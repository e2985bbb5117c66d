"""A difference names the field, shows both values, and never a secret."""

import re
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
    [found] = differences({"a": "x" * 5000}, {"a": "y" * 5000})
    assert len(str(found)) < 2050
    assert len(str(found.short)) < 450
    assert str(found.short).startswith('.a: "xxx')


def test_of_long_texts_the_part_that_differs_is_shown() -> None:
    lines = [f"line {number}" for number in range(100)]
    before, after = "\n".join(lines), "\n".join([*lines[:50], "another", *lines[51:]])
    [found] = differences(config({"c": before}), config({"c": after}))
    assert (found.before or "").startswith("...")
    assert (found.before or "").endswith("...")
    assert str(found.before).replace("line 50", "another") == found.after
    assert len(str(found)) < 250
    assert found.short == found


def policy(*rules: Any) -> Object:
    return {"kind": "NetworkPolicy", "spec": {"ingress": list(rules)}}


def rule(*addresses: str, port: int = 4200) -> Object:
    clients = [{"ipBlock": {"cidr": each}} for each in addresses]
    return {"from": clients, "ports": [{"port": port, "protocol": "TCP"}]}


MANY = [f"10.0.{number}.0/24" for number in range(30)]


def test_of_a_list_without_keys_the_items_that_go_and_are_new_are_told() -> None:
    one, other = rule("10.0.0.0/24"), rule("10.1.0.0/24")
    new = '{"from": [{"ipBlock": {"cidr": "10.1.0.0/24"}}], '
    assert told(policy(one), policy(one, other)) == [
        f'.spec.ingress[1]: {new}"ports": [{{"port": 4200, "protocol": "TCP"}}]}} is new'
    ]
    assert told(policy(other, one), policy(one)) == [
        f'.spec.ingress[0]: {new}"ports": [{{"port": 4200, "protocol": "TCP"}}]}} goes'
    ]
    assert told(policy(rule(*MANY)), policy(rule(*MANY, "0.0.0.0/0"))) == [
        '.spec.ingress[0].from[30]: {"ipBlock": {"cidr": "0.0.0.0/0"}} is new'
    ]


def test_of_a_list_without_keys_an_item_that_changed_is_told_by_its_fields() -> None:
    before = policy(rule("10.0.0.0/24"), rule(*MANY), rule("10.1.0.0/24"))
    after = policy(rule("10.0.0.0/24"), rule(*MANY[:-1], "0.0.0.0/0"), rule("10.1.0.0/24", port=1))
    assert told(before, after) == [
        '.spec.ingress[1].from[29].ipBlock.cidr: "10.0.29.0/24" becomes "0.0.0.0/0"',
        '.spec.ingress[2].ports[port=4200]: {"port": 4200, "protocol": "TCP"} goes',
        '.spec.ingress[2].ports[port=1]: {"port": 1, "protocol": "TCP"} is new',
    ]


def test_a_list_without_keys_in_another_order_shows_it() -> None:
    rules = [rule(each) for each in MANY]
    [found] = differences(policy(*rules), policy(*rules[:20], *rules[:19:-1]))
    assert found.path == ".spec.ingress (order)"
    assert found.before != found.after


def test_of_a_text_that_holds_a_secret_the_rest_is_compared() -> None:
    one, other = (f'{{"a": {n}, "password": "{CANARY}"}}' for n in (1, 2))
    assert told(config({"c": one}), config({"c": other})) == [
        r'.data.c: "{\"a\": 1, \"password\": \"***\"}" becomes "{\"a\": 2, \"password\": \"***\"}"'
    ]
    address = "postgresql://u:{}@db/x"
    assert told(config({"c": address.format("a")}), config({"c": address.format("b")})) == [
        ".data.c: (hidden) becomes (hidden)"
    ]


_values = some.recursive(
    some.none() | some.booleans() | some.integers(0, 2) | some.sampled_from(["", "x", "y"]),
    lambda inner: (
        some.lists(inner, max_size=3)
        | some.dictionaries(some.sampled_from(["name", "a", "b.c"]), inner, max_size=3)
    ),
    max_leaves=8,
)
_long = some.lists(some.sampled_from(["a" * 300, "b" * 50, '"\n', "c"]), max_size=9).map("".join)
_secrets = some.sampled_from(
    [
        {"name": "T_PASSWORD", "value": CANARY},
        {"api-token": CANARY, "value": "x"},
        {"credentials": {"value": CANARY}},
        {"passwords": [CANARY, "x"]},
        ["--password", CANARY, "--port", "1"],
        [f"--password={CANARY}"],
        f"postgresql://u:{CANARY}@db/x",
        f"http://x?token={CANARY}",
        f"password: {CANARY}",
        f"{'a' * 300} password='a {CANARY}'",
    ]
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


def _documents(leaves: some.SearchStrategy[Any]) -> some.SearchStrategy[Object]:
    names = some.sampled_from(["a", "b.c", "name", "data", "value"])
    values = some.recursive(
        leaves | _values,
        lambda inner: some.lists(inner, max_size=4) | some.dictionaries(names, inner, max_size=3),
        max_leaves=8,
    )
    return some.dictionaries(some.sampled_from(["spec", "data"]), values, max_size=2)


@given(_documents(_long), _documents(_long))
def test_of_each_field_both_texts_differ(one: Object, other: Object) -> None:
    for found in differences(one, other):
        assert found.before != found.after
        assert found.short.before != found.short.after


@given(_documents(_secrets | _long), _documents(_secrets | _long))
def test_a_secret_is_never_shown_wherever_it_stands(one: Object, other: Object) -> None:
    found = differences(one, other)
    assert found or one == other
    assert CANARY not in repr(found)
    for each in found:
        assert each.before != each.after or each.before == "(hidden)"


@given(_documents(_long), _documents(_long))
def test_of_a_secret_no_value_is_shown(one: Object, other: Object) -> None:
    for each in differences({**one, "kind": "Secret"}, {**other, "kind": "Secret"}):
        if each.path.startswith(".data"):
            assert not re.search("a{9}|b{9}", str(each))
