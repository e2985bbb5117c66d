"""Accounts and rights are compared by whoever may only read them."""

from collections.abc import Callable
from typing import Any

import pytest

from clinical_ai import names
from clinical_ai.change import Did
from clinical_ai.manifests.kubernetes import access
from clinical_ai.ports_cluster import Object
from clinical_ai.steps.cluster.rights import look_at_rights
from tests.support.fake_cluster import FakeCluster
from tests.support.kubernetes_examples import settings_of

SETTINGS = settings_of("development")
HEAL = "heal it with bootstrap: `clinical-ai up --runtime kubernetes --settings FILE`"
WANTED = [*access.accounts(SETTINGS), *access.rights(SETTINGS)]


@pytest.fixture
def fake() -> FakeCluster:
    """As bootstrap left it."""
    namespace = WANTED[0]["metadata"]["namespace"]
    made = FakeCluster(namespace)
    for each in WANTED:
        made.open(namespace).apply(each)
    return made


def looked(fake: FakeCluster) -> dict[str, str]:
    """What was told of those that are not as wanted."""
    fake.denied = {
        (verb, plural)
        for verb in ("create", "patch", "delete")
        for plural in ("roles", "rolebindings", "serviceaccounts")
    }
    changes = look_at_rights(fake.open(WANTED[0]["metadata"]["namespace"]), WANTED)
    assert len(changes) == len(WANTED)
    assert {it.did for it in changes} <= {Did.UNCHANGED, Did.DRIFTED}
    return {it.what.partition(" ")[0]: it.detail for it in changes if it.differs}


def edit(fake: FakeCluster, kind: str, change: Callable[[Object], object]) -> None:
    name = next(it["metadata"]["name"] for it in WANTED if it["kind"] == kind)
    fake.edit(kind, name, "kubectl-edit", change)


def test_what_bootstrap_left_is_unchanged_and_no_right_to_write_is_asked_for(
    fake: FakeCluster,
) -> None:
    fake.requests.clear()
    assert looked(fake) == {}
    assert {it.verb for it in fake.requests} <= {"get", "list"}


@pytest.mark.parametrize(
    ("kind", "field", "change"),
    [
        ("Role", "rules", lambda it: it["rules"][0]["verbs"].append("deletecollection")),
        ("Role", "rules", lambda it: it["rules"].pop()),
        ("Role", "rules", lambda it: it["rules"][0]["verbs"].pop()),
        ("Role", "rules", lambda it: it["rules"][0].update(resourceNames=["other"])),
        ("Role", "rules", lambda it: it["rules"].append({"verbs": ["*"], "resources": ["*"]})),
        (
            "RoleBinding",
            "subjects",
            lambda it: it["subjects"].append({"kind": "User", "name": "mallory"}),
        ),
        (
            "ServiceAccount",
            "automountServiceAccountToken",
            lambda it: it.update(automountServiceAccountToken=True),
        ),
    ],
)
def test_rights_that_somebody_changed_are_told_by_field_with_what_heals_them(
    fake: FakeCluster, kind: str, field: str, change: Callable[[Any], object]
) -> None:
    edit(fake, kind, change)
    [(what, detail)] = looked(fake).items()
    assert what == kind
    assert detail.startswith(f"{field}; set by kubectl-edit; ")
    assert detail.endswith(
        "then heal it with bootstrap: `clinical-ai up --runtime kubernetes --settings FILE`"
    )
    name = next(it["metadata"]["name"] for it in WANTED if it["kind"] == kind)
    assert f"`kubectl delete {kind.lower()} {name} -n " in detail


def test_what_is_not_there_is_told(fake: FakeCluster) -> None:
    for place in [it for it in fake.objects.all if it[1] == "RoleBinding"]:
        del fake.objects.all[place]
    told = looked(fake)
    assert list(told) == ["RoleBinding"]
    assert told["RoleBinding"] == f"it is not there; {HEAL}"


def test_a_field_that_somebody_took_away_is_put_back_by_bootstrap_at_once(
    fake: FakeCluster,
) -> None:
    edit(fake, "Role", lambda it: it.pop("rules"))
    told = looked(fake)
    assert told["Role"] == f"rules; {HEAL}"


@pytest.mark.parametrize("kind", ["Role", "RoleBinding", "ServiceAccount"])
def test_labels_that_an_object_lost_are_told(fake: FakeCluster, kind: str) -> None:
    """Without its owner's nobody would prune it any more."""
    edit(fake, kind, lambda it: it["metadata"]["labels"].pop(names.OWNER_LABEL))
    assert looked(fake) == {kind: f"{names.OWNER_LABEL}; {HEAL}"}


def test_a_label_that_somebody_else_set_is_told_with_who_did(fake: FakeCluster) -> None:
    theirs = {names.OWNER_LABEL: "theirs"}
    edit(fake, "Role", lambda it: it["metadata"]["labels"].update(theirs))
    assert looked(fake)["Role"].startswith(f"{names.OWNER_LABEL}; set by kubectl-edit; unless")


@pytest.mark.parametrize("kind", ["Role", "RoleBinding", "ServiceAccount"])
def test_labels_and_annotations_of_others_are_no_difference(fake: FakeCluster, kind: str) -> None:
    edit(fake, kind, lambda it: it["metadata"].update(annotations={"a": "b"}))
    edit(fake, kind, lambda it: it["metadata"]["labels"].update(theirs="x"))
    assert looked(fake) == {}


def test_the_order_of_verbs_is_no_difference(fake: FakeCluster) -> None:
    edit(fake, "Role", lambda it: it["rules"][0]["verbs"].reverse())
    assert looked(fake) == {}
