"""register/flows: the deployments of prefect.yaml are on the server, all or nothing."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prefect import flow, runtime
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.client.schemas.objects import State
from prefect.events import emit_event
from prefect.states import Cancelled, Completed

from clinical_ai import names
from clinical_ai.deployment_plan import Action, Step, Wanted
from clinical_ai.steps import registration, registration_report
from clinical_ai.steps.unresolved import Unresolved
from clinical_ai.wiring_cluster import AnyPlatform, open_here
from flows.confirm import confirm
from flows.tasks import acting


@flow(name="register")
def register(
    files: list[str] | None = None, report_only: bool = False, confirm_removal: bool = False
) -> State[Any]:
    """Register the deployments of the release, or of a team's own files.

    Args:
        files: absolute paths of prefect.yaml files; without any, the release's own
        report_only: show what differs and raise an event, change nothing
        confirm_removal: remove many deployments at once without asking
    """
    platform = open_here()
    wanted, steps = plan(platform, [Path(file) for file in files or []])
    publish(steps, find_unresolved(platform), report_only)
    if report_only:
        return Completed(message=registration_report.sentence(steps))
    asked = registration.is_large(steps) and not confirm_removal
    if asked and not confirm(platform, *removal(steps)):
        return Cancelled(message="Nothing is changed: the removal was not confirmed.")
    carry_out(platform, wanted, steps, confirm_removal or asked)
    return Completed(message=registration_report.sentence(steps))


@acting
def plan(platform: AnyPlatform, files: list[Path]) -> tuple[Sequence[Wanted], list[Step]]:
    """What is wanted, with every fault of every file at once, and what would happen."""
    return registration.look(platform.api, platform.reading(files, os.environ))


def removal(steps: list[Step]) -> tuple[str, list[str]]:
    """Why deployments would go, and which."""
    going = [step.full_name for step in steps if step.action is Action.PRUNE]
    return f"{len(going)} deployments are in no file any more", going


@acting
def carry_out(
    platform: AnyPlatform, wanted: Sequence[Wanted], steps: list[Step], confirmed: bool
) -> list[Step]:
    """Write what differs; a failure undoes what was written."""
    who = f"flow run {runtime.flow_run.name}"
    return registration.follow(platform.managed, wanted, steps, who, confirmed=confirmed)


@acting
def find_unresolved(platform: AnyPlatform) -> list[Unresolved]:
    """What others registered and can't run any more."""
    return platform.unresolved()


@acting
def publish(steps: list[Step], unresolved: list[Unresolved], report_only: bool) -> None:
    """Leave the plan as artifacts, and an event when something differs."""
    told = registration_report.sentence(steps)
    lines = [*registration_report.lines(steps), *(f"unresolved {each}" for each in unresolved)]
    report = "\n".join([f"# {told}", "", "```", *lines, "```", ""])
    create_markdown_artifact(key="register-flows", markdown=report, description=told)
    table = registration_report.rows(steps)
    create_table_artifact(key="register-flows-plan", table=table, description=told)
    differing = [step.full_name for step in steps if step.writes]
    if differing:
        emit_event(
            f"{names.EVENT_PREFIX}.register.{'drift' if report_only else 'started'}",
            resource={"prefect.resource.id": f"{names.EVENT_PREFIX}.platform"},
            payload={"deployments": differing, "plan": told},
        )
