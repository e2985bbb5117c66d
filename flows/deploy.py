"""deploy/self: the platform brings itself to its settings."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from prefect import flow, runtime
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.client.schemas.objects import State
from prefect.events import emit_event
from prefect.states import Cancelled, Completed, Failed

from clinical_ai import names
from clinical_ai.change import Change, Note
from clinical_ai.errors import PlatformError
from clinical_ai.manifests import orchestration
from clinical_ai.ports_cluster import Ref
from clinical_ai.steps import catalog, deploy_report, registration
from clinical_ai.steps import orchestration as objects
from clinical_ai.steps.progress import progress
from clinical_ai.steps.verify import Result, as_rows, sentence, starts_no_run
from clinical_ai.wiring_cluster import AnyPlatform, open_here
from flows.confirm import confirm
from flows.tasks import acting


@flow(name="deploy")
def deploy(
    report_only: bool = False, drift_check: bool = False, confirm_removal: bool = False
) -> State[Any]:
    """Bring the platform to its settings.

    Args:
        report_only: only tell what differs, change nothing
        drift_check: for the schedule: as settings say, drift is told or healed; leftovers go
        confirm_removal: remove many objects of a cluster at once without asking
    """
    platform = open_here()
    tidy = drift_check and not report_only
    changes: list[Change] = []
    found = Findings(changes, report_only)
    with telling_failure(found):
        report_only = report_only or (drift_check and not find_whether_it_heals(platform))
        found.report_only = report_only
        found.before = told = report_last_change(platform, report_only)
        check_settings(platform)
        agreed = [] if report_only or drift_check else find_large_prune(platform)
        if agreed and not confirm_removal and not confirm(platform, *removal(agreed)):
            return Cancelled(message="Nothing is changed: the removal was not confirmed.")
        changes += ensure_tables(platform, report_only)
        templates = read_templates(platform, report_only)
        changes += ensure_pools(platform, report_only)
        changes += ensure_automation(platform, report_only)
        changes += ensure_deployments(platform, report_only)
        done: list[Change] = []  # also by an attempt that Prefect has to try again
        try:
            seen = ensure_runtime(platform, report_only, tidy, done.append, agreed)
            changes += deploy_report.together(done, seen)
        except PlatformError:
            changes += deploy_report.together(done, [])
            put_back_templates(platform, templates)
            raise
        proof = prove(platform, changes, report_only)
    if starts_no_run(proof):
        put_back_templates(platform, templates)
    publish(platform, changes, proof, told, report_only)
    message = deploy_report.proved(changes, proof, told, report_only=report_only)
    if all(result.passed for result in proof):
        return Completed(message=message)
    return Failed(message=f"{message} It does not prove good: {sentence(proof)}.")


@dataclass
class Findings:
    """What a run has to tell so far. `before`: what a change that outlived its run has done."""

    changes: list[Change]
    report_only: bool
    before: str = ""


@contextmanager
def telling_failure(found: Findings) -> Iterator[None]:
    """What was found and done before a failure is published, and the failure goes on.

    Nothing that goes wrong with the report takes its place: its own task tells of that.
    """
    try:
        yield
    except PlatformError as error:
        why = deploy_report.cause(error)
        publish_failure(found.changes, found.before, why, found.report_only, return_state=True)
        raise


@acting
def find_whether_it_heals(platform: AnyPlatform) -> bool:
    """Whether the scheduled run mends what it finds: by the settings, and after what failed."""
    return platform.heals_drift


@acting
def report_last_change(platform: AnyPlatform, report_only: bool) -> str:
    """What a change that outlived its run has done, told once; why drift is not healed after it."""
    unhealed = platform.unhealed if report_only else ""
    return f"{platform.last_change()} {unhealed}".strip()


@acting
def check_settings(platform: AnyPlatform) -> None:
    """The platform can run with the settings; otherwise nothing is changed."""
    platform.check()


@acting
def find_large_prune(platform: AnyPlatform) -> list[Ref]:
    """Objects that are wanted no more, when a person has to agree before so many go.

    While self-management is stopped nobody is asked for what is refused then.
    """
    platform.guard()
    return platform.large_prune()


def removal(going: list[Ref]) -> tuple[str, list[Ref]]:
    """Why objects would go, and which."""
    return f"{len(going)} objects are wanted no more and would be deleted", going


@acting
def ensure_tables(platform: AnyPlatform, report_only: bool) -> list[Change]:
    """The guide's tables exist; a report leaves them to `verify`."""
    if report_only:
        return []
    platform.guard()
    return catalog.ensure_catalog(platform.database, platform.settings)


@acting
def ensure_pools(platform: AnyPlatform, report_only: bool) -> list[Change]:
    """Both work pools have their limits and job templates."""
    return objects.ensure_pools(platform.managed, platform.pools(), write=not report_only)


@acting
def read_templates(platform: AnyPlatform, report_only: bool) -> dict[str, Any]:
    """What runs of both pools are started from so far; a report changes none."""
    return {} if report_only else objects.job_templates(platform.api, names.WORKERS)


@acting
def put_back_templates(platform: AnyPlatform, templates: dict[str, Any]) -> list[str]:
    """Runs of both pools are started as before: what was to follow has not come up."""
    return objects.put_back_templates(platform.managed, templates)


@acting
def ensure_automation(platform: AnyPlatform, report_only: bool) -> list[Change]:
    """Runs whose process is gone are reported as Crashed."""
    wanted = orchestration.zombie_automation()
    return [objects.ensure_automation(platform.managed, wanted, write=not report_only)]


@acting
def ensure_deployments(platform: AnyPlatform, report_only: bool) -> list[Change]:
    """The deployments of prefect.yaml are registered; unchanged ones are not touched."""
    write = not report_only
    return registration.ensure_deployments(platform.managed, platform.wanted, _who(), write=write)


@acting
def ensure_runtime(
    platform: AnyPlatform, report_only: bool, tidy: bool, note: Note, agreed: list[Ref]
) -> list[Change]:
    """Processes, or the namespace's objects, are as wanted; what is left over beside them goes.

    `agreed`: what else may go for it.
    """
    who, run, write = _who(), str(runtime.flow_run.id), not report_only
    with progress(platform.api, "deploy-self-progress", run) as tell:
        return platform.bring(
            who, write=write, tidy=tidy, tell=tell, run=run, note=note, agreed=agreed
        )


@acting
def prove(platform: AnyPlatform, changes: list[Change], report_only: bool) -> list[Result]:
    """What was changed works, as every check of verify/platform sees it."""
    return [] if report_only else platform.prove(changes)


@acting
def publish(
    platform: AnyPlatform,
    changes: list[Change],
    proof: list[Result],
    told: str,
    report_only: bool,
) -> None:
    """Leave the report as artifacts and an event, and the ledger's entry."""
    _leave(deploy_report.markdown(changes, told, report_only=report_only), changes)
    if proof:
        create_table_artifact(key="deploy-self-proof", table=as_rows(proof))
    if not report_only:
        _emit("finished" if all(result.passed for result in proof) else "failed", changes)
    elif any(change.differs for change in changes):
        _emit("drift", changes)
    if not report_only:
        run = str(runtime.flow_run.id)
        platform.record(deploy_report.ledger_entry(platform.release_name, changes, proof, run))


@acting
def publish_failure(changes: list[Change], told: str, why: str, report_only: bool) -> None:
    """Leave the report of what came before the failure as artifacts and an event."""
    _leave(deploy_report.markdown(changes, told, report_only=report_only, failed=why), changes)
    _emit("failed", changes, failed=why)


def _leave(report: str, changes: list[Change]) -> None:
    create_markdown_artifact(key="deploy-self", markdown=report, description="deploy/self")
    create_table_artifact(key="deploy-self-changes", table=deploy_report.rows(changes))


def _emit(what: str, changes: list[Change], **more: str) -> None:
    emit_event(
        f"{names.EVENT_PREFIX}.deploy.{what}",
        resource={"prefect.resource.id": f"{names.EVENT_PREFIX}.platform"},
        payload={**more, "changes": [str(change) for change in changes if change.differs]},
    )


def _who() -> str:
    return f"flow run {runtime.flow_run.name}"
