"""What a Cluster promises: asked of the server in memory, and of a real one by `make e2e`."""

import pickle
import traceback
from contextlib import suppress
from typing import Any
from uuid import uuid4

import pytest

from clinical_ai.errors import NeedsOperator
from clinical_ai.ports_cluster import (
    Changed,
    Cluster,
    Conflicts,
    FieldConflict,
    Forbidden,
    Invalid,
    NotServed,
    Object,
    Permission,
    Ref,
)
from tests.support.objects import config, deployment, secret
from tests.support.world import World

CANARY = "c2VjcmV0LWNhbmFyeQ"
DEPLOYMENT = Ref("apps/v1", "Deployment", "web")
CONFIG = Ref("v1", "ConfigMap", "settings")


@pytest.fixture
def cluster(world: World) -> Cluster:
    return world.api


def container_of(found: Object) -> Any:
    return found["spec"]["template"]["spec"]["containers"][0]


def env_of(found: Object) -> dict[str, str]:
    return {each["name"]: each["value"] for each in container_of(found).get("env", [])}


def version_of(found: Object) -> str:
    return str(found["metadata"]["resourceVersion"])


# Reading.


def test_what_is_absent_is_none_to_find_and_an_error_to_get(cluster: Cluster) -> None:
    assert cluster.find(CONFIG) is None
    assert cluster.find(Ref("v1", "Namespace", "contract-nowhere")) is None
    with pytest.raises(NeedsOperator, match="ConfigMap settings does not exist"):
        cluster.get(CONFIG)


def test_what_stands_about_an_object_is_found_without_its_content(cluster: Cluster) -> None:
    ref = Ref("v1", "Secret", "keys")
    assert cluster.find_metadata(ref) is None
    cluster.create(secret("keys", key=CANARY))
    found = cluster.find_metadata(ref)
    assert found is not None
    assert Ref.of(found).short == "Secret keys"
    assert CANARY not in str(found)
    assert "f:key" in str(found["metadata"]["managedFields"])


def test_an_object_is_found_with_its_kind_and_namespace(cluster: Cluster) -> None:
    cluster.apply(config(a="1"))
    found = cluster.get(CONFIG)
    assert (found["kind"], found["apiVersion"], found["data"]) == ("ConfigMap", "v1", {"a": "1"})
    assert Ref.of(found) == Ref("v1", "ConfigMap", "settings", cluster.namespace)
    assert cluster.find(Ref.of(found)) == found


def test_an_object_without_a_namespace_is_found(cluster: Cluster) -> None:
    found = cluster.get(Ref("v1", "Namespace", cluster.namespace))
    assert Ref.of(found) == Ref("v1", "Namespace", cluster.namespace)


def test_a_list_holds_those_with_the_labels_and_each_says_its_kind(cluster: Cluster) -> None:
    for name in ("a", "b"):
        cluster.apply(config(name))
    other = config("c")
    other["metadata"]["labels"] = {"app": "other"}
    cluster.apply(other)
    found = cluster.find_all("v1", "ConfigMap", labels={"app": "contract"})
    assert [Ref.of(each).name for each in found] == ["a", "b"]
    assert {each["kind"] for each in found} == {"ConfigMap"}
    assert cluster.find_all("v1", "ConfigMap", labels={"app": "contract", "more": "x"}) == []
    named = cluster.find_all("v1", "ConfigMap", fields={"metadata.name": "c"})
    assert [Ref.of(each).name for each in named] == ["c"]


def test_a_list_longer_than_a_page_comes_whole(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clinical_ai.adapters.kubernetes_api._PAGE", 2)
    for number in range(5):
        cluster.apply(config(f"c{number}"))
    found = cluster.find_all("v1", "ConfigMap", labels={"app": "contract"})
    assert [Ref.of(each).name for each in found] == [f"c{number}" for number in range(5)]


def test_a_list_of_the_whole_cluster_holds_what_is_in_other_namespaces(world: World) -> None:
    if world.fake is not None:
        about = {"name": "kubernetes", "namespace": "default"}
        world.fake.put({"apiVersion": "v1", "kind": "Service", "metadata": about})
    named = {"metadata.name": "kubernetes"}
    found = world.api.find_all("v1", "Service", fields=named, namespace=None)
    assert Ref("v1", "Service", "kubernetes", "default") in map(Ref.of, found)
    assert world.api.find_all("v1", "Service", fields=named) == []


def test_who_may_list_in_a_namespace_may_not_therefore_list_the_whole_cluster(
    world: World,
) -> None:
    rules = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list"]}]
    little = world.may_only(rules, set())
    little.find_all("v1", "ConfigMap")
    with pytest.raises(Forbidden, match="may not list configmaps in the whole cluster"):
        little.find_all("v1", "ConfigMap", namespace=None)


def test_kinds_that_are_not_served_are_told(cluster: Cluster) -> None:
    assert cluster.serves("apps/v1", "Deployment")
    assert not cluster.serves("apps/v1", "Nothing")
    assert not cluster.serves("nowhere.test/v1", "Thing")
    with pytest.raises(NotServed, match=r"serves no Thing of nowhere\.test/v1"):
        cluster.find(Ref("nowhere.test/v1", "Thing", "x"))


def test_the_version_is_two_numbers(cluster: Cluster) -> None:
    assert (1, 24) < cluster.version() < (2, 0)


# Applying.


def test_applying_creates_and_applying_the_same_again_writes_nothing(cluster: Cluster) -> None:
    made = cluster.apply(config(a="1"))
    assert cluster.apply(config(a="1")) == made
    deployed = cluster.apply(deployment())
    again = cluster.apply(deployment())  # its controller writes its status meanwhile
    assert again["metadata"]["uid"] == deployed["metadata"]["uid"]
    assert again["metadata"]["generation"] == deployed["metadata"]["generation"] == 1


def test_a_change_is_a_new_version_and_of_the_spec_a_new_generation(cluster: Cluster) -> None:
    made = cluster.apply(config(a="1"))
    assert version_of(cluster.apply(config(a="2"))) != version_of(made)
    cluster.apply(deployment())
    labelled = deployment()
    labelled["metadata"]["labels"]["a"] = "b"
    assert cluster.apply(labelled)["metadata"]["generation"] == 1
    assert cluster.apply(deployment(minReadySeconds=5))["metadata"]["generation"] == 2


def test_a_dry_run_shows_the_object_as_it_would_be_and_writes_nothing(cluster: Cluster) -> None:
    cluster.apply(config(a="1"), dry_run=True)
    assert cluster.find(CONFIG) is None
    made = cluster.apply(config(a="1"))
    would = cluster.apply(config(a="2", b="3"), dry_run=True)
    assert would["data"] == {"a": "2", "b": "3"}
    assert cluster.get(CONFIG) == made
    assert cluster.apply(config(a="1"), dry_run=True) == made


def test_defaults_are_filled_in_and_are_no_difference_the_next_time(cluster: Cluster) -> None:
    made = cluster.apply(deployment())
    assert made["spec"]["progressDeadlineSeconds"] == 600
    assert made["spec"]["replicas"] == 1
    assert container_of(made)["ports"][0]["protocol"] == "TCP"
    assert cluster.apply(deployment(), dry_run=True)["spec"] == made["spec"]


def test_a_field_that_is_not_wanted_any_more_goes(cluster: Cluster) -> None:
    cluster.apply(config(a="1", b="2"))
    assert cluster.apply(config(b="2"))["data"] == {"b": "2"}
    wanted = deployment()
    cluster.apply(wanted)
    del container_of(wanted)["env"][0]
    assert env_of(cluster.apply(wanted)) == {"B": "2"}


def test_what_others_added_stays(world: World) -> None:
    cluster = world.api
    cluster.apply(config(a="1"))
    world.other("kubectl-edit").patch(CONFIG, {"data": {"theirs": "x"}})
    assert cluster.apply(config(a="2"))["data"] == {"a": "2", "theirs": "x"}
    assert cluster.apply(config())["data"] == {"theirs": "x"}


def test_a_field_that_somebody_else_set_is_a_conflict_and_nothing_is_written(world: World) -> None:
    cluster = world.api
    made = cluster.apply(config(a="1", b="1"))
    world.other("kubectl-edit").patch(CONFIG, {"data": {"a": "theirs"}})
    for dry_run in (True, False):
        with pytest.raises(Conflicts) as refused:
            cluster.apply(config(a="2", b="2"), dry_run=dry_run)
        assert refused.value.conflicts == (FieldConflict(".data.a", "kubectl-edit"),)
        assert refused.value.ref == CONFIG
    assert cluster.get(CONFIG)["data"] == {"a": "theirs", "b": "1"}
    assert version_of(cluster.get(CONFIG)) != version_of(made)


def test_a_conflict_in_a_list_names_the_item(world: World) -> None:
    cluster = world.api
    cluster.apply(deployment())
    env = [{"name": "A", "value": "theirs"}, {"name": "C", "value": "3"}]
    theirs = deployment()
    container_of(theirs)["env"] = env
    with pytest.raises(Conflicts) as refused:
        world.other("another").apply(theirs)
    path = '.spec.template.spec.containers[name="web"].env[name="A"].value'
    assert refused.value.conflicts == (FieldConflict(path, "clinical-ai-prefect"),)


def test_two_who_want_the_same_value_are_in_no_conflict(world: World) -> None:
    cluster = world.api
    cluster.apply(config(a="1"))
    world.other("another").apply(config(a="1"))
    assert cluster.apply(config())["data"] == {"a": "1"}


def test_replicas_that_were_scaled_by_somebody_else_are_theirs(world: World) -> None:
    cluster = world.api
    ours = {**deployment(), "spec": {"replicas": 1}}
    cluster.apply(deployment())
    cluster.apply(ours, manager="clinical-ai-prefect-scale")
    world.other("kubectl").patch(DEPLOYMENT, {"spec": {"replicas": 3}}, subresource="scale")
    assert cluster.apply(deployment())["spec"]["replicas"] == 3
    with pytest.raises(Conflicts) as refused:
        cluster.apply(ours, manager="clinical-ai-prefect-scale")
    assert refused.value.conflicts == (FieldConflict(".spec.replicas", "kubectl"),)


def test_scaling_what_nobody_owns_leaves_no_owner(world: World) -> None:
    """Which is why `replicas` gets one when the object is made."""
    cluster = world.api
    cluster.apply(deployment())
    world.other("kubectl").patch(DEPLOYMENT, {"spec": {"replicas": 3}}, subresource="scale")
    owners = {each["manager"] for each in cluster.get(DEPLOYMENT)["metadata"]["managedFields"]}
    assert "kubectl" not in owners


def test_conflicts_survive_pickling() -> None:
    told = Conflicts(CONFIG, [FieldConflict(".data.a", "kubectl")])
    again = pickle.loads(pickle.dumps(told))  # noqa: S301 - our own
    assert (again.ref, again.conflicts, str(again)) == (CONFIG, told.conflicts, str(told))
    lost = pickle.loads(pickle.dumps(NotServed("a/v1", "B")))  # noqa: S301 - our own
    assert "serves no B of a/v1" in str(lost)


# Refusals.


@pytest.mark.parametrize("dry_run", [True, False])
def test_an_unknown_field_is_refused_by_name(cluster: Cluster, dry_run: bool) -> None:
    with pytest.raises(NeedsOperator, match=r"web is not valid: .*spec\.replica: unknown field"):
        cluster.apply(deployment(replica=CANARY), dry_run=dry_run)
    assert cluster.find(DEPLOYMENT) is None
    with pytest.raises(NeedsOperator, match=r"spec\.replica: unknown field"):
        cluster.create(deployment(replica=CANARY))


def test_a_wrong_type_or_value_is_refused_by_field_and_never_repeated(cluster: Cluster) -> None:
    cluster.apply(secret(a="b"))
    wrong: list[tuple[Object, str]] = [
        (deployment(replicas=CANARY), r"spec\.replicas"),
        (deployment(selector={"matchLabels": {"app": CANARY}}), r"selector|template"),
        ({**secret(), "data": {"key": CANARY + "%"}}, "data"),
        ({**secret(), "data": {"key": {"inner": CANARY}}}, r"data"),
        ({**secret(), "data": {"key/bad": CANARY + "=="}}, r"data\[key/bad\]"),
        ({**config(), "data": {"key": [CANARY]}}, r"data"),
    ]
    for wanted, field in wrong:
        for use in (cluster.apply, _created(cluster)):
            with pytest.raises(NeedsOperator, match=field) as refused:
                use(wanted)
            told = "".join(traceback.format_exception(refused.value))
            assert CANARY not in told + repr(refused.value), told


def _created(cluster: Cluster) -> Any:
    def use(wanted: Object) -> None:
        """Under a name that is free, so that it is refused for what it holds."""
        about = {**wanted["metadata"], "name": f"x-{uuid4().hex[:6]}"}
        cluster.create({**wanted, "metadata": about})

    return use


def test_a_missing_field_is_refused_by_name(cluster: Cluster) -> None:
    wanted = deployment()
    del wanted["spec"]["template"]["spec"]["containers"]
    with pytest.raises(NeedsOperator, match=r"spec\.template\.spec\.containers: Required value"):
        cluster.apply(wanted)


def test_a_namespace_that_is_not_there_is_named_with_what_makes_it(cluster: Cluster) -> None:
    wanted = config()
    wanted["metadata"]["namespace"] = "contract-nowhere"
    for use in (cluster.apply, cluster.create):
        with pytest.raises(NeedsOperator, match="kubectl create namespace contract-nowhere"):
            use(wanted)


def test_what_is_not_allowed_is_named_with_the_command_that_shows_it(world: World) -> None:
    rules = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list"]}]
    denied = {("patch", "configmaps"), ("create", "configmaps"), ("get", "secrets")}
    little, place = world.may_only(rules, denied), world.api.namespace
    assert little.find(CONFIG) is None
    for verb, resource, use in (
        ("patch", "configmaps", lambda: little.apply(config())),
        ("create", "configmaps", lambda: little.create(config())),
        ("get", "secrets", lambda: little.find(Ref("v1", "Secret", "credentials"))),
    ):
        with pytest.raises(NeedsOperator) as refused:
            use()
        assert f"may not {verb} {resource} in namespace {place}" in refused.value.problem
        assert f"`kubectl auth can-i {verb} {resource} -n {place}`" in refused.value.remedy
        may = little.may(Permission(verb, resource))
        assert not may
    assert little.may(Permission("get", "configmaps"))
    assert little.may(Permission("list", "configmaps", namespace=place))


def test_a_permission_for_a_subresource_is_its_own(world: World) -> None:
    rules = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]
    little = world.may_only(rules, {("get", "pods/log")})
    assert little.may(Permission("get", "pods"))
    assert not little.may(Permission("get", "pods/log"))


# Creating, patching, deleting.


def test_creating_makes_an_object_once_and_leaves_it_then(cluster: Cluster) -> None:
    made = cluster.create(secret(key="first"))
    assert made is not None
    assert made["metadata"]["name"] == "credentials"
    assert cluster.create(secret(key="second")) is None
    assert cluster.get(Ref("v1", "Secret", "credentials")) == made


def test_creating_can_be_tried_also_where_one_is_there(cluster: Cluster) -> None:
    tried = cluster.create(config(a="1"), dry_run=True)
    assert tried is not None
    assert cluster.find(CONFIG) is None
    made = cluster.create(config(a="1"))
    assert cluster.create(config(a="2"), dry_run=True) is None
    with pytest.raises(Invalid, match=r"data\[key/bad\]"):
        cluster.create({**config(), "data": {"key/bad": "x"}}, dry_run=True)
    assert cluster.get(CONFIG) == made


def test_a_patch_changes_what_it_names_and_a_stale_one_nothing(cluster: Cluster) -> None:
    made = cluster.apply(config(a="1", b="2"))
    stale = {"metadata": {"resourceVersion": version_of(made)}}
    changed = cluster.patch(CONFIG, {**stale, "data": {"a": None, "c": "3"}})
    assert changed["data"] == {"b": "2", "c": "3"}
    with pytest.raises(Changed):
        cluster.patch(CONFIG, {**stale, "data": {"b": "4"}})
    assert cluster.get(CONFIG) == changed
    with pytest.raises(NeedsOperator, match="does not exist"):
        cluster.patch(Ref("v1", "ConfigMap", "absent"), {"data": {}})


def test_only_the_very_object_is_deleted(cluster: Cluster) -> None:
    made = cluster.apply(config(a="1"))
    uid = made["metadata"]["uid"]
    with pytest.raises(Changed):
        cluster.delete(CONFIG, uid=str(uuid4()))
    cluster.apply(config(a="2"))
    with pytest.raises(Changed):
        cluster.delete(CONFIG, uid=uid, resource_version=version_of(made))
    assert cluster.delete(CONFIG, uid=uid)
    assert cluster.find(CONFIG) is None
    assert not cluster.delete(CONFIG, uid=uid)


def test_what_has_a_finalizer_stays_until_it_is_gone(cluster: Cluster) -> None:
    wanted = config(a="1")
    wanted["metadata"]["finalizers"] = ["test.example/hold"]
    made = cluster.apply(wanted)
    assert cluster.delete(CONFIG, uid=made["metadata"]["uid"])
    assert cluster.get(CONFIG)["metadata"]["deletionTimestamp"]
    cluster.patch(CONFIG, {"metadata": {"finalizers": None}})
    assert cluster.find(CONFIG) is None


# Logs and events.


def test_a_pod_that_does_not_run_has_an_empty_log(cluster: Cluster) -> None:
    assert cluster.logs("nowhere") == ""


def test_events_are_those_of_the_very_object_the_latest_last(world: World) -> None:
    cluster = world.api
    made = cluster.apply(config())
    other = cluster.apply(config("other"))
    for number, about in enumerate((made, other, made)):
        cluster.create(event(about, f"e{2 - number}", f"2026-01-01T00:00:0{number}Z"))
    found = cluster.events(made)
    assert [each["message"] for each in found] == ["about e2", "about e0"]


def event(about: Object, name: str, last: str) -> Object:
    told = about["metadata"]
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name},
        "involvedObject": {
            "apiVersion": about["apiVersion"],
            "kind": about["kind"],
            "name": told["name"],
            "namespace": told["namespace"],
            "uid": told["uid"],
        },
        "type": "Warning",
        "reason": "Tested",
        "message": f"about {name}",
        "lastTimestamp": last,
    }


@pytest.mark.parametrize("name", ["a/b", "../x", "a?b=c", "ä", "a b", "..", "."])
def test_a_strange_name_means_no_other_object(cluster: Cluster, name: str) -> None:
    cluster.apply(config("x"))
    with suppress(NeedsOperator):
        assert cluster.find(Ref("v1", "ConfigMap", name)) is None


def test_without_a_name_nothing_is_asked_and_nothing_deleted(cluster: Cluster) -> None:
    made = cluster.apply(config("x"))
    nameless = Ref("v1", "ConfigMap", "")
    with pytest.raises(NeedsOperator, match="'' is no name for one of configmaps"):
        cluster.find(nameless)
    with pytest.raises(NeedsOperator, match="is no name"):
        cluster.delete(nameless, uid=made["metadata"]["uid"])
    assert cluster.find(Ref("v1", "ConfigMap", "x"))
