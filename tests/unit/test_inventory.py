"""The inventory forgets nothing that may exist, and lists it in the order it was applied."""

import pytest
from hypothesis import given
from hypothesis import strategies as some

from clinical_ai.errors import NeedsOperator
from clinical_ai.inventory import Inventory, as_rows, from_rows, is_ours
from clinical_ai.ports_cluster import Object, Ref

_names = some.sampled_from("abcdef")
_refs = some.builds(Ref, some.just("v1"), some.sampled_from(["Secret", "ConfigMap"]), _names)
_inventories = some.dictionaries(_refs, some.sampled_from(["", "u1", "u2"])).map(Inventory)


@given(_inventories)
def test_what_is_written_is_read_again(inventory: Inventory) -> None:
    again = from_rows(as_rows(inventory), "ConfigMap x")
    assert list(again.uids.items()) == list(inventory.uids.items())


@given(_inventories, some.lists(_refs))
def test_widening_forgets_nothing_and_keeps_uids(before: Inventory, wanted: list[Ref]) -> None:
    wider = before.with_wanted(wanted)
    assert wider.uids.keys() == before.uids.keys() | set(wanted)
    assert all(wider.uids[ref] == uid for ref, uid in before.uids.items())
    assert wider.with_wanted(wanted) == wider


@given(_inventories, some.lists(_refs))
def test_what_is_unwanted_and_what_is_wanted_are_the_whole(
    before: Inventory, wanted: list[Ref]
) -> None:
    unwanted = before.unwanted(wanted)
    assert set(unwanted) | set(before.only(wanted).uids) == set(before.uids)
    assert not set(unwanted) & set(wanted)
    order = list(before.uids)
    assert [order.index(ref) for ref in unwanted] == sorted(map(order.index, unwanted))[::-1]


@given(_inventories, some.dictionaries(_refs, some.just("new")))
def test_a_uid_that_is_not_known_anew_stays(before: Inventory, uids: dict[Ref, str]) -> None:
    after = before.with_uids(uids)
    assert after.uids == {ref: uids.get(ref, uid) for ref, uid in before.uids.items()}


@pytest.mark.parametrize("text", ["", "{}", "[1]", '[{"kind": "A"}]', "no json", "null"])
def test_what_is_no_inventory_is_refused_with_its_place(text: str) -> None:
    if text == "{}":
        assert from_rows(text, "ConfigMap x") == Inventory({})
        return
    with pytest.raises(NeedsOperator, match="ConfigMap x is no list of objects"):
        from_rows(text, "ConfigMap x")


def test_an_object_is_ours_while_it_is_the_same_and_labelled() -> None:
    labels, ours = {"owner": "us"}, [{"manager": "us", "operation": "Apply"}]
    about = {"uid": "u1", "labels": {"owner": "us", "more": "x"}, "managedFields": ours}

    def is_it(uid: str, **changes: object) -> bool:
        found: Object = {"metadata": {**about, **changes}}
        return is_ours(found, uid, labels, "us")

    assert is_it("u1")
    assert not is_it("u2")
    assert not is_it("u1", labels={"owner": "them"})
    assert not is_it("u1", labels=None)
    assert is_it("")
    assert not is_it("", managedFields=[{"manager": "us", "operation": "Update"}])
    assert not is_it("", managedFields=None)
