"""What a person or a script reads: status, and the report of deploy/self."""

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from clinical_ai import names
from clinical_ai.change import Change, Did
from clinical_ai.instance import Instance
from clinical_ai.ports import ProcessSpec, ProcessStatus
from clinical_ai.state_folder import StateFolder, process_order
from clinical_ai.steps import deploy_report
from clinical_ai.steps.status import look, table
from tests.support.fake_prefect import FakePrefect
from tests.support.fakes import FakeRuntime

CHANGES = [
    Change("work pool default", Did.UNCHANGED),
    Change("work pool platform", Did.UPDATED, "concurrency_limit"),
    Change("deployment deploy/self", Did.UNCHANGED),
]


@dataclass
class Parts:
    """A platform that runs, until a test stops some of it."""

    state: StateFolder = field(default_factory=lambda: StateFolder(Path("/somewhere")))
    instance: Instance = field(
        default_factory=lambda: Instance(
            api_url="http://127.0.0.1:4400/api",
            auth=True,
            database_port=15432,
            worker_health_port=1,
            platform_worker_health_port=2,
            release="0123",
        )
    )
    api: FakePrefect = field(default_factory=FakePrefect)
    runtime: FakeRuntime = field(default_factory=FakeRuntime)

    def versions(self) -> dict[str, str]:
        return {"version": "1.0.0", "prefect": "3.8.8"}

    def run(self, state: str) -> None:
        """A run of a deployment of the test's own."""
        self.api.post("/work_pools/", {"name": "p", "type": "process"})
        flow = self.api.post("/flows/", {"name": "f"})
        body = {"name": "d", "flow_id": flow["id"], "work_pool_name": "p", "entrypoint": "a:b"}
        made = self.api.post("/deployments/", body)
        for name in ("waits", "ran"):
            path = f"/deployments/{made['id']}/create_flow_run"
            run = self.api.post(path, {"state": {"type": "SCHEDULED"}, "name": name})
            if name == "ran":
                self.api.post(f"/flow_runs/{run['id']}/set_state", {"state": {"type": state}})


@pytest.fixture
def parts() -> Parts:
    made = Parts()
    made.runtime.ensure([ProcessSpec(name, ("x",)) for name in process_order()])
    return made


def test_status_of_a_platform_that_runs_is_healthy_and_a_script_can_read_it(parts: Parts) -> None:
    parts.run("COMPLETED")
    seen = json.loads(json.dumps(look(parts), default=str))
    assert seen["healthy"]
    assert (seen["api_url"], seen["ui_url"]) == (
        "http://127.0.0.1:4400/api",
        "http://127.0.0.1:4400",
    )
    assert seen["database_url"] == "postgresql://clinical_ai@127.0.0.1:15432/cai_data"
    assert [process["name"] for process in seen["processes"]] == list(process_order())
    assert [(run["name"], run["deployment"], run["state"]) for run in seen["runs"]] == [
        ("ran", "d", "Completed")
    ], "a run that waits has not run"


def test_status_works_with_everything_down_and_says_so(parts: Parts) -> None:
    parts.api.down = True
    parts.runtime.stop_all()
    seen = look(parts)
    assert not seen["healthy"]
    assert {process["state"] for process in seen["processes"]} == {"stopped"}
    assert "no answer" in seen["api"]
    assert seen["runs"] == []
    told = "\n".join(table(seen))
    assert told.count("stopped") == 4
    assert "pid" not in told


@pytest.mark.parametrize("name", process_order())
def test_one_process_that_does_not_run_is_not_healthy(parts: Parts, name: str) -> None:
    parts.runtime.stop(name)
    assert not look(parts)["healthy"]


def test_a_server_away_is_not_healthy_though_its_process_runs(parts: Parts) -> None:
    parts.api.down = True
    assert not look(parts)["healthy"]


@pytest.mark.parametrize(
    ("age", "told"),
    [(timedelta(minutes=3, seconds=5), "for 3 min 5 s"), (timedelta(hours=26), "for 26 h 0 min")],
)
def test_the_table_tells_since_when_a_process_runs(parts: Parts, age: timedelta, told: str) -> None:
    since = datetime.now(UTC) - age
    parts.runtime.processes = lambda: [  # type: ignore[method-assign]
        ProcessStatus(names.SERVER, running=True, state="running", pid=7, since=since)
    ]
    lines = table(look(parts))
    assert any(names.SERVER in line and told in line and "pid 7" in line for line in lines)
    assert any("version 1.0.0, prefect 3.8.8" in line for line in lines)


def test_a_report_says_first_how_much_changed() -> None:
    same = [CHANGES[0], CHANGES[2]]
    assert deploy_report.sentence(same, report_only=False) == (
        "As wanted: 2 things looked at, nothing differs."
    )
    assert deploy_report.sentence(CHANGES, report_only=False) == "1 of 3 things changed."
    assert deploy_report.sentence(CHANGES, report_only=True) == "1 of 3 things differ."


def test_rows_of_a_report_are_all_things_with_changed_ones_first() -> None:
    rows = deploy_report.rows(CHANGES)
    assert [row["what"] for row in rows] == [CHANGES[i].what for i in (1, 0, 2)]
    assert rows[0] == {
        "what": "work pool platform",
        "result": "updated",
        "detail": "concurrency_limit",
    }


def test_the_markdown_names_what_changed_and_how_the_last_roll_ended() -> None:
    text = deploy_report.markdown(CHANGES, "The roll of noon: done.", report_only=False)
    assert text.startswith("# deploy/self\n")
    assert "The roll of noon: done." in text
    assert "| work pool platform | updated | concurrency_limit |" in text
    assert "work pool default" not in text
    quiet = deploy_report.markdown(CHANGES[:1], "", report_only=True)
    assert quiet == "# Drift report\n\nAs wanted: 1 things looked at, nothing differs.\n\n"


def test_the_ledger_keeps_who_changed_what_and_when() -> None:
    entry = deploy_report.ledger_entry("0123", CHANGES, "run-id")
    assert entry["changes"] == ["work pool platform: updated (concurrency_limit)"]
    assert (entry["release"], entry["run"]) == ("0123", "run-id")
    assert datetime.fromisoformat(entry["at"]).tzinfo is not None
