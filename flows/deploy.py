"""deploy/self: the platform brings itself to its settings."""

from typing import Any

from prefect import flow, runtime
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.client.schemas.objects import State
from prefect.events import emit_event
from prefect.states import Completed

from clinical_ai import names
from clinical_ai.change import Change
from clinical_ai.manifests import orchestration, processes
from clinical_ai.steps import catalog, deploy_report, registration, self_deploy
from clinical_ai.steps import orchestration as objects
from clinical_ai.wiring import Platform, open_platform
from flows.tasks import acting


@flow(name="deploy")
def deploy(report_only: bool = False) -> State[Any]:
    """Bring the platform to its settings; with `report_only` only tell what differs."""
    platform = open_platform()
    told = report_last_roll(platform)
    check_settings(platform)
    changes = ensure_tables(platform, report_only)
    changes += ensure_pools(platform, report_only)
    changes += ensure_automation(platform, report_only)
    changes += ensure_deployments(platform, report_only)
    changes += ensure_processes(platform, report_only)
    publish(platform, changes, told, report_only)
    return Completed(message=deploy_report.sentence(changes, report_only=report_only))


@acting
def report_last_roll(platform: Platform) -> str:
    """What a restart that outlived its run has done, told once."""
    return self_deploy.report_last_roll(platform.files)


@acting
def check_settings(platform: Platform) -> None:
    """This machine can run with the settings; otherwise nothing is changed."""
    platform.refuse_faults(platform.settings)


@acting
def ensure_tables(platform: Platform, report_only: bool) -> list[Change]:
    """The guide's tables exist; a report leaves them to `verify`."""
    if report_only:
        return []
    return catalog.ensure_catalog(platform.database, platform.settings)


@acting
def ensure_pools(platform: Platform, report_only: bool) -> list[Change]:
    """Both work pools have their limits and job templates."""
    template = platform.rendered["job_template"]
    wanted = orchestration.pools(platform.settings, platform.place, template)
    return objects.ensure_pools(platform.api, wanted, write=not report_only)


@acting
def ensure_automation(platform: Platform, report_only: bool) -> list[Change]:
    """Runs whose process is gone are reported as Crashed."""
    wanted = orchestration.zombie_automation()
    return [objects.ensure_automation(platform.api, wanted, write=not report_only)]


@acting
def ensure_deployments(platform: Platform, report_only: bool) -> list[Change]:
    """The deployments of prefect.yaml are registered; unchanged ones are not touched."""
    who = f"flow run {runtime.flow_run.name}"
    write = not report_only
    return registration.ensure_deployments(platform.api, platform.wanted, who, write=write)


@acting
def ensure_processes(platform: Platform, report_only: bool) -> list[Change]:
    """Processes run with the settings; what this run stands on is left to a detached roll."""
    specs = processes.processes(platform.settings, platform.place)
    if report_only:
        return platform.runtime.plan(specs)
    return self_deploy.hand_over(platform.runtime, platform.files, specs)


@acting
def publish(platform: Platform, changes: list[Change], told: str, report_only: bool) -> None:
    """Leave the report as artifacts and an event, and the ledger's entry."""
    report = deploy_report.markdown(changes, told, report_only=report_only)
    create_markdown_artifact(key="deploy-self", markdown=report, description="deploy/self")
    create_table_artifact(key="deploy-self-changes", table=deploy_report.rows(changes))
    emit_event(
        f"{names.EVENT_PREFIX}.deploy.{'drift' if report_only else 'finished'}",
        resource={"prefect.resource.id": f"{names.EVENT_PREFIX}.platform"},
        payload={"changes": [str(change) for change in changes if change.wrote]},
    )
    if not report_only:
        entry = deploy_report.ledger_entry(
            platform.instance.release, changes, str(runtime.flow_run.id)
        )
        platform.files.write_ledger(entry)
