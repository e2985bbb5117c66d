"""What `status` tells, with any part of the platform down."""

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from clinical_ai import names
from clinical_ai.instance import Instance
from clinical_ai.ports import ProcessSpec, ProcessStatus
from clinical_ai.state_folder import StateFolder, process_order
from clinical_ai.steps.status import look, table
from tests.support.fake_prefect import FakePrefect
from tests.support.fakes import FakeRuntime
from tests.support.sleeping_runs import runs_without_process, sleeping_runs


class Parts:
    """A platform of fakes."""

    def __init__(self) -> None:
        self.state = StateFolder(Path("/somewhere"))
        self.instance = Instance(
            api_url="http://127.0.0.1:4200/api",
            auth=True,
            database_port=5555,
            worker_health_port=1,
            platform_worker_health_port=2,
            release="abc",
        )
        self.api = FakePrefect()
        self.runtime = FakeRuntime()
        self.runtime.ensure([ProcessSpec(name, ("a",)) for name in process_order()])

    def versions(self) -> dict[str, str]:
        return {"prefect": "3.8.8", "python": "3.11.2"}

    def run(self, state: str) -> str:
        if "p" not in self.api.pools:
            self.api.post("/work_pools/", {"name": "p", "type": "process"})
        flow = self.api.post("/flows/", {"name": "f"})
        body = {"name": "one", "flow_id": flow["id"], "work_pool_name": "p"}
        deployment = self.api.post("/deployments/", body)["id"]
        path = f"/deployments/{deployment}/create_flow_run"
        run = str(self.api.post(path, {"state": {"type": "SCHEDULED"}})["id"])
        self.api.post(f"/flow_runs/{run}/set_state", {"state": {"type": state}})
        return run


def test_a_whole_platform_is_healthy_and_tells_where_it_is() -> None:
    seen = look(Parts())
    assert seen["healthy"] is True
    assert (seen["api"], seen["release"]) == ("ready", "abc")
    assert seen["ui_url"] == "http://127.0.0.1:4200"
    assert seen["database_url"] == "postgresql://clinical_ai@127.0.0.1:5555/cai_data"
    assert [process["name"] for process in seen["processes"]] == list(process_order())
    assert json.loads(json.dumps(seen, default=str))["versions"] == {
        "prefect": "3.8.8",
        "python": "3.11.2",
    }


def test_a_stopped_process_makes_it_unhealthy_and_is_shown_as_stopped() -> None:
    parts = Parts()
    parts.runtime.stop(names.WORKER)
    seen = look(parts)
    assert seen["healthy"] is False
    states = {process["name"]: process["state"] for process in seen["processes"]}
    assert states == dict.fromkeys(process_order(), "running") | {names.WORKER: "stopped"}


def test_a_process_that_only_just_starts_is_no_fault_and_one_in_backoff_is() -> None:
    for state, healthy in (("starting", True), ("backoff", False), ("fatal", False)):
        parts = Parts()
        rows = [
            ProcessStatus(s.name, running=True, state=state if s.name == names.WORKER else s.state)
            for s in parts.runtime.processes()
        ]
        parts.runtime.processes = lambda rows=rows: rows  # type: ignore[method-assign, misc]
        assert look(parts)["healthy"] is healthy


def test_without_an_api_the_rest_is_told() -> None:
    parts = Parts()
    parts.api.down = True
    seen = look(parts)
    assert (seen["healthy"], seen["runs"]) == (False, [])
    assert "no answer" in seen["api"]
    assert all(process["pid"] for process in seen["processes"])


def test_runs_are_told_with_their_deployment_and_those_not_started_left_out() -> None:
    parts = Parts()
    parts.run("COMPLETED")
    parts.run("SCHEDULED")
    seen = look(parts)["runs"]
    assert [(run["state"], run["deployment"]) for run in seen] == [("Completed", "one")]


def test_the_last_runs_are_told_however_many_are_due_later() -> None:
    parts = Parts()
    parts.run("COMPLETED")
    for _ in range(5):
        parts.run("SCHEDULED")
    assert [run["state"] for run in look(parts)["runs"]] == ["Completed"]


def test_a_run_that_waits_for_its_retry_or_is_paused_is_among_the_last_ones() -> None:
    parts = Parts()
    sleeping_runs(parts.api, "p")
    runs_without_process(parts.api, "q")
    told = [run["state"] for run in look(parts)["runs"]]
    assert told == ["Resuming", "Suspended", "AwaitingRetry", "Paused", "AwaitingRetry"]


def test_a_run_of_a_deployment_that_is_gone_is_still_told() -> None:
    parts = Parts()
    parts.run("FAILED")
    row = next(iter(parts.api.runs.values()))
    row["start_time"] = row["updated"]
    parts.api.deployments.clear()
    assert [run["deployment"] for run in look(parts)["runs"]] == [None]
    assert any(line.rstrip().endswith("Failed") for line in table(look(parts)))


def test_the_table_says_the_same_to_a_person() -> None:
    parts = Parts()
    parts.runtime.stop(names.WORKER)
    parts.run("COMPLETED")
    seen = look(parts)
    told = "\n".join(table(seen))
    for what in ("http://127.0.0.1:4200", "abc  (prefect 3.8.8, python 3.11.2)", "/somewhere"):
        assert what in told
    assert re.search(rf"{names.WORKER} +stopped", told)
    assert re.search(rf"{names.SERVER} +running +for 0 min \d+ s, pid \d+", told)
    assert re.search(r"Completed +one", told)


def test_ages_are_told_in_hours_and_minutes() -> None:
    seen: dict[str, Any] = look(Parts())
    seen["processes"][0]["since"] = datetime.now(UTC) - timedelta(hours=26, minutes=3, seconds=1)
    assert "for 26 h 3 min, pid" in "\n".join(table(seen))
