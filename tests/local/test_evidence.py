"""What a fresh platform told, kept and announced; and what it never does."""

import json
import re
from typing import Any

import pytest

from clinical_ai import names
from clinical_ai.steps.demonstration import SOURCES
from clinical_ai.waiting import Sighting, wait_until
from tests.support.platform import CHECKOUT, Site

pytestmark = pytest.mark.platform
# What a hospital's shell may hold for its own PostgreSQL.
THEIRS = {
    "PGSSLMODE": "require",
    "PGSERVICE": "theirs",
    "PGOPTIONS": "-c search_path=theirs -c nonsense=1",
    "PGTARGETSESSIONATTRS": "standby",
}


def emitted(site: Site) -> dict[str, Any]:
    """Name to payload of the newest of each event that the platform emitted."""
    wanted = {"event": {"prefix": [f"{names.EVENT_PREFIX}."]}, "order": "ASC"}
    found = site.platform.api.post("/events/filter", {"filter": wanted})
    return {event["event"]: event["payload"] for event in found["events"]}


def kept_by_prefect(site: Site) -> str:
    """All text of runs, artifacts, logs, blocks and events, secrets in clear."""
    api = site.platform.api
    paths = ("artifacts", "logs", "flow_runs", "task_runs", "deployments", "work_pools")
    texts = [json.dumps(row) for path in paths for row in api.pages(f"/{path}/filter")]
    blocks = api.pages("/block_documents/filter", {"include_secrets": True})
    texts += [json.dumps(block) for block in blocks]
    return "\n".join([*texts, json.dumps(emitted(site))])


def test_up_tells_every_step_in_its_order(site: Site) -> None:
    told = re.findall(r"^ *\d+\.\d s  (\S+(?: \S+)*)", site.first, re.MULTILINE)
    assert told == [
        *("checks", "state folder", "release", "database files", "processes", "database", "data"),
        *("server", "settings", "registration", "workers", names.DEPLOY_SELF),
        *(source.name for source in SOURCES),
    ]


def test_the_first_runs_announce_what_they_did(site: Site) -> None:
    wanted = {"clinical-ai.deploy.finished", "clinical-ai.pipeline.finished"}
    wait_until(
        "events of the first runs",
        lambda: Sighting(wanted <= emitted(site).keys(), f"only {list(emitted(site))}"),
        seconds=30,
    )
    loaded = emitted(site)["clinical-ai.pipeline.finished"]
    assert loaded["rows_loaded"] > 0
    assert loaded["destination"] == "demonstration"


def test_prefect_keeps_no_secret_not_even_in_a_block(site: Site) -> None:
    files = [path for path in (site.state / "secrets").rglob("*") if path.is_file()]
    secrets = {path.read_text().strip() for path in files}
    words = secrets | {re.split(r"[:@]", text)[2] for text in secrets if "://" in text}
    words |= {text.partition(":")[2] for text in secrets if text.startswith("admin:")}
    kept = kept_by_prefect(site)
    assert len(words) >= 7
    assert "secret:" in kept  # the settings block refers to them
    assert not [word[:3] for word in words if word in kept]


def test_prefect_keeps_no_patient_of_the_demonstration(site: Site) -> None:
    patients = site.platform.database.query("select name::text as name from demonstration.patient")
    families = set(re.findall(r'"family": ?"([^"]{5,})"', json.dumps(patients).replace("\\", "")))
    assert {"Chalmers", "Levin"} <= families
    kept = kept_by_prefect(site)
    assert "demonstration-fhir-to-demonstration" in kept  # the artifacts are among it
    assert not {family for family in families if family in kept}


def test_the_ledger_tells_which_release_was_deployed_and_by_which_run(site: Site) -> None:
    first = site.platform.files.ledger()[0]
    assert first["release"] == site.platform.instance.release
    run = site.platform.api.get(f"/flow_runs/{first['run']}")
    assert run["state_type"] == "COMPLETED"
    assert f"{site.platform.instance.ui_url}/v2/runs/flow-run/{first['run']}" in site.first


def test_runs_find_their_code_in_the_release_and_not_in_the_checkout(site: Site) -> None:
    platform = site.platform
    template = platform.api.get(f"/work_pools/{names.POOL}")["base_job_template"]
    properties = template["variables"]["properties"]
    release = str(site.state / "releases" / platform.instance.release)
    assert properties["working_dir"]["default"] == f"{release}/code"
    assert properties["command"]["default"].startswith(f'"{release}/venv/bin/python"')
    assert str(CHECKOUT) not in kept_by_prefect(site)


@pytest.mark.parametrize("name", sorted(THEIRS))
def test_the_callers_own_postgresql_is_left_out(site: Site, name: str) -> None:
    theirs = {name: THEIRS[name]}
    assert "1 row" in site.run("psql", "--", "-c", "select 1", environment=theirs).stdout
    asked = site.run("run", "nowhere", "demonstration", environment=theirs)
    assert "no source is named 'nowhere'" in asked.stderr
