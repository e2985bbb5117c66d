"""A real platform on this machine, from the command line a person types.

One platform serves the whole file; tests leave it as they found it. Those that stop, break or
remove it stand last.
"""

import json
import os
import signal
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import copytree
from typing import Any

import psutil
import pytest

from clinical_ai import names
from clinical_ai.adapters.change_lock import change_lock
from clinical_ai.adapters.orphans import flow_runs_of, processes_of
from clinical_ai.plans import Stage
from clinical_ai.steps.runs import (
    FINAL,
    Run,
    follow_run,
    get_run,
    lost_runs,
    runs_in,
    start_run,
)
from clinical_ai.waiting import Sighting, wait_until
from tests.support.listener import Listener
from tests.support.platform import CHECKOUT, PROFILES, Site

pytestmark = pytest.mark.platform
LOADED = {"trial": 2139, "patient": 22, "observation": 64}


def rows(site: Site) -> dict[str, int]:
    query = "select count(*) as n from demonstration.{}"
    return {t: site.platform.database.query(query.format(t))[0]["n"] for t in LOADED}


def written(site: Site) -> dict[str, Any]:
    """When anything in Prefect was last written, and which runs there are."""
    api = site.platform.api
    paths = ("deployments", "block_documents", "work_pools", "automations", "block_schemas")
    found: dict[str, Any] = {
        path: sorted((row["id"], row["updated"]) for row in api.pages(f"/{path}/filter"))
        for path in paths
    }
    found["runs"] = sorted(row["id"] for row in api.pages("/flow_runs/filter") if row["start_time"])
    return found


def edit(site: Site, **fields: Any) -> None:
    """What the form of the Prefect UI does."""
    api = site.platform.api
    path = f"/block_types/slug/{names.SETTINGS_BLOCK_TYPE}/block_documents/name"
    block = api.get(f"{path}/{names.SETTINGS_BLOCK}")
    api.patch(
        f"/block_documents/{block['id']}",
        {"data": {**block["data"], **fields}, "merge_existing_data": False},
    )


def deployed(site: Site, name: str, **parameters: Any) -> Run:
    api = site.platform.api
    return follow_run(api, start_run(api, name, parameters), seconds=120)


def artifact(site: Site, run: Run, key: str) -> Any:
    found = site.platform.api.post(
        "/artifacts/filter",
        {"artifacts": {"flow_run_id": {"any_": [run.id]}, "key": {"any_": [key]}}},
    )
    return found[0]["data"]


@contextmanager
def slow_deployment(site: Site) -> Iterator[str]:
    """A deployment as the backend makes one: by REST, with an absolute entrypoint."""
    file = site.root / "slow.py"
    file.write_text(
        "import time\nfrom prefect import flow\n\n\n@flow\ndef slow(seconds: int = 1):\n"
        "    for _ in range(seconds * 10):\n        time.sleep(0.1)\n"
    )
    api = site.platform.api
    flow = api.post("/flows/", {"name": "slow"})
    body = {
        "name": "slow",
        "flow_id": flow["id"],
        "entrypoint": f"{file}:slow",
        "work_pool_name": names.POOL,
        "description": "",
    }
    made = api.post("/deployments/", body)
    yield "slow/slow"
    api.delete(f"/deployments/{made['id']}")


def await_state(site: Site, run_id: str, *states: str, seconds: float = 60) -> Run:
    def look() -> Sighting:
        run = get_run(site.platform.api, run_id)
        return Sighting(done=run.state in states, summary=f"it is {run.state}")

    wait_until(f"run {run_id} to be {' or '.join(states)}", look, seconds=seconds)
    return get_run(site.platform.api, run_id)


def lost(site: Site) -> list[str]:
    platform, living = site.platform, flow_runs_of(site.state)
    pools = (names.POOL, names.PLATFORM_POOL)
    return [row["name"] for pool in pools for row in lost_runs(platform.api, pool, living)]


def test_up_ends_with_the_demonstration_loaded_and_says_where_everything_is(site: Site) -> None:
    assert rows(site) == LOADED
    assert "2139 rows in demonstration.trial" in site.first
    assert f"http://127.0.0.1:{site.port}" in site.first
    assert str(site.state / "secrets" / f"{names.PRODUCT}-api" / "auth-string") in site.first


def test_no_secret_is_said_logged_or_put_on_a_command_line(site: Site) -> None:
    secrets = site.platform.secrets
    words = [
        secrets.get(names.API_AUTH).get_secret_value().partition(":")[2],
        secrets.get(names.ENCRYPTION_KEY).get_secret_value(),
        secrets.get(names.DATABASE_URL).get_secret_value().split(":")[2].partition("@")[0],
        secrets.get(names.PREFECT_DATABASE_URL).get_secret_value().split(":")[2].partition("@")[0],
        secrets.get(names.SUPERUSER_PASSWORD).get_secret_value(),
        "Chalmers",  # a patient of the demonstration
    ]
    files = [p for folder in ("logs", "run", "record") for p in (site.state / folder).rglob("*")]
    texts = [p.read_text(errors="replace") for p in files if p.is_file()]
    lines = [process.info["cmdline"] for process in psutil.process_iter(["cmdline"])]
    texts += [" ".join(words or []) for words in lines]
    for word in words:
        assert word
        assert not [text[:200] for text in [site.first, *texts] if word in text]


def test_secret_files_are_for_their_owner_alone(site: Site) -> None:
    files = [path for path in (site.state / "secrets").rglob("*") if path.is_file()]
    assert len(files) >= 5
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}


def test_nothing_of_the_platform_runs_as_root(site: Site) -> None:
    users = {process.uids().effective for process in processes_of(site.state)}
    assert len(processes_of(site.state)) >= 5
    assert 0 not in users
    assert users == {(site.state / "run").stat().st_uid}


def test_a_second_up_writes_nothing_and_starts_no_run(site: Site) -> None:
    before, ledger = written(site), site.platform.files.ledger()
    site.up()
    assert written(site) == before
    assert site.platform.files.ledger() == ledger


def test_the_callers_own_prefect_is_left_alone(site: Site) -> None:
    left = [path for path in site.home.rglob("*") if path.is_file()]
    assert left == [site.home / ".prefect" / "profiles.toml"]
    assert left[0].read_text() == PROFILES
    assert not Path("/nonexistent").exists()


def test_status_tells_a_script_what_it_needs(site: Site) -> None:
    done = site.run("status", "--json")
    seen = json.loads(done.stdout)
    assert done.returncode == 0
    assert seen["api_url"] == f"http://127.0.0.1:{site.port}/api"
    assert seen["ui_url"] == f"http://127.0.0.1:{site.port}"
    assert seen["release"] == site.platform.instance.release
    assert {process["state"] for process in seen["processes"]} == {"running"}
    assert "@127.0.0.1" in seen["database_url"]
    assert ":" not in seen["database_url"].partition("//")[2].partition("@")[0]
    assert "running" in site.run("status").stdout


def test_verify_tells_a_paused_pool_with_its_remedy_and_passes_the_rest(site: Site) -> None:
    site.platform.api.patch(f"/work_pools/{names.PLATFORM_POOL}", {"is_paused": True})
    failed = site.run("verify", "--json")
    site.platform.api.patch(f"/work_pools/{names.PLATFORM_POOL}", {"is_paused": False})
    assert failed.returncode == 1
    told = {row["check"]: row for row in json.loads(failed.stdout)}
    assert [check for check, row in told.items() if row["result"] != "passed"] == ["work pools"]
    assert "prefect work-pool resume platform" in told["work pools"]["what to do"]


def test_verify_and_drift_report_run_as_flows_and_leave_their_tables(site: Site) -> None:
    verified = deployed(site, names.VERIFY)
    assert verified.state == "COMPLETED", verified.message
    table = json.loads(artifact(site, verified, "verify"))
    assert len(table) == 15
    assert {row["result"] for row in table} == {"passed"}
    reported = deployed(site, names.DEPLOY_SELF, report_only=True)
    assert reported.completed
    assert "nothing differs" in artifact(site, reported, "deploy-self")


def test_env_points_prefects_own_command_line_at_this_platform(site: Site, tmp_path: Path) -> None:
    """Whatever profile is the active one there."""
    profile = copytree(site.home / ".prefect", tmp_path / "home")  # Prefect may write there
    here = {**site.environment, "PREFECT_HOME": str(profile), "COLUMNS": "200"}
    del here["SSL_CERT_FILE"]
    listed = subprocess.run(
        ["/bin/bash", "-c", f"{site.run('env').stdout}\nexec .venv/bin/prefect deployment ls"],
        cwd=CHECKOUT,
        env=here,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "run-connector-pipeline/run_connector_pipeline" in listed.stdout, listed.stderr


def test_prefect_deploy_from_a_checkout_changes_nothing_that_matters(site: Site) -> None:
    """And the guide's own line works, and its run finds its code in the release."""
    before = deployments(site)
    guide = (
        "deploy flows/dlt_pipeline_flow.py:run_connector_pipeline --name run_connector_pipeline "
        "--pool default --work-queue default"
    )
    for line in ("deploy --all", guide):
        done = subprocess.run(
            [str(CHECKOUT / ".venv/bin/prefect"), "--no-prompt", *line.split()],
            cwd=CHECKOUT,
            env={
                **os.environ,
                "PREFECT_API_URL": site.platform.instance.api_url,
                "PREFECT_API_AUTH_STRING": site.platform.secrets.get(
                    names.API_AUTH
                ).get_secret_value(),
            },
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    assert deployments(site) == before
    ran = site.run("run", "demonstration-trial", "demonstration", "--json")
    assert json.loads(ran.stdout)["state"] == "COMPLETED", ran.stderr
    assert rows(site) == LOADED


def deployments(site: Site) -> dict[str, Any]:
    # What the server writes itself whenever a worker asks for runs, or does not, is left out, and
    # so are the slots that a scheduled run takes meanwhile.
    ignored = {
        "updated",
        "version_id",
        "created_by",
        "updated_by",
        "last_polled",
        "status",
        "active_slots",
    }
    limit = "global_concurrency_limit"

    def settled(row: Any) -> dict[str, Any]:
        return {key: value for key, value in row.items() if key not in ignored}

    return {
        row["id"]: {  # two flows may have deployments of the same name
            **settled(row),
            "schedules": [settled(each) for each in row["schedules"]],
            limit: row[limit] and settled(row[limit]),
        }
        for row in site.platform.api.pages("/deployments/filter")
    }


def test_a_misspelled_source_is_refused_with_the_nearest_name(site: Site) -> None:
    done = site.run("run", "demonstration-trail", "demonstration")
    assert done.returncode == 1
    assert "did you mean 'demonstration-trial'" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_deployment_of_the_backend_with_a_relative_entrypoint_runs(site: Site) -> None:
    api = site.platform.api
    flow = api.post("/flows/", {"name": "canary"})
    body = {"name": "backend", "flow_id": flow["id"], "entrypoint": "flows/canary.py:canary"}
    made = api.post("/deployments/", {**body, "work_pool_name": names.POOL, "description": ""})
    assert deployed(site, "canary/backend", token="t").state == "COMPLETED"
    api.delete(f"/deployments/{made['id']}")


def test_psql_opens_the_data_and_not_prefects_tables(site: Site) -> None:
    assert "1 row" in site.run("psql", "--", "-c", "select 1").stdout
    refused = site.run("psql", "--", "-c", "select * from prefect.block_document")
    assert "permission denied" in refused.stderr


def test_an_edited_block_is_applied_without_cutting_a_run(site: Site) -> None:
    worker = pid_of(site, names.WORKER)
    with slow_deployment(site) as name:
        run = start_run(site.platform.api, name, {"seconds": 5})
        await_state(site, run, "RUNNING")
        edit(site, worker_query_seconds=4)
        applied = deployed(site, names.DEPLOY_SELF, report_only=False)
        assert applied.completed
        assert follow_run(site.platform.api, run, seconds=60).state == "COMPLETED"
    wait_until("the roll to end", lambda: roll_ended(site), seconds=90)
    journal = site.platform.files.find_journal()
    assert journal is not None
    assert journal.stage is Stage.DONE, journal.outcome
    assert pid_of(site, names.WORKER) != worker
    reported = deployed(site, names.DEPLOY_SELF, report_only=False)
    report = artifact(site, reported, "deploy-self")
    assert "The roll of" in report
    assert names.WORKER in report
    pools = [site.platform.api.get(f"/work_pools/{pool}") for pool in ("default", "platform")]
    assert [pool["is_paused"] for pool in pools] == [False, False]


def test_settings_that_this_machine_can_not_run_with_are_refused_before_anything_changes(
    site: Site,
) -> None:
    before = {status.name: status.pid for status in site.platform.runtime.processes()}
    journal = site.platform.files.find_journal()
    with Listener() as stranger:
        edit(site, ca_bundle="/nonexistent.pem", prefect_api_url=stranger.api)
        refused = deployed(site, names.DEPLOY_SELF, report_only=False)
        asked = site.run("up")
        by_hand = site.run("roll")
    assert refused.state == "FAILED"
    for told in (refused.message, asked.stderr, by_hand.stderr):
        assert "ca-bundle /nonexistent.pem can't be read" in told
        assert f"port {stranger.port} is taken by " in told
    edit(site, ca_bundle=None, prefect_api_url=site.platform.instance.api_url)
    assert {status.name: status.pid for status in site.platform.runtime.processes()} == before
    assert site.platform.files.find_journal() != journal, "the roll by hand gave up"
    assert deployed(site, names.DEPLOY_SELF, report_only=False).completed
    assert json.loads(site.run("status", "--json").stdout)["healthy"]


def test_a_block_that_is_wrong_is_named_and_a_file_replaces_it(site: Site) -> None:
    file = site.root / "right.toml"
    file.write_text("worker-query-seconds = 2\n")
    edit(site, log_level="LOUD")
    refused = site.run("up")
    assert refused.returncode == 1
    assert "block clinical-ai-settings/platform: log-level (given 'LOUD')" in refused.stderr
    site.up("--settings", str(file), "--replace-settings")
    assert site.platform.settings.log_level == "INFO"


def pid_of(site: Site, name: str) -> int | None:
    return {process.name: process.pid for process in site.platform.runtime.processes()}[name]


def roll_ended(site: Site) -> Sighting:
    journal = site.platform.files.find_journal()
    ended = journal is not None and not journal.open
    return Sighting(done=ended, summary=str(journal and journal.stage))


def write_teams_file(site: Site, *deployments: str, parameter: str = "n") -> Path:
    """A prefect.yaml of a team beside the platform's."""
    folder = site.root / "team"
    folder.mkdir(exist_ok=True)
    (folder / "flows.py").write_text("from prefect import flow\n\n@flow\ndef mine(n: int): ...\n")
    step = f"prefect.deployments.steps.set_working_directory: {{directory: '{folder}'}}"
    entries = "".join(
        f"  - name: {name}\n    entrypoint: flows.py:mine\n    tags: ['owner:team']\n"
        f"    work_pool: {{name: default}}\n    parameters: {{{parameter}: 1}}\n"
        for name in deployments
    )
    file = folder / "prefect.yaml"
    file.write_text(f"pull:\n  - {step}\ndeployments:\n{entries}")
    return file


def test_a_teams_own_file_is_registered_beside_the_platforms_and_runs(site: Site) -> None:
    file = write_teams_file(site, "one", parameter="m")
    refused = site.run("register", str(file))
    assert refused.returncode == 1
    assert f"{file}:8: parameter m: the flow has no such parameter" in refused.stderr
    write_teams_file(site, "one")
    before = written(site)
    planned = json.loads(site.run("register", "--plan", "--json", str(file)).stdout)
    assert [step["action"] for step in planned["steps"]] == ["create"]
    assert written(site) == before
    done = site.run("register", str(file))
    assert "create     mine/one" in done.stdout
    assert "1 unchanged" in site.run("register", str(file)).stdout
    try:
        assert follow_run(
            site.platform.api, start_run(site.platform.api, "mine/one", {}), seconds=60
        ).completed
        assert "unchanged" in site.run("register").stdout, "the platform's own are left alone"
    finally:
        row = site.platform.api.get("/deployments/name/mine/one")
        site.platform.api.delete(f"/deployments/{row['id']}")


def test_register_runs_as_a_flow_and_reports_drift(site: Site) -> None:
    api = site.platform.api
    row = api.get(f"/deployments/name/{names.VERIFY}")
    api.patch(f"/deployments/{row['id']}", {"description": "by hand"})
    drift = deployed(site, names.REGISTER, report_only=True)
    assert "1 update" in drift.message
    assert "description: " in artifact(site, drift, "register-flows")
    assert api.get(f"/deployments/{row['id']}")["description"] == "by hand"
    assert "1 update" in site.run("register").stdout
    assert api.get(f"/deployments/{row['id']}")["description"] == row["description"]


def test_a_large_removal_waits_for_an_answer_without_a_process(site: Site) -> None:
    api = site.platform.api
    assert "3 create" in site.run("register", str(write_teams_file(site, *"xyz"))).stdout
    file = write_teams_file(site, "x")
    run = start_run(api, names.REGISTER, {"files": [str(file)]})

    def asks() -> Sighting:
        state = api.get(f"/flow_runs/{run}")["state_name"]
        return Sighting(state == "Suspended" and run not in site.platform.living_runs(), state)

    wait_until("the question", asks, seconds=60, every=0.5)
    assert api.get("/deployments/name/mine/y") is not None
    api.post(f"/flow_runs/{run}/resume", {"run_input": {"remove_them": True}})
    assert follow_run(api, run, seconds=60).completed
    assert api.get("/deployments/name/mine/y") is None
    api.delete(f"/deployments/{api.get('/deployments/name/mine/x')['id']}")


def write_other_settings(site: Site) -> Path:
    file = site.root / "settings.toml"
    file.write_text(
        f'prefect-api-url = "http://127.0.0.1:{site.port}/api"\nworker-concurrency = 7\n'
        "worker-query-seconds = 2\n"
    )
    return file


def test_a_settings_file_that_differs_is_refused_field_by_field_until_told(site: Site) -> None:
    file, before = write_other_settings(site), written(site)
    refused = site.run("up", "--settings", str(file))
    assert refused.returncode == 1
    assert "worker-concurrency: saved 4, given 7" in refused.stderr
    assert written(site) == before
    assert "worker-concurrency" in site.run("up", "--settings", str(file), "--diff").stdout


def test_a_change_mends_a_server_that_does_not_answer(site: Site) -> None:
    """As after a release whose server does not start: the next `up` replaces it."""
    site.platform.runtime.stop(names.SERVER)
    site.up("--settings", str(write_other_settings(site)), "--replace-settings")
    assert site.platform.api.get(f"/work_pools/{names.POOL}")["concurrency_limit"] == 7
    assert json.loads(site.run("status", "--json").stdout)["healthy"]


def test_all_faults_of_a_request_are_told_at_once(site: Site) -> None:
    file = site.root / "wrong.toml"
    file.write_text('worker-concurency = 3\nlog-level = "LOUD"\nminio-access-key = "AKIAPASTED"\n')
    done = site.run("up", "--settings", str(file))
    assert done.returncode == 1
    assert "did you mean 'worker-concurrency'" in done.stderr
    assert "LOUD" in done.stderr
    assert "minio-access-key" in done.stderr
    assert "AKIAPASTED" not in done.stderr


def test_check_changes_nothing(site: Site) -> None:
    before = written(site)
    assert site.run("up", "--check").returncode == 0
    assert written(site) == before


def test_of_two_at_once_the_second_says_who_holds_the_lock(site: Site) -> None:
    with change_lock(site.platform.state.lock, "a long change"):
        done = site.run("up")
    assert done.returncode == 1
    assert f"a long change by root, process {os.getpid()}" in done.stderr.replace(
        os.environ.get("USER", "root"), "root"
    )


def test_a_run_whose_worker_and_process_were_killed_is_crashed_and_no_slot_stays_taken(
    site: Site,
) -> None:
    with slow_deployment(site) as name:
        run = start_run(site.platform.api, name, {"seconds": 60})
        await_state(site, run, "RUNNING")
        mine = [
            p for p in processes_of(site.state) if p.environ().get("PREFECT__FLOW_RUN_ID") == run
        ]
        for process in [psutil.Process(pid_of(site, names.WORKER)), *mine]:
            process.kill()
        assert await_state(site, run, *FINAL, seconds=30).state == "CRASHED"
        assert runs_in(site.platform.api, names.POOL) == []


@pytest.mark.parametrize("victim", ["supervisor.supervisord", "/bin/postgres"])
def test_up_heals_after_kill_9(site: Site, victim: str) -> None:
    chosen = [p for p in processes_of(site.state) if victim in " ".join(p.cmdline())]
    assert chosen
    for process in chosen:
        process.kill()
    site.up()
    assert is_as_before(site)


def is_as_before(site: Site) -> bool:
    """No row is lost or doubled, no run taken for one that goes on, and all is well."""
    assert rows(site) == LOADED
    wait_until("lost runs to be settled", lambda: Sighting(not lost(site), "some"), seconds=60)
    return bool(json.loads(site.run("status", "--json").stdout)["healthy"])


def test_after_everything_was_killed_an_up_that_is_killed_too_is_finished_by_the_next(
    site: Site,
) -> None:
    for process in processes_of(site.state):
        process.kill()
    killed = site.start("up")
    assert killed.stdout
    for line in killed.stdout:
        if "processes" in line:
            break
    os.killpg(killed.pid, signal.SIGKILL)
    killed.communicate()
    site.up()
    assert is_as_before(site)


def test_a_changed_checkout_touches_nothing_until_the_next_up(site: Site) -> None:
    """The release is a copy: its code is not the checkout's, and nobody may write it."""
    release = site.state / "releases" / site.platform.instance.release
    code = release / "code" / "flows" / "canary.py"
    assert code.stat().st_ino != (CHECKOUT / "flows" / "canary.py").stat().st_ino
    assert not code.stat().st_mode & 0o222
    package = next(release.glob("venv/lib/python*/site-packages/prefect/__init__.py"))
    assert not package.stat().st_mode & 0o222


def test_down_waits_for_what_ends_in_time_stops_the_rest_and_up_brings_the_data_back(
    site: Site,
) -> None:
    with slow_deployment(site) as name:
        runs = [start_run(site.platform.api, name, {"seconds": seconds}) for seconds in (3, 200)]
        for run in runs:
            await_state(site, run, "RUNNING", "COMPLETED")
        done = site.run("down", "--drain", "5")
        assert done.returncode == 0, done.stderr
        assert "stopping anyway" in done.stdout
        assert processes_of(site.state) == []
        assert site.run("status").returncode == 1
        site.up()
        ended = [get_run(site.platform.api, run).state for run in runs]
    assert ended == ["COMPLETED", "CRASHED"]
    assert rows(site) == LOADED
    pools = [site.platform.api.get(f"/work_pools/{pool}") for pool in ("default", "platform")]
    assert [pool["is_paused"] for pool in pools] == [False, False]


def test_a_down_that_was_killed_leaves_no_pool_closed_and_cuts_no_run(site: Site) -> None:
    api = site.platform.api
    with slow_deployment(site) as name:
        run = start_run(api, name, {"seconds": 9})
        await_state(site, run, "RUNNING")
        stopping = site.start("down", "--drain", "100")
        held = lambda: Sighting(bool(api.get(f"/work_pools/{names.POOL}")["is_paused"]), "open")  # noqa: E731
        wait_until("the hold", held, seconds=30, every=0.1)
        os.killpg(stopping.pid, signal.SIGKILL)
        stopping.communicate()
        site.up()
        assert follow_run(api, run, seconds=60).completed
    pools = [api.get(f"/work_pools/{pool}") for pool in ("default", "platform")]
    assert [pool["is_paused"] for pool in pools] == [False, False]


def test_destroy_asks_and_removes_only_when_told(site: Site) -> None:
    kept = site.run("destroy", given="no\n")
    assert kept.returncode == 1
    assert rows(site) == LOADED
    gone = site.run("destroy", given="destroy\n")
    assert gone.returncode == 0, gone.stderr
    assert not Path(site.state).exists()
    assert "run `make up` first" in site.run("status").stderr
