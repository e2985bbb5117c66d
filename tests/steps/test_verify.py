"""Every check of verify fails when what it looks at is wrong, with the remedy for just that."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest
from pydantic import SecretStr

from clinical_ai import names
from clinical_ai.adapters.postgres import PostgresDatabase
from clinical_ai.ports import Database, ProcessSpec
from clinical_ai.settings import Development, Production
from clinical_ai.steps.canary import ARTIFACT_KEY
from clinical_ai.steps.catalog import ensure_catalog
from clinical_ai.steps.verify import (
    CANARIES,
    CHECKS,
    Result,
    as_rows,
    canaries,
    run,
    sentence,
    starts_no_run,
    table,
    verify_platform,
)
from tests.support.clock import Clock
from tests.support.fake_prefect import FakePrefect
from tests.support.fakes import FakeRuntime, MemoryStore

PROCESSES = (names.POSTGRES, names.SERVER, names.PLATFORM_WORKER, names.WORKER)
RENDERED = {
    "revision": "abc",
    "deployments": [{"body": {"name": "default", "entrypoint": "flows/canary.py:canary"}}],
}


@dataclass
class Parts:
    """A platform on which every check passes; a test breaks one thing."""

    database: Database
    prefect_database: Database
    settings: Development | Production = field(default_factory=Development)
    api: FakePrefect = field(default_factory=FakePrefect)
    storage: MemoryStore = field(default_factory=MemoryStore)
    runtime: FakeRuntime = field(default_factory=FakeRuntime)
    rendered: dict[str, Any] = field(default_factory=lambda: dict(RENDERED))
    living: set[str] = field(default_factory=set)
    silent: set[str] = field(default_factory=set)
    ui: str | None = "Prefect Server"
    repair: str = "`make up`"

    def living_runs(self) -> set[str]:
        return self.living

    def worker_answers(self, name: str) -> bool:
        return name not in self.silent

    def find_ui(self) -> str | None:
        return self.ui

    def canary(self) -> dict[str, Any]:
        flow, name = names.CANARY.split("/")
        found: dict[str, Any] = self.api.get(f"/deployments/name/{flow}/{name}")
        return found

    def run(self, state: str) -> str:
        """A run of the canary's deployment in this state."""
        path = f"/deployments/{self.canary()['id']}/create_flow_run"
        return str(self.api.post(path, {"state": {"type": state}, "name": "a-run"})["id"])


@pytest.fixture
def parts(database_url: SecretStr) -> Parts:
    database = PostgresDatabase(database_url)
    made = Parts(database, database)
    ensure_catalog(database, made.settings)
    database.execute(f"create schema {names.PREFECT_SCHEMA}")
    database.execute(f"create table {names.PREFECT_SCHEMA}.alembic_version (version_num text)")
    database.execute(f"insert into {names.PREFECT_SCHEMA}.alembic_version values ('abc')")
    made.runtime.ensure([ProcessSpec(name, ("x",)) for name in PROCESSES])
    made.storage.ensure_bucket("inbound")
    for pool, worker in ((names.POOL, names.WORKER), (names.PLATFORM_POOL, names.PLATFORM_WORKER)):
        made.api.post("/work_pools/", {"name": pool, "type": "process", "concurrency_limit": 4})
        made.api.post(f"/work_pools/{pool}/workers/heartbeat", {"name": worker})
    for pool, canary in ((names.POOL, names.CANARY), (names.PLATFORM_POOL, names.PLATFORM_CANARY)):
        flow, name = canary.split("/")
        body = {
            "name": name,
            "flow_id": made.api.post("/flows/", {"name": flow})["id"],
            "work_pool_name": pool,
            "entrypoint": "flows/canary.py:canary",
        }
        made.api.post("/deployments/", body)
    made.api.on_schedule = lambda deployment, schedule: fly(made, deployment, schedule)
    return made


def fly(parts: Parts, deployment: dict[str, Any], schedule: dict[str, Any]) -> None:
    """Scheduler and worker in one: a run, and its token as the result."""
    token = schedule["parameters"].get("token")
    body = {"state": {"type": "SCHEDULED"}, "parameters": {"token": token}}
    run = parts.api.post(f"/deployments/{deployment['id']}/create_flow_run", body)
    parts.api.post(f"/flow_runs/{run['id']}/set_state", {"state": {"type": "COMPLETED"}})
    artifact = {"flow_run_id": run["id"], "key": ARTIFACT_KEY, "data": token}
    parts.api.post("/artifacts/", artifact)


def failed(results: list[Result]) -> dict[str, Result]:
    return {result.check: result for result in results if not result.passed}


def test_a_sound_platform_passes_every_check_with_evidence(parts: Parts) -> None:
    results = verify_platform(parts)
    assert failed(results) == {}
    assert [result.check for result in results] == [check for check, _ in CHECKS]
    assert all(result.evidence and not result.remedy for result in results)
    assert sentence(results) == "15 checks passed"
    assert table(results)[-1] == "15 passed, 0 failed"


def test_a_full_pool_fails_nothing_and_shows_nothing(parts: Parts, clock: Clock) -> None:
    def only_through_the_other(deployment: dict[str, Any], schedule: dict[str, Any]) -> None:
        fly(parts, deployment, schedule)
        for row in list(parts.api.runs.values()):
            if row["work_pool_name"] == names.POOL and row["state_type"] != "RUNNING":
                row["state_type"] = "SCHEDULED"

    parts.api.on_schedule = only_through_the_other
    parts.api.pools[names.POOL]["concurrency_limit"] = 1
    clock.happens(lambda: parts.run("RUNNING"))
    look = partial(canaries, parts)
    found = run(CANARIES, look, parts.repair)
    assert (found.passed, found.shown, found.remedy) == (True, False, "")
    assert "default: full, none flown" in found.evidence
    assert "platform: run-" in found.evidence
    assert not starts_no_run([found])
    assert sentence([found, found]) == "0 checks passed, not shown: canary runs, canary runs"


def test_a_canary_that_was_flown_again_is_told_as_such(parts: Parts, clock: Clock) -> None:
    """Its worker's pod may go at any time."""

    def first_is_lost(deployment: dict[str, Any], schedule: dict[str, Any]) -> None:
        fly(parts, deployment, schedule)
        if len(flown := list(parts.api.runs.values())) == 1:
            parts.api.patch(f"/flow_runs/{flown[0]['id']}/labels", {"prefect.worker.name": "w"})
            flown[0] |= {"state_type": "PENDING", "name": "a-lost-run"}

    parts.api.on_schedule = first_is_lost
    told = canaries(parts, lambda worker: worker != "w")
    assert told.count("flown again: a-lost-run was lost with its worker") == 1


def _stop_worker(parts: Parts) -> None:
    parts.runtime.stop(names.WORKER)


def _not_ready(parts: Parts) -> None:
    get = parts.api.get
    parts.api.get = lambda path: None if path == "/ready" else get(path)  # type: ignore[method-assign]


def _older_revision(parts: Parts) -> None:
    parts.rendered["revision"] = "newer"


def _no_revision(parts: Parts) -> None:
    parts.database.execute(f"delete from {names.PREFECT_SCHEMA}.alembic_version")


def _no_pool(parts: Parts) -> None:
    """And so no worker of it, no queue and no place for the deployment."""
    parts.api.delete(f"/work_pools/{names.POOL}")
    parts.api.post("/work_pools/", {"name": "other", "type": "process"})


def _paused_pool(parts: Parts) -> None:
    parts.api.patch(f"/work_pools/{names.PLATFORM_POOL}", {"is_paused": True})


def _silent_worker(parts: Parts) -> None:
    parts.silent.add(names.PLATFORM_WORKER)


def _offline_worker(parts: Parts) -> None:
    parts.api.workers[names.POOL, names.WORKER]["status"] = "OFFLINE"


def _no_queue(parts: Parts) -> None:
    parts.api.delete(f"/work_pools/{names.POOL}/queues/{names.QUEUE}")


def _paused_queue(parts: Parts) -> None:
    parts.api.patch(f"/work_pools/{names.POOL}/queues/{names.QUEUE}", {"is_paused": True})


def _no_bucket(parts: Parts) -> None:
    parts.storage = MemoryStore()


def _no_table(parts: Parts) -> None:
    parts.database.execute(f"drop table {names.DESTINATIONS_TABLE}")


def _no_column(parts: Parts) -> None:
    parts.database.execute(f"alter table {names.SOURCES_TABLE} drop column kind")


def _not_registered(parts: Parts) -> None:
    more = {"body": {"name": "run_connector_pipeline", "entrypoint": "flows/x.py:x"}}
    parts.rendered["deployments"] = [*RENDERED["deployments"], more]


def _without_pool(parts: Parts) -> None:
    parts.api.deployments[parts.canary()["id"]]["work_pool_name"] = None
    parts.api.on_schedule = lambda deployment, schedule: fly(parts, deployment, schedule)


def _lost_run(parts: Parts) -> None:
    parts.run("RUNNING")


def _failing_canary(parts: Parts) -> None:
    def crash(deployment: dict[str, Any], schedule: dict[str, Any]) -> None:
        fly(parts, deployment, schedule)
        run = list(parts.api.runs)[-1]
        state = {"type": "CRASHED", "message": "no memory"}
        parts.api.post(f"/flow_runs/{run}/set_state", {"state": state})

    parts.api.on_schedule = crash


def _no_ui(parts: Parts) -> None:
    parts.ui = None


@pytest.mark.parametrize(
    ("fault", "check", "evidence", "remedy"),
    [
        (_stop_worker, "processes run", f"not running: {names.WORKER}", "run `make up`"),
        (_not_ready, "API ready", "what answers does not know /api/ready", "run `make up`"),
        (_older_revision, "database revision", "abc, this release needs newer", "`make up`"),
        (_no_revision, "database revision", "revision none, this release needs abc", "`make up`"),
        (_no_pool, "work pools", "work pool default does not exist", "run `make up`"),
        (_paused_pool, "work pools", "platform is paused", "prefect work-pool resume platform"),
        (_silent_worker, "workers online", f"not online: {names.PLATFORM_WORKER}", "log"),
        (_offline_worker, "workers online", f"not online: {names.WORKER}", "log"),
        (_no_queue, "work queue", "does not exist", "prefect work-queue create default"),
        (_paused_queue, "work queue", "default is paused", "prefect work-queue resume default"),
        (_no_bucket, "storage", "the storage has no bucket", "create one, or run `make up`"),
        (_no_table, "connector tables", f"{names.DESTINATIONS_TABLE} does not exist", "make up"),
        (_no_column, "connector tables", "kind", ""),
        (_not_registered, "deployments", "not registered: run_connector_pipeline", "make up"),
        (_without_pool, "deployments", "without a work pool: default", "one of the pools"),
        (_lost_run, "runs have processes", "active without a process: a-run", "two minutes"),
        (_failing_canary, "canary runs", "ended crashed: no memory", "read the run's log"),
        (_no_ui, "UI", "the UI does not answer", "server's log"),
    ],
    ids=lambda value: value.__name__.strip("_") if callable(value) else "",
)
def test_a_fault_fails_its_check_and_says_what_to_do(
    parts: Parts, fault: Callable[[Parts], None], check: str, evidence: str, remedy: str
) -> None:
    fault(parts)
    results = verify_platform(parts)
    found = failed(results)
    assert evidence in found[check].evidence
    assert remedy in found[check].remedy
    assert found[check].remedy
    assert len(results) == len(CHECKS), "one failure stops no other check"
    if fault is not _no_pool:
        assert list(found) == [check], "and fails no other"
    assert sentence(results).startswith("failed: ")
    assert f"what to do: {found[check].remedy}" in "\n".join(table(results))
    assert {row["result"] for row in as_rows(results)} == {"passed", "FAILED"}


def test_a_run_with_a_process_is_evidence_and_no_fault(parts: Parts) -> None:
    parts.living.add(parts.run("RUNNING"))
    results = {result.check: result for result in verify_platform(parts)}
    assert results["runs have processes"].passed
    assert "1 run(s) with a process" in results["runs have processes"].evidence


def test_a_server_and_a_database_that_are_away_fail_their_checks_and_no_other(
    parts: Parts,
) -> None:
    parts.api.down = True
    found = failed(verify_platform(parts))
    assert found["API health"].remedy == "wait a moment, then run `make up`"
    assert {"processes run", "database", "storage", "connector tables", "UI"}.isdisjoint(found)
    parts.api.down = False
    parts.database = PostgresDatabase(SecretStr("postgresql://u:canary@127.0.0.1:9/d"))
    found = failed(verify_platform(parts))
    assert set(found) == {"database", "connector tables", "canary runs"}
    assert "canary@" not in str(found)


def test_a_schema_without_tables_is_told(parts: Parts) -> None:
    parts.database.execute(f"drop table {names.PREFECT_SCHEMA}.alembic_version")
    found = failed(verify_platform(parts))
    assert set(found) == {"database revision", "schema prefect"}
    remedy = "run `make up`, in a cluster bootstrap, which makes them"
    assert found["schema prefect"].remedy == remedy


def test_a_storage_that_gives_back_something_else_is_told_and_left_clean(parts: Parts) -> None:
    class Forgetful(MemoryStore):
        def put(self, bucket: str, name: str, data: bytes) -> None:
            super().put(bucket, name, data[:3])

    parts.storage = Forgetful()
    parts.storage.ensure_bucket("inbound")
    assert "reads back differently" in failed(verify_platform(parts))["storage"].evidence
    assert list(parts.storage.list("inbound")) == []
