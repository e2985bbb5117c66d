"""Whatever may change something in Prefect asks first; what only reads does not."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clinical_ai.adapters.guarded_api import GuardedApi
from clinical_ai.errors import NeedsOperator
from clinical_ai.ports import PrefectApi
from tests.support.fake_prefect import FakePrefect


def refused() -> None:
    raise NeedsOperator("stopped", "resume")


@pytest.fixture
def fake() -> FakePrefect:
    made = FakePrefect()
    made.post("/work_pools/", {"name": "p", "type": "process"})
    return made


Write = Callable[[PrefectApi], Any]
WRITES: list[Write] = [
    lambda api: api.post("/work_pools/", {"name": "q", "type": "process"}),
    lambda api: api.post("/flows/"),
    lambda api: api.patch("/work_pools/p", {"is_paused": True}),
    lambda api: api.put("/automations/1", {}),
    lambda api: api.delete("/work_pools/p"),
]


@pytest.mark.parametrize("write", WRITES)
def test_nothing_is_written_when_the_guard_refuses(fake: FakePrefect, write: Write) -> None:
    before = dict(fake.pools["p"])
    with pytest.raises(NeedsOperator, match="stopped"):
        write(GuardedApi(fake, refused))
    assert fake.pools == {"p": before}


def test_questions_are_answered_also_while_there_may_be_no_write(fake: FakePrefect) -> None:
    api = GuardedApi(fake, refused)
    assert api.get("/work_pools/p")["name"] == "p"
    assert api.get("/work_pools/q") is None
    assert [row["name"] for row in api.post("/work_pools/filter", {})] == ["p"]
    assert [row["name"] for row in api.pages("/work_pools/filter")] == ["p"]


def test_a_lease_is_given_back_but_not_taken_while_there_may_be_no_write(
    fake: FakePrefect,
) -> None:
    """Or whoever goes on would wait for it in vain."""
    limits, api = "/v2/concurrency_limits", GuardedApi(fake, refused)
    fake.post(f"{limits}/", {"name": "one", "limit": 1, "active": True})
    body = {"slots": 1, "names": ["one"], "lease_duration": 60}
    with pytest.raises(NeedsOperator, match="stopped"):
        api.post(f"{limits}/increment-with-lease", body)
    key = fake.post(f"{limits}/increment-with-lease", body)["lease_id"]
    api.post(f"{limits}/decrement-with-lease", {"lease_id": key})
    assert fake.leases == {}


def test_a_write_that_is_allowed_is_carried_out_and_answered(fake: FakePrefect) -> None:
    asked: list[None] = []
    api = GuardedApi(fake, lambda: asked.append(None))
    assert api.post("/work_pools/", {"name": "q", "type": "process"})["name"] == "q"
    api.patch("/work_pools/q", {"is_paused": True})
    assert fake.pools["q"]["is_paused"] is True
    assert (api.delete("/work_pools/q"), api.delete("/work_pools/q")) == (True, False)
    assert len(asked) == 4


@given(st.text())
def test_a_post_is_a_write_unless_its_path_ends_as_a_question_does(path: str) -> None:
    with pytest.raises(NeedsOperator, match="stopped"):
        GuardedApi(FakePrefect(), refused).post(f"{path}/")
