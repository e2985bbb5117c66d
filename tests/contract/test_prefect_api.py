"""What steps rely on from Prefect's API, on the fake and on a real server."""

import pytest

from clinical_ai.ports import PrefectApi
from tests.support.fakes import FakePrefect

pytestmark = pytest.mark.xdist_group("platform")


@pytest.fixture(params=["fake", "server"])
def api(request: pytest.FixtureRequest) -> PrefectApi:
    if request.param == "fake":
        return FakePrefect()
    found: PrefectApi = request.getfixturevalue("site").platform.api
    return found


def test_what_is_absent_is_none(api: PrefectApi) -> None:
    assert api.get("/work_pools/nowhere") is None


def test_a_patch_changes_what_it_names_and_nothing_else(api: PrefectApi) -> None:
    before = api.get("/work_pools/default")
    api.patch("/work_pools/default", {"is_paused": True})
    held = api.get("/work_pools/default")
    api.patch("/work_pools/default", {"is_paused": False})
    assert (before["is_paused"], held["is_paused"]) == (False, True)
    assert held["concurrency_limit"] == before["concurrency_limit"]


def test_both_pools_are_among_the_pages(api: PrefectApi) -> None:
    assert {"default", "platform"} <= {row["name"] for row in api.pages("/work_pools/filter")}


def test_a_filter_gives_rows(api: PrefectApi) -> None:
    body = {"flow_runs": {"tags": {"all_": ["nobody has this tag"]}}}
    assert api.post("/flow_runs/filter", body) == []
