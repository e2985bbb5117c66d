"""`prefect deploy --all` on a server and ours leave the same there, for every key of a file."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from clinical_ai.adapters.deployment_reader import reading
from clinical_ai.adapters.prefect_rest import PrefectRest
from clinical_ai.deployment_plan import Action, with_cron
from clinical_ai.steps.registration import register
from tests.support.prefect_server import PrefectServer, ensure_pool

FLOWS: Final = '''\
from prefect import flow

@flow(name="every-key")
def every(a: int, b: str = "x", c: list[str] | None = None):
    """The docstring."""
'''
FILE: Final = """\
name: team
prefect-version: 3.8.8
definitions:
  common: &common
    tags: ["owner:every-key", "second"]
    entrypoint: flows.py:every
build:
  - prefect.deployments.steps.run_shell_script: {id: image, script: echo image-7}
push:
  - prefect.deployments.steps.run_shell_script: {script: echo pushed}
pull:
  - prefect.deployments.steps.set_working_directory: {directory: /app}
deployments:
  - <<: *common
    name: full
    version: "7"
    version_type: prefect:simple
    description: "{{ image.stdout }} and {{ $GREETING }}"
    paused: true
    parameters: {a: 1, c: [x, y]}
    enforce_parameter_schema: false
    concurrency_limit: {limit: 2, collision_strategy: CANCEL_NEW, grace_period_seconds: 90}
    work_pool:
      name: every-key
      work_queue_name: fast
      job_variables: {env: {IMAGE: "{{ image.stdout }}", TWO: "2"}, working_dir: /app}
    schedules:
      - {slug: cron, cron: "0 5 * * 1", timezone: Europe/Berlin, day_or: false, parameters: {a: 2}}
      - {slug: interval, interval: 900, anchor_date: "2026-01-01T00:00:00Z", timezone: UTC}
      - {slug: rule, rrule: "FREQ=DAILY;COUNT=3000", timezone: UTC, active: false}
    triggers:
      - expect: [a.b]
        match: {"prefect.resource.id": "x.*"}
        parameters: {a: 5, b: "{{ event.id }}"}
      - {name: second trigger, enabled: false, expect: [c.d], threshold: 2, within: 60}
  - <<: *common
    name: small
    work_pool: {name: every-key}
  - <<: *common
    name: own-pull
    pull:
      - prefect.deployments.steps.git_clone: {repository: "https://example.org/r", branch: main}
    work_pool: {name: every-key}
    concurrency_limit: 4
"""
# Ids and times; the version row that Prefect makes from where it runs; what workers report.
_OURS_NOT: Final = {"id", "created", "updated", "status", "last_polled", "created_by", "updated_by"}
_OURS_NOT |= {"version_id", "version_info", "global_concurrency_limit", "labels"}


def seen(api: PrefectRest) -> Any:
    """All that a file decides: deployments by name with their schedules and automations."""
    found = {}
    automations = list(api.pages("/automations/filter"))
    for row in api.pages("/deployments/filter"):
        if "owner:every-key" not in row["tags"]:
            continue
        fields = {key: value for key, value in row.items() if key not in _OURS_NOT}
        fields["limit"] = (row["global_concurrency_limit"] or {}).get("limit")
        fields["schedules"] = sorted(
            (
                {key: each[key] for key in ("slug", "schedule", "active", "parameters")}
                for each in row["schedules"]
            ),
            key=lambda each: each["slug"],
        )
        owned = [each for each in automations if row["id"] in json.dumps(each["actions"])]
        told = json.dumps(sorted(owned, key=lambda each: str(each["name"])))
        fields["automations"] = without_ids(json.loads(told.replace(row["id"], "SELF")))
        found[row["name"]] = fields
    return found


def without_ids(tree: Any) -> Any:
    if isinstance(tree, dict):
        gone = {"id", "created", "updated"}
        return {key: without_ids(value) for key, value in tree.items() if key not in gone}
    return [without_ids(each) for each in tree] if isinstance(tree, list) else tree


def remove(api: PrefectRest) -> None:
    for row in list(api.pages("/deployments/filter")):
        if "owner:every-key" in row["tags"]:
            api.delete(f"/automations/owned-by/prefect.deployment.{row['id']}")
            api.delete(f"/deployments/{row['id']}")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "flows.py").write_text(FLOWS)
    (tmp_path / "prefect.yaml").write_text(FILE)
    return tmp_path


def deploy_all(prefect_server: PrefectServer, folder: Path, environ: dict[str, str]) -> None:
    server = {
        "PREFECT_API_URL": prefect_server.url,
        "PREFECT_API_AUTH_STRING": prefect_server.auth.get_secret_value(),
    }
    done = subprocess.run(
        [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"],
        cwd=folder,
        env={**environ, **server, "DO_NOT_TRACK": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_prefect_sets_a_schedule_of_settings_back_and_the_next_registration_mends_it(
    prefect_server: PrefectServer, folder: Path
) -> None:
    api = prefect_server.open()
    ensure_pool(api, "every-key")
    environ = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "GREETING": "hello"}
    with reading([folder / "prefect.yaml"], environ, steps="run") as found:
        wanted = [
            with_cron(each, "cron", "7 3 * * *") if each.full_name == "every-key/full" else each
            for each in found()
        ]
    register(api, wanted, "a test", wait=0)
    deploy_all(prefect_server, folder, environ)
    assert "0 5 * * 1" in str(seen(api)["full"]["schedules"])
    register(api, wanted, "a test", wait=0)
    assert "7 3 * * *" in str(seen(api)["full"]["schedules"])
    remove(api)


def test_every_key_of_a_file_is_registered_as_prefect_does(
    prefect_server: PrefectServer, folder: Path
) -> None:
    api = prefect_server.open()
    ensure_pool(api, "every-key")
    environ = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "GREETING": "hello"}
    deploy_all(prefect_server, folder, environ)
    theirs = seen(api)
    assert theirs.keys() == {"full", "small", "own-pull"}
    assert theirs["full"]["description"] == "image-7 and hello"
    with reading([folder / "prefect.yaml"], environ, steps="run") as found:
        wanted = found()
    steps = register(api, wanted, "a test", wait=0)
    told = [(step.full_name, dict(step.fields)) for step in steps if step.writes]
    assert told == [], "what Prefect has just registered is as wanted"
    remove(api)
    assert {s.action for s in register(api, wanted, "a test", wait=0)} == {Action.CREATE}
    assert seen(api) == theirs
    remove(api)
