"""Day zero as a runbook: checks, ground, processes, Prefect, demonstration, proof."""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from pydantic import SecretStr

from bootstrap import checks, wanted
from bootstrap.ground import (
    Ground,
    choose_instance,
    ensure_database_files,
    ensure_folders,
    lay,
    lost_a_port,
)
from bootstrap.request import Request
from bootstrap.runs import ensure_demonstrated, ensure_deployed
from bootstrap.terminal import Terminal
from clinical_ai import names
from clinical_ai.adapters.change_lock import change_lock
from clinical_ai.adapters.local_release import find_python, release_hash
from clinical_ai.adapters.postgres import PostgresDatabase
from clinical_ai.adapters.service_user import ensure_service_user, find_service_user
from clinical_ai.change import Change
from clinical_ai.errors import ManyFaults, NeedsOperator, PlatformError, Transient
from clinical_ai.instance import Instance, find_instance
from clinical_ai.manifests import orchestration as objects
from clinical_ai.manifests.processes import processes
from clinical_ai.plans import needs_hold
from clinical_ai.ports import PrefectApi
from clinical_ai.settings import Development, Production
from clinical_ai.steps.catalog import ensure_catalog
from clinical_ai.steps.demonstration import ensure_demonstration
from clinical_ai.steps.health import await_api, await_database, await_workers
from clinical_ai.steps.local_database import (
    ensure_database,
    ensure_prefect_schema,
    ensure_roles,
)
from clinical_ai.steps.local_secrets import find_password, superuser_address
from clinical_ai.steps.orchestration import ensure_automation, ensure_pools
from clinical_ai.steps.registration import ensure_deployments
from clinical_ai.steps.roll import Reach, finish_roll, new_journal, roll
from clinical_ai.steps.settings_block import ensure_block_schema, find_settings, save_settings
from clinical_ai.waiting import Sighting, wait_until
from clinical_ai.wiring import Platform, open_platform, open_storage

AnySettings = Development | Production
# The service user before it is made, for what root checks; everybody else runs it as themselves.
_STRANGER = (-1, -1) if os.geteuid() == 0 else None


@dataclass(frozen=True)
class Site:
    """What is being installed: the settings that count now, and the platform they make."""

    request: Request
    ground: Ground
    settings: AnySettings
    platform: Platform
    stopped: bool


def up(request: Request, terminal: Terminal) -> int:
    """The platform runs, is registered, applied its settings and has finished a connector run."""
    os.umask(0o022)  # the service user must read what root makes; secrets set their own mode
    terminal.line("checks", ", ".join(_found(request)))
    user = ensure_service_user()
    ground = Ground(request.state, request.checkout, user)
    folders = ensure_folders(ground)
    with change_lock(request.state.lock, "make up"):
        terminal.step("state folder", folders)
        site = _prepare(request, ground, terminal)
        with ThreadPoolExecutor(max_workers=1) as background:
            rendering = background.submit(lambda: site.platform.rendered)
            terminal.step("processes", _start(site))
            terminal.step("database", _fill_database(site))
            terminal.step("data", _fill_storage(site))
            await_api(site.platform.api, site.platform.runtime)
            terminal.line("server", f"ready at {site.platform.instance.ui_url}")
            finished = finish_roll(site.platform.api, site.platform.files)
            if finished:
                terminal.step("roll", finished)
            rendering.result()
        terminal.step("settings", _save_settings(site))
        terminal.step("registration", register(site.platform))
        await_workers(site.platform.api, site.platform.worker_answers)
        terminal.line("workers", "online")
        ensure_deployed(site.platform, terminal)
    if request.demonstration:
        ensure_demonstrated(site.platform, terminal)
    _tell_where(site.platform, terminal)
    return 0


def check_only(request: Request, terminal: Terminal) -> int:
    """0 when nothing stands in the way."""
    for found in _found(request):
        terminal.line("ok", found)
    return 0


def show_difference(request: Request, terminal: Terminal) -> int:
    """What `up` would change in Prefect and among the processes; writes nothing."""
    _found(request)
    instance = find_instance(request.state)
    if instance is None:
        terminal.plain(f"{request.state.root}: nothing is installed, `make up` would install all")
        return 0
    platform = Platform(request.state, instance)
    named, _ = wanted.settle(request)
    saved = platform.settings
    if named:
        for key, (old, new) in wanted.difference(request, saved, named):
            terminal.plain(f"settings {key}: saved {old!r}, given {new!r}")
    chosen = wanted.overlay(request, saved, named) if named else saved
    release = release_hash(request.checkout, find_python(find_service_user()))
    if release != instance.release:
        terminal.plain(f"release: {instance.release} runs, this checkout makes {release}")
    changes = platform.runtime.plan(processes(chosen, platform.place))
    for change in [*changes, *register(platform, write=False)]:
        terminal.plain(str(change))
    return 0


def register(platform: Platform, *, write: bool = True) -> list[Change]:
    """Pools, the zombie automation and the deployments of the release."""
    rendered, api = platform.rendered, platform.api
    pools = objects.pools(platform.settings, platform.place, rendered["job_template"])
    return [
        *ensure_pools(api, pools, write=write),
        ensure_automation(api, objects.zombie_automation(), write=write),
        *ensure_deployments(api, platform.wanted, "make up", write=write),
    ]


def _found(request: Request) -> list[str]:
    """What all checks found; ManyFaults with everything that is wrong at once."""
    faults: list[NeedsOperator] = []
    settings: AnySettings | None = None
    kept: dict[str, SecretStr] = {}
    try:
        settings, kept = wanted.settle(request)
        settings = settings or Development()
    except PlatformError as error:
        faults += checks.as_faults(error)
    instance = _readable_instance(request)
    if settings and instance and "prefect-api-url" not in (request.raw or {}):
        settings = settings.model_copy(update={"prefect_api_url": instance.api_url})
    try:
        found = checks.check(request, settings, find_service_user() or _STRANGER, kept)
    except ManyFaults as error:
        raise ManyFaults([*faults, *error.faults]) from None
    if faults:
        raise ManyFaults(faults)
    return found


def _readable_instance(request: Request) -> Instance | None:
    try:
        return find_instance(request.state)
    except NeedsOperator:
        return None  # checks tell it


def _prepare(request: Request, ground: Ground, terminal: Terminal) -> Site:
    """Everything on the disk that processes need, and the settings they start with."""
    found = find_instance(request.state)
    before = Platform(request.state, found) if found else None
    settings, kept = _settings(request, before)
    if before:
        before.refuse_faults(settings, kept)  # the block's, which no check has seen yet
    release, changes = lay(ground)
    terminal.step("release", changes)
    stopped = before is None or not before.runtime.processes()
    if before and not stopped and lost_a_port(before.instance, request.state.root):
        _await_runs(before, settings.drain_seconds)
        stopped = True
    if before and stopped:
        terminal.step("left over", before.runtime.stop_all())
    instance = choose_instance(ground, settings, release, stopped=stopped)
    terminal.step("database files", ensure_database_files(ground, instance))
    if stopped:
        Platform(request.state, instance).write_instance()
    platform = Platform(request.state, instance)
    if kept:
        changes = [platform.secrets.put(reference, value) for reference, value in kept.items()]
        terminal.step("secrets", changes)
    return Site(request, ground, settings, platform, stopped)


def _settings(
    request: Request, before: Platform | None
) -> tuple[AnySettings, dict[str, SecretStr]]:
    """The settings that count, and the secrets they move into the state folder."""
    named, kept = wanted.settle(request)
    saved = _saved(before, replace=request.replace) if before else None
    if named and saved:
        wanted.refuse_difference(request, saved, named)
        return wanted.overlay(request, saved, named), kept
    return named or saved or Development(), kept


def _saved(platform: Platform, *, replace: bool) -> AnySettings | None:
    """The block's settings; those last applied while the server is away or a wrong block is to be
    replaced."""
    try:
        return find_settings(platform.api) or platform.files.find_applied()
    except Transient:
        return platform.files.find_applied()
    except ManyFaults:
        if not replace:
            raise
        return platform.files.find_applied()


def _start(site: Site) -> list[Change]:
    """All processes run with the wanted specs; running work is drained before a change."""
    platform = site.platform
    specs = processes(site.settings, platform.place)
    plan = platform.runtime.plan(specs)
    found = platform.files.find_journal()
    before = None if site.stopped else open_platform(platform.state.root)
    if before is None or not (needs_hold(plan) or (found and found.open)):
        changes = platform.runtime.ensure(specs)
    elif not _answers(before.api):
        # As one that a bad setting keeps from starting: nothing can be held, but new work neither.
        _await_runs(before, site.settings.drain_seconds)
        changes = platform.runtime.ensure(specs)
    else:
        changes = roll(
            Reach(
                before=before.api,
                after=platform.api,
                runtime=platform.runtime,
                keeper=platform.files,
                check=lambda: before.refuse_faults(site.settings),
                arrived=platform.write_instance,
            ),
            found if found and found.open else new_journal("make up"),
            specs,
            drain_seconds=site.settings.drain_seconds,
        )
    platform.write_instance()
    if platform.files.find_applied() != site.settings:
        platform.files.write_applied(site.settings)
    return changes


def _answers(api: PrefectApi) -> bool:
    try:
        return api.get("/ready") is not None
    except Transient:
        return False


def _await_runs(platform: Platform, seconds: float) -> None:
    """No flow run has a process any more, told without a server; TimedOut otherwise."""

    def look() -> Sighting:
        runs = platform.living_runs()
        return Sighting(done=not runs, summary=f"{len(runs)} still running, the server is away")

    wait_until("the end of running work", look, seconds=seconds, every=1)


def _fill_database(site: Site) -> list[Change]:
    """Roles, database, Prefect's schema and the guide's tables."""
    secrets, port = site.platform.secrets, site.platform.instance.database_port
    cluster = PostgresDatabase(superuser_address(secrets, port, "postgres"))
    await_database(cluster)
    roles = {
        names.DATABASE_ROLE: names.DATABASE_URL,
        names.PREFECT_ROLE: names.PREFECT_DATABASE_URL,
    }
    passwords = {
        role: password
        for role, reference in roles.items()
        if (password := find_password(secrets, reference))
    }
    data = PostgresDatabase(superuser_address(secrets, port, names.DATABASE))
    return [
        *ensure_roles(cluster, passwords),
        ensure_database(cluster),
        ensure_prefect_schema(data),
        *ensure_catalog(site.platform.database, site.settings),
    ]


def _fill_storage(site: Site) -> list[Change]:
    """Demonstration rows and objects, unless they are not wanted."""
    if not site.request.demonstration:
        return []
    storage = open_storage(site.settings, site.platform.secrets, site.platform.state)
    folder = site.request.checkout / "demonstration"
    return ensure_demonstration(site.platform.database, storage, site.settings, folder)


def _save_settings(site: Site) -> list[Change]:
    """The block exists; from now on it is the truth, also when it was edited meanwhile."""
    api, block = site.platform.api, site.platform.rendered["block"]
    changes = [ensure_block_schema(api, block)]
    if site.request.raw is not None or find_settings(api) is None:
        changes.append(save_settings(api, site.settings, block["checksum"]))
    return changes


def _tell_where(platform: Platform, terminal: Terminal) -> None:
    state = platform.state
    terminal.plain("")
    terminal.plain(f"Prefect UI   {platform.instance.ui_url}")
    if platform.instance.auth:
        place = state.secrets / names.API_AUTH.removeprefix("secret:")
        terminal.plain(f"password      in {place}")
    terminal.plain(f"state folder  {state.root}")
    terminal.plain("next          clinical-ai status | verify | run SOURCE DESTINATION | env")
