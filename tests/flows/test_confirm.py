"""A run that would remove much asks first: on a real server, each time in a process like a job's.

The engine is what a worker starts; what the platform would do is a fake.
"""

from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import pytest
from prefect.client.orchestration import get_client
from prefect.exceptions import Pause
from prefect.flow_engine import run_flow

import flows.deploy
from clinical_ai import names
from clinical_ai.change import Change
from clinical_ai.errors import NeedsOperator
from clinical_ai.ports import PrefectApi
from clinical_ai.ports_cluster import Ref
from clinical_ai.steps.runs import get_run
from clinical_ai.waiting import Sighting, wait_until
from tests.flows.test_platform_flows import FakePlatform, events, impatient, platform
from tests.support.prefect_server import PrefectServer, ensure_pool

__all__ = ["events", "platform"]
OLD = [Ref("v1", "ConfigMap", f"old-{number}") for number in range(3)]


@dataclass
class Asking:
    """A platform of which much would go; `agreed`: what was said may go, of each run that wrote."""

    like: FakePlatform
    going: list[Ref] = field(default_factory=lambda: list(OLD))
    agreed: list[list[Ref]] = field(default_factory=list)

    ui_url = "https://prefect.example.org"
    ui_way = "kubectl port-forward x"

    def __getattr__(self, name: str) -> Any:
        return getattr(self.like, name)

    def large_prune(self) -> list[Ref]:
        return self.going

    def bring(self, _who: str, *, agreed: list[Ref], **_: Any) -> list[Change]:
        self.agreed.append(agreed)
        return []


@pytest.fixture
def asking(
    platform: FakePlatform, events: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> Asking:
    made = Asking(platform)
    monkeypatch.setattr(flows.deploy, "open_here", lambda: made)
    impatient(flows.deploy, monkeypatch)
    return made


@pytest.fixture
def api(prefect_server: PrefectServer) -> PrefectApi:
    return prefect_server.open()


@pytest.fixture
def deployment(api: PrefectApi) -> str:
    """One of which a single run may go on at a time, as of deploy/self."""
    ensure_pool(api, names.PLATFORM_POOL)
    body = {
        "name": f"self-{uuid4().hex[:8]}",
        "flow_id": api.post("/flows/", {"name": "deploy"})["id"],
        "work_pool_name": names.PLATFORM_POOL,
        "concurrency_limit": 1,
        "concurrency_options": {"collision_strategy": "ENQUEUE"},
    }
    return str(api.post("/deployments/", body)["id"])


def create(api: PrefectApi, deployment: str, **parameters: bool) -> str:
    body = {"parameters": parameters, "state": {"type": "SCHEDULED"}}
    return str(api.post(f"/deployments/{deployment}/create_flow_run", body)["id"])


def take(api: PrefectApi, run: str) -> str:
    """What a worker is answered that wants to begin it."""
    state = {"state": {"type": "PENDING"}}
    return str(api.post(f"/flow_runs/{run}/set_state", state)["status"])


def carry_out(api: PrefectApi, run: str) -> str:
    """The state in which its process leaves it."""
    assert take(api, run) == "ACCEPT"
    with get_client(sync_client=True) as client:
        found = client.read_flow_run(UUID(run))
    with suppress(Pause):
        run_flow(flows.deploy.deploy, found, found.parameters, return_type="state")
    return str(api.get(f"/flow_runs/{run}")["state_name"])


def answer(api: PrefectApi, run: str, *, remove_them: bool) -> None:
    told = api.post(f"/flow_runs/{run}/resume", {"run_input": {"remove_them": remove_them}})
    assert told["status"] == "ACCEPT"


def await_told(api: PrefectApi, run: str, text: str) -> str:
    """What its log says, once this is in it."""
    seen = ""

    def look() -> Sighting:
        nonlocal seen
        rows = api.post("/logs/filter", {"logs": {"flow_run_id": {"any_": [run]}}})
        seen = "\n".join(row["message"] for row in rows if row["name"] == "prefect.flow_runs")
        return Sighting(text in seen, seen)

    wait_until("its log", look, seconds=20, every=0.2)
    return seen


def test_a_run_asks_before_it_changes_anything_and_goes_on_with_what_was_agreed(
    api: PrefectApi, deployment: str, asking: Asking
) -> None:
    before, run = asking.written(), create(api, deployment)
    assert carry_out(api, run) == "Suspended"
    assert (asking.written(), asking.agreed) == (before, [])
    told = await_told(api, run, "minutes for an answer")
    assert "3 objects are wanted no more and would be deleted" in told
    assert "- ConfigMap old-2" in told
    place = f"https://prefect.example.org/v2/runs/flow-run/{run} (while `kubectl port-forward x`"
    assert place in told
    answer(api, run, remove_them=True)
    assert carry_out(api, run) == "Completed"
    assert asking.agreed == [OLD]
    assert await_told(api, run, "state Completed").count("for an answer") == 1


def test_a_run_that_waits_for_an_answer_keeps_no_other_from_its_work(
    api: PrefectApi, deployment: str, asking: Asking
) -> None:
    assert carry_out(api, create(api, deployment)) == "Suspended"
    others = [create(api, deployment) for _ in range(2)]
    assert [take(api, each) for each in others] == ["ACCEPT", "REJECT"]  # one at a time


def test_a_removal_that_is_not_confirmed_changes_nothing(
    api: PrefectApi, deployment: str, asking: Asking
) -> None:
    before, run = asking.written(), create(api, deployment)
    carry_out(api, run)
    answer(api, run, remove_them=False)
    assert carry_out(api, run) == "Cancelled"
    assert "the removal was not confirmed" in get_run(api, run).message
    assert (asking.written(), asking.agreed) == (before, [])


def test_nobody_is_asked_for_what_is_stopped(
    api: PrefectApi, deployment: str, asking: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped() -> None:
        raise NeedsOperator("self-management is stopped", "wait")

    monkeypatch.setattr(asking, "guard", stopped, raising=False)
    run = create(api, deployment)
    assert carry_out(api, run) == "Failed"
    assert "self-management is stopped" in get_run(api, run).message


def test_another_list_is_asked_for_anew(api: PrefectApi, deployment: str, asking: Asking) -> None:
    run = create(api, deployment)
    carry_out(api, run)
    asking.going = OLD[:2]
    answer(api, run, remove_them=True)
    assert carry_out(api, run) == "Suspended"
    assert asking.agreed == []
    answer(api, run, remove_them=True)
    assert carry_out(api, run) == "Completed"
    assert asking.agreed == [OLD[:2]]


@pytest.mark.parametrize(
    ("parameters", "agreed"),
    [
        ({"confirm_removal": True}, [OLD]),
        ({"drift_check": True}, [[]]),  # by the clock nobody is there to answer
        ({"report_only": True}, [[]]),
    ],
    ids=lambda it: next(iter(it), "") if isinstance(it, dict) else "",
)
def test_nobody_is_asked(
    api: PrefectApi,
    deployment: str,
    asking: Asking,
    parameters: dict[str, bool],
    agreed: list[list[Ref]],
) -> None:
    asking.like.heals_drift = True
    assert carry_out(api, create(api, deployment, **parameters)) == "Completed"
    assert asking.agreed == agreed
