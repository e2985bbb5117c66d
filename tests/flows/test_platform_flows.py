"""The platform's own flows as Prefect runs them: names, retries, and what they leave behind."""

import json
import subprocess
import sys
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from prefect import Flow, Task, flow
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from pydantic import SecretStr

import flows.deploy
import flows.verify
from clinical_ai import names
from clinical_ai.adapters.postgres import PostgresDatabase
from clinical_ai.change import Change, Did
from clinical_ai.deployment_plan import Wanted, from_rendered
from clinical_ai.errors import ManyFaults, NeedsOperator, TimedOut, Transient
from clinical_ai.instance import Instance
from clinical_ai.manifests.processes import Place, processes
from clinical_ai.plans import Stage
from clinical_ai.ports import Database
from clinical_ai.settings import Development
from clinical_ai.state_folder import StateFolder
from clinical_ai.steps.roll import new_journal
from clinical_ai.steps.verify import CANARIES, CHECKS, Result
from clinical_ai.wiring import Platform
from flows.tasks import acting
from tests.support.fake_prefect import FakePrefect
from tests.support.fakes import FakeRuntime, MemoryKeeper, MemoryStore
from tests.support.platform import CHECKOUT

FILES = sorted(path.stem for path in (CHECKOUT / "flows").glob("*.py") if path.stem != "__init__")
MODULES = [import_module(f"flows.{name}") for name in FILES]


class Files(MemoryKeeper):
    """Journal and ledger in memory."""

    def __init__(self) -> None:
        super().__init__()
        self.entries: list[dict[str, Any]] = []

    def ledger(self) -> list[dict[str, Any]]:
        return self.entries

    def write_ledger(self, entry: dict[str, Any]) -> None:
        self.entries.append(entry)


@dataclass
class FakePlatform:
    """A platform whose processes and server are fakes, and whose database is real."""

    database: Database
    rendered: dict[str, Any]
    place: Place
    instance: Instance
    settings: Development = field(default_factory=Development)
    api: FakePrefect = field(default_factory=FakePrefect)
    runtime: FakeRuntime = field(default_factory=FakeRuntime)
    storage: MemoryStore = field(default_factory=MemoryStore)
    files: Files = field(default_factory=Files)
    faults: list[NeedsOperator] = field(default_factory=list)
    heals_drift: bool = Platform.heals_drift
    unhealed: str = Platform.unhealed
    proof: list[Result] = field(default_factory=list)

    @property
    def wanted(self) -> list[Wanted]:
        return [from_rendered(raw, "prefect.yaml") for raw in self.rendered["deployments"]]

    check = Platform.check
    pools = Platform.pools
    last_change = Platform.last_change
    bring = Platform.bring
    verify = Platform.verify
    record = Platform.record
    release_name = Platform.release_name
    repair = Platform.repair
    guard = Platform.guard
    large_prune = Platform.large_prune
    managed = Platform.managed

    def prove(self, changes: Sequence[Change]) -> list[Result]:
        assert changes
        return self.proof

    def refuse_faults(self, settings: Development) -> None:
        assert settings is self.settings
        if self.faults:
            raise ManyFaults(self.faults)

    @property
    def prefect_database(self) -> Database:
        return self.database

    def living_runs(self) -> set[str]:
        return set()

    def worker_answers(self, name: str) -> bool:
        return False

    def find_ui(self) -> str | None:
        return None

    def written(self) -> dict[str, Any]:
        """A copy of all that a run could have changed."""
        api = {name: value for name, value in vars(self.api).items() if not name.startswith("_")}
        return deepcopy(
            {
                "api": api,
                "processes": [self.runtime.running, self.runtime.started],
                "journal": self.files.journal,
                "ledger": self.files.entries,
                "tables": self.database.query("select to_regclass(%s)", [names.SOURCES_TABLE]),
            }
        )


@pytest.fixture
def platform(
    database_url: SecretStr, rendered: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> FakePlatform:
    root = Path("/srv/platform")
    ports = {"database_port": 1, "worker_health_port": 2, "platform_worker_health_port": 3}
    made = FakePlatform(
        PostgresDatabase(database_url),
        rendered,
        Place(StateFolder(root), root / "releases" / "r1", root / "postgres", **ports),
        Instance(api_url="http://127.0.0.1:4200/api", auth=True, release="r1", **ports),
    )
    for module in (flows.deploy, flows.verify):
        monkeypatch.setattr(module, "open_here", lambda: made)
        impatient(module, monkeypatch)
    return made


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Name to payload of the events that were emitted."""
    seen: dict[str, Any] = {}

    def emit(event: str, *, resource: dict[str, str], payload: dict[str, Any]) -> None:
        seen[event] = payload

    for module in (flows.deploy, flows.verify):
        monkeypatch.setattr(module, "emit_event", emit)
    return seen


def impatient(module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, found in list(vars(module).items()):
        if isinstance(found, Task):
            monkeypatch.setattr(module, name, found.with_options(retry_delay_seconds=0))


def left() -> dict[str, str]:
    """The newest artifact of each key."""
    with get_client(sync_client=True) as client:
        found = client.request("POST", "/artifacts/latest/filter", json={}).json()
    return {str(each["key"]): str(each["data"]) for each in found}


def tasks_of(module: ModuleType) -> list[Task[..., Any]]:
    return [found for found in vars(module).values() if isinstance(found, Task)]


@pytest.mark.parametrize(
    ("module", "function", "name", "parameters"),
    [
        (
            *("deploy", "deploy", "deploy"),
            {"report_only": False, "drift_check": False, "confirm_removal": False},
        ),
        ("verify", "verify", "verify", {}),
        ("canary", "canary", "canary", {"token": ""}),
        ("dlt_pipeline_flow", "run_connector_pipeline", "run-connector-pipeline", None),
    ],
)
def test_a_flow_is_called_what_outsiders_call_it(
    module: str, function: str, name: str, parameters: dict[str, Any] | None
) -> None:
    found: Flow[..., Any] = getattr(import_module(f"flows.{module}"), function)
    assert found.name == name
    if parameters is None:  # no default: a run that names neither is refused
        assert found.parameters.required == ["source", "destination"]
    else:
        told = found.parameters.properties
        assert {key: each["default"] for key, each in told.items()} == parameters
        assert not found.parameters.required


def test_importing_the_flows_reads_no_environment_and_loads_nothing_heavy() -> None:
    heavy = ["dlt", "psycopg2", "pyarrow", "boto3", "supervisor", "prefect.server.api.server"]
    code = f"import sys, {', '.join(f'flows.{name}' for name in FILES)}\n"
    code += f"print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=CHECKOUT,
        env={"PATH": "/usr/bin:/bin", "PREFECT_HOME": "/nonexistent/home"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "task", [task for module in MODULES for task in tasks_of(module)], ids=lambda task: task.name
)
def test_every_step_of_a_flow_is_tried_again_by_the_one_rule_and_never_cached(
    task: Task[..., Any],
) -> None:
    rule = acting(lambda: None)
    assert (task.retries, task.retry_delay_seconds) == (3, [5, 15, 45])
    assert task.retry_condition_fn is rule.retry_condition_fn
    assert task.cache_policy == NO_CACHE


@pytest.mark.parametrize(
    ("error", "attempts"),
    [
        (Transient("away"), 4),
        (TimedOut("late"), 1),
        (NeedsOperator("a is wrong", "mend a"), 1),
        (ManyFaults([NeedsOperator("a is wrong", "mend a")]), 1),
        (ValueError("a fault of our own"), 1),
    ],
    ids=lambda value: "" if isinstance(value, int) else type(value).__name__,
)
def test_only_what_may_heal_by_itself_is_tried_again(error: Exception, attempts: int) -> None:
    tried = []

    def fails() -> None:
        tried.append(1)
        raise error

    step = acting(fails).with_options(retry_delay_seconds=0)
    state = flow(name="one-step")(lambda: step())(return_state=True)
    assert state.is_failed()
    assert len(tried) == attempts
    assert str(error) in str(state.message)


def test_verify_of_a_platform_that_is_down_fails_and_leaves_every_check_with_its_remedy(
    platform: FakePlatform, events: dict[str, Any]
) -> None:
    platform.api.down = True
    state = flows.verify.verify(return_state=True)
    assert state.is_failed()
    assert "canary run" in str(state.message)
    table = json.loads(left()["verify"])
    assert [row["check"] for row in table] == [check for check, _ in CHECKS]
    failed = [row for row in table if row["result"] == "FAILED"]
    assert {row["check"] for row in table} - {row["check"] for row in failed} == {"database"}
    assert all(row["evidence"] and row["what to do"] for row in failed)
    assert events == {"clinical-ai.verify.failed": {"failed": [row["check"] for row in failed]}}


def test_a_report_of_drift_tells_everything_and_writes_nothing(
    platform: FakePlatform, events: dict[str, Any]
) -> None:
    before = platform.written()
    state = flows.deploy.deploy(report_only=True, return_state=True)
    assert state.is_completed()
    assert "things differ" in str(state.message)
    assert platform.written() == before
    report = left()["deploy-self"]
    assert "# Drift report" in report
    assert f"| work pool {names.POOL} | created |" in report
    assert list(events) == ["clinical-ai.deploy.drift"]
    assert f"work pool {names.POOL}: created" in events["clinical-ai.deploy.drift"]["changes"]


def test_a_check_for_drift_reports_it_where_the_settings_say_so(
    platform: FakePlatform, events: dict[str, Any]
) -> None:
    before = platform.written()
    assert flows.deploy.deploy(drift_check=True, return_state=True).is_completed()
    assert platform.written() == before
    assert list(events) == ["clinical-ai.deploy.drift"]


def test_a_check_for_drift_heals_it_where_the_settings_say_so(
    platform: FakePlatform, events: dict[str, Any]
) -> None:
    platform.heals_drift = True
    assert flows.deploy.deploy(drift_check=True, return_state=True).is_completed()
    assert sorted(platform.api.pools) == [names.POOL, names.PLATFORM_POOL]
    assert list(events) == ["clinical-ai.deploy.finished"]


def test_a_check_for_drift_is_not_lost_when_nobody_tells_at_once_whether_it_heals(
    platform: FakePlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a cluster that is in records of it."""
    faults = [Transient("no answer")]

    class Away:
        @property
        def heals_drift(self) -> bool:
            if faults:
                raise faults.pop()
            return False

        def __getattr__(self, name: str) -> Any:
            return getattr(platform, name)

    monkeypatch.setattr(flows.deploy, "open_here", Away)
    assert flows.deploy.deploy(drift_check=True, return_state=True).is_completed()


def test_a_check_for_drift_that_can_not_tell_whether_it_heals_leaves_a_report(
    platform: FakePlatform, events: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Damaged:
        @property
        def heals_drift(self) -> bool:
            raise NeedsOperator("the ledger is damaged", "remove it")

        def __getattr__(self, name: str) -> Any:
            return getattr(platform, name)

    monkeypatch.setattr(flows.deploy, "open_here", Damaged)
    assert flows.deploy.deploy(drift_check=True, return_state=True).is_failed()
    assert "the ledger is damaged" in left()["deploy-self"]
    assert set(events) == {"clinical-ai.deploy.failed"}


def test_a_report_tells_why_drift_is_not_healed_and_a_change_does_not(
    platform: FakePlatform, events: dict[str, Any]
) -> None:
    platform.unhealed = "Scheduled runs heal nothing until the block is corrected."
    state = flows.deploy.deploy(drift_check=True, return_state=True)
    assert str(state.message).endswith(platform.unhealed)
    assert platform.unhealed in left()["deploy-self"]
    state = flows.deploy.deploy(return_state=True)
    assert platform.unhealed not in str(state.message)
    assert platform.unhealed not in left()["deploy-self"]


@pytest.mark.parametrize(
    ("parameters", "tidied"),
    [
        ({"drift_check": True}, True),
        ({"report_only": True}, False),
        ({"report_only": True, "drift_check": True}, False),
    ],
    ids=str,
)
def test_what_is_left_over_goes_by_schedule_and_not_by_a_report(
    platform: FakePlatform,
    events: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    parameters: dict[str, bool],
    *,
    tidied: bool,
) -> None:
    worker = Change("worker a", Did.TIDIED if tidied else Did.LEFT_OVER, "its pod is gone")

    def bring(_who: str, *, write: bool, tidy: bool, **_: object) -> list[Change]:
        assert not write
        assert tidy is tidied
        return [worker]

    flows.deploy.deploy()
    events.clear()
    monkeypatch.setattr(platform, "bring", bring)
    state = flows.deploy.deploy(**parameters, return_state=True)
    assert f"{worker.did.capitalize()}: 1." in str(state.message)
    assert f"| worker a | {worker.did} | its pod is gone |" in left()["deploy-self"]
    assert events == {}


def test_a_report_stays_one_where_drift_is_healed(
    platform: FakePlatform, events: dict[str, Any]
) -> None:
    platform.heals_drift = True
    before = platform.written()
    flows.deploy.deploy(report_only=True, drift_check=True)
    assert platform.written() == before


def test_drift_is_an_event_only_when_something_differs(
    platform: FakePlatform, events: dict[str, Any]
) -> None:
    platform.runtime.ensure(processes(platform.settings, platform.place))
    flows.deploy.deploy()
    events.clear()
    state = flows.deploy.deploy(drift_check=True, return_state=True)
    assert "nothing differs" in str(state.message)
    assert events == {}
    platform.api.pools[names.POOL]["concurrency_limit"] = 99
    flows.deploy.deploy(drift_check=True)
    drift = "work pool default: updated (concurrency_limit)"
    assert events == {"clinical-ai.deploy.drift": {"changes": [drift]}}


@pytest.mark.parametrize("cause", ["a canary that fails", "a roll-out that fails"])
def test_job_templates_of_before_are_put_back(
    platform: FakePlatform,
    events: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    cause: str,
) -> None:
    flows.deploy.deploy()
    before = {"job_configuration": {}, "variables": {}}
    platform.api.pools[names.PLATFORM_POOL]["base_job_template"] = before
    if cause == "a canary that fails":
        platform.proof = [Result(CANARIES, passed=False, evidence="is pending")]
    else:

        def fails(*_: object, **__: object) -> None:
            raise NeedsOperator("it does not come up", "mend it")

        monkeypatch.setattr(platform, "bring", fails)
    assert flows.deploy.deploy(return_state=True).is_failed()
    assert platform.api.pools[names.PLATFORM_POOL]["base_job_template"] == before


def test_a_run_that_fails_halfway_leaves_what_it_found_and_why_it_failed(
    platform: FakePlatform, events: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise NeedsOperator("web does not come up", "mend it")

    monkeypatch.setattr(platform, "bring", fails)
    state = flows.deploy.deploy(return_state=True)
    assert state.is_failed()
    assert "web does not come up. mend it" in str(state.message)
    assert "Then it failed: web does not come up. mend it." in left()["deploy-self"]
    assert f"| work pool {names.POOL} | created |" in left()["deploy-self"]
    told = events["clinical-ai.deploy.failed"]
    assert told["failed"] == "web does not come up. mend it."
    assert f"work pool {names.POOL}: created" in told["changes"]


def test_a_change_that_does_not_prove_good_fails_the_run_and_leaves_all_it_found(
    platform: FakePlatform, events: dict[str, Any]
) -> None:
    platform.proof = [
        Result("pods ready", passed=True, evidence="3 pods"),
        Result("canary runs", passed=False, evidence="is pending", remedy="read its log"),
    ]
    state = flows.deploy.deploy(return_state=True)
    assert state.is_failed()
    assert "does not prove good: failed: canary runs" in str(state.message)
    assert platform.files.entries[-1]["failed"] == "it starts no run: failed: canary runs"
    rows = {row["check"]: row["result"] for row in json.loads(left()["deploy-self-proof"])}
    assert rows == {"pods ready": "passed", "canary runs": "FAILED"}
    [entry] = platform.files.entries
    assert entry["verified"] == "failed: canary runs"
    assert set(events) == {"clinical-ai.deploy.failed"}


def test_a_change_that_no_canary_had_room_to_prove_is_told_as_such(
    platform: FakePlatform, events: dict[str, Any]
) -> None:
    full = Result(CANARIES, passed=True, evidence="default: full, none flown", shown=False)
    platform.proof = [Result("pods ready", passed=True, evidence="3 pods"), full]
    state = flows.deploy.deploy(return_state=True)
    assert state.is_completed()
    assert "Not shown, which the next run tries: canary runs." in str(state.message)
    [entry] = platform.files.entries
    assert entry["verified"] == "1 checks passed, not shown: canary runs"
    assert "failed" not in entry
    assert set(events) == {"clinical-ai.deploy.finished"}


def test_a_change_that_proves_good_is_told_with_its_changes(
    platform: FakePlatform, events: dict[str, Any]
) -> None:
    platform.proof = [Result("pods ready", passed=True, evidence="3 pods")]
    assert flows.deploy.deploy(return_state=True).is_completed()
    assert platform.files.entries[-1]["verified"] == "1 checks passed"
    rows = {row["what"]: row["result"] for row in json.loads(left()["deploy-self-changes"])}
    assert rows[f"work pool {names.POOL}"] == "created"


def test_deploy_makes_what_is_missing_and_hands_its_own_processes_to_the_roll(
    platform: FakePlatform, events: dict[str, Any]
) -> None:
    state = flows.deploy.deploy(report_only=False, return_state=True)
    assert state.is_completed()
    assert sorted(platform.api.pools) == [names.POOL, names.PLATFORM_POOL]
    assert len(platform.api.deployments) == len(platform.rendered["deployments"])
    assert len(platform.api.automations) == 1
    assert platform.runtime.running == {}
    assert platform.runtime.started == [names.ROLL]
    journal = platform.files.journal
    assert journal is not None
    assert (journal.stage, journal.reason) == (Stage.PLANNED, "deploy/self")
    [entry] = platform.files.entries
    assert entry["release"] == "r1"
    assert entry["changes"] == events["clinical-ai.deploy.finished"]["changes"]
    assert any(names.WORKER in change for change in entry["changes"])


def test_settings_that_the_machine_can_not_run_with_fail_the_run_before_any_write(
    platform: FakePlatform, events: dict[str, Any]
) -> None:
    platform.faults.append(NeedsOperator("port 4201 is taken", "choose another"))
    before = platform.written()
    state = flows.deploy.deploy(report_only=False, return_state=True)
    assert state.is_failed()
    assert "port 4201 is taken. choose another" in str(state.message)
    assert platform.written() == before
    assert set(events) == {"clinical-ai.deploy.failed"}


def test_deploy_of_a_platform_that_is_as_wanted_writes_nothing_not_even_in_the_ledger(
    platform: FakePlatform, events: dict[str, Any]
) -> None:
    platform.runtime.ensure(processes(platform.settings, platform.place))
    flows.deploy.deploy(report_only=False)
    before = platform.written()
    state = flows.deploy.deploy(report_only=False, return_state=True)
    assert "nothing differs" in str(state.message)
    assert platform.written() == before
    assert platform.runtime.started == []


@pytest.mark.parametrize(
    ("stage", "told"),
    [(Stage.DONE, "(make up): restarted the worker."), (Stage.GAVE_UP, "gave up: restarted")],
)
def test_how_the_last_roll_ended_is_told_once(
    platform: FakePlatform, events: dict[str, Any], stage: Stage, told: str
) -> None:
    platform.runtime.ensure(processes(platform.settings, platform.place))
    platform.files.write_journal(new_journal("make up").ended(stage, "restarted the worker"))
    flows.deploy.deploy(report_only=False)
    assert told in left()["deploy-self"]
    flows.deploy.deploy(report_only=False)
    assert "The roll of" not in left()["deploy-self"]


def test_a_server_that_is_away_is_waited_for_and_in_the_end_fails_the_run(
    platform: FakePlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, outages = platform.api._call, [Transient("no answer"), Transient("no answer")]

    def call(*words: Any) -> Any:
        if outages:
            raise outages.pop()
        return real(*words)

    monkeypatch.setattr(platform.api, "_call", call)
    assert flows.deploy.deploy(report_only=True, return_state=True).is_completed()
    assert outages == []
    platform.api.down = True
    failed = flows.deploy.deploy(report_only=True, return_state=True)
    assert failed.is_failed()
    assert "no answer from Prefect" in str(failed.message)
