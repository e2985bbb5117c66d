"""What each command of `clinical-ai` does."""

import argparse
import json
import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bootstrap.__main__ import guarded
from bootstrap.__main__ import run as bootstrap_run
from bootstrap.request import (
    make_request,
    refuse_options_elsewhere,
    state_of,
    take_environment,
)
from bootstrap.terminal import Terminal
from clinical_ai import names
from clinical_ai.adapters.change_lock import change_lock, who
from clinical_ai.errors import NeedsOperator, PlatformError, TimedOut
from clinical_ai.instance import find_instance, get_instance
from clinical_ai.ports import PrefectApi
from clinical_ai.state_folder import StateFolder
from clinical_ai.wiring import Platform, open_platform, running_flow_runs

if TYPE_CHECKING:
    from clinical_ai.steps.runs import RunWatch

_LOCK_SECONDS: Final = 900
_DEPLOY_SECONDS: Final = 93_600  # the longest drain-seconds, an hour for an answer, and an hour


def run(options: argparse.Namespace) -> int:
    """Run the chosen command."""
    terminal = Terminal()
    environ = take_environment()
    if options.command == "up":
        return guarded(terminal, lambda: bootstrap_run(make_request(options, environ), terminal))
    return guarded(terminal, lambda: _run(options, environ, terminal))


def _run(options: argparse.Namespace, environ: dict[str, str], terminal: Terminal) -> int:
    if hasattr(options, "runtime"):
        refuse_options_elsewhere(options)
    if getattr(options, "runtime", "") == "kubernetes":
        from clinical_ai.commands_cluster import COMMANDS

        return COMMANDS[options.command](options, environ, terminal)
    return _COMMANDS[options.command](options, state_of(options, environ), terminal)


def down(options: argparse.Namespace, state: StateFolder, terminal: Terminal) -> int:
    """Everything is stopped in order; no run stays Running."""
    if find_instance(state) is None:
        terminal.plain(f"no platform is installed in {state.root}")
        return 0
    platform = open_platform(state.root)
    with change_lock(state.lock, "make down"):
        for change in stop(platform, options.drain, terminal):
            terminal.plain(str(change))
    return 0


def stop(platform: Platform, drain_seconds: float, terminal: Terminal) -> list[Any]:
    """Hold, drain, stop the workers, settle what they left, then server and database."""
    from clinical_ai.plans import Stage, pools_to_restore
    from clinical_ai.steps.roll import drain, find_paused, hold, lift, new_journal
    from clinical_ai.steps.runs import settle_lost_runs

    runtime = platform.runtime
    if not runtime.processes():
        return runtime.stop_all()
    try:
        api = platform.api
        # When this is killed, the next `up` finds the journal and opens the pools again. So does
        # this with one that somebody who was killed left open: their pause is nobody's wish.
        found = platform.files.find_journal()
        begun = found if found and found.open else new_journal("make down")
        journal = begun.held(find_paused(api))
        platform.files.write_journal(journal)
        pools = list(journal.paused_before)
        hold(api, pools_to_restore(journal))
        try:
            drain(api, pools, drain_seconds)
        except TimedOut as error:
            terminal.plain(f"{error}".partition("; ")[0] + "; stopping anyway")
        for worker in (names.WORKER, names.PLATFORM_WORKER):
            runtime.stop(worker)
            terminal.plain(f"{worker}: stopped")
        for pool in pools:
            for change in settle_lost_runs(api, pool, running_flow_runs(platform.state.root)):
                terminal.plain(str(change))
        lift(api, pools_to_restore(journal))
        platform.files.write_journal(journal.ended(Stage.DONE, "stopped in order").told())
    except PlatformError as error:
        terminal.plain(f"running work is not drained: {error}")
    return runtime.stop_all()


def destroy(options: argparse.Namespace, state: StateFolder, terminal: Terminal) -> int:
    """The state folder is gone, a damaged one too; a folder that is not ours is refused."""
    from bootstrap.checks import check_content
    from clinical_ai.adapters.orphans import stop_processes

    if not state.root.is_dir():
        raise NeedsOperator(f"no platform is installed in {state.root}", "nothing is to remove")
    check_content(state)
    if not options.yes:
        terminal.plain(f"This removes {state.root} with its database, secrets and stored data.")
        sys.stdout.write("Type the word destroy to go on: ")
        sys.stdout.flush()
        if sys.stdin.readline().strip() != "destroy":
            terminal.plain("nothing was removed")
            return 1
    with change_lock(state.lock, "make destroy") if state.run.is_dir() else nullcontext():
        try:
            if find_instance(state) is not None:
                for change in stop(open_platform(state.root), 0, terminal):
                    terminal.plain(str(change))
        except PlatformError as error:
            terminal.plain(str(error))
        stop_processes(state.root)
        shutil.rmtree(state.root)
    terminal.plain(f"{state.root}: removed")
    return 0


def status(options: argparse.Namespace, state: StateFolder, terminal: Terminal) -> int:
    """What runs, since when, versions, last runs, UI; 1 when something is not running."""
    from clinical_ai.steps.status import look, table

    seen = look(open_platform(state.root))
    show(seen, table(seen), terminal, as_json=options.json)
    return 0 if seen["healthy"] else 1


def verify(options: argparse.Namespace, state: StateFolder, terminal: Terminal) -> int:
    """Every check as a table with evidence; 1 when one fails."""
    from clinical_ai.steps.verify import as_rows, table, verify_platform

    results = verify_platform(open_platform(state.root))
    show(as_rows(results), table(results), terminal, as_json=options.json)
    return 0 if all(result.passed for result in results) else 1


def show(told: object, lines: Sequence[str], terminal: Terminal, *, as_json: bool) -> None:
    """The same for a script or for a person."""
    if as_json:
        lines = [json.dumps(told, indent=1, default=str)]
    for line in lines:
        terminal.plain(line)


def deploy(options: argparse.Namespace, state: StateFolder, terminal: Terminal) -> int:
    """A run of deploy/self, followed to its end; 1 when it does not complete."""
    return follow_deploy(open_platform(state.root).api, options, terminal)


def follow_deploy(
    api: PrefectApi,
    options: argparse.Namespace,
    terminal: Terminal,
    watch: "RunWatch | None" = None,
) -> int:
    """The same, wherever the server is. `watch`: see `follow_run`."""
    from clinical_ai.steps.runs import follow_run, start_run, unwatched

    parameters = {"report_only": options.report_only}
    if options.confirm:  # an older release's does not know it
        parameters["confirm_removal"] = True
    run_id, tell = start_run(api, names.DEPLOY_SELF, parameters), terminal.note
    try:
        run = follow_run(api, run_id, seconds=_DEPLOY_SECONDS, tell=tell, watch=watch or unwatched)
    except KeyboardInterrupt:
        shown = f"`clinical-ai status --runtime {options.runtime}` and the UI show how it ends"
        terminal.fault(f"interrupted; the run goes on: {shown}, and another one waits for it")
        return 130
    terminal.plain(f"{run.name} {run.state.lower()} {run.message}".rstrip())
    return 0 if run.completed else 1


def run_pipeline(options: argparse.Namespace, state: StateFolder, terminal: Terminal) -> int:
    """Start the connector pipeline and follow it; 1 when it does not complete."""
    from clinical_ai.steps.catalog import get_row
    from clinical_ai.steps.runs import follow_run, link, start_run

    platform = open_platform(state.root)
    for what, name in (("source", options.source), ("destination", options.destination)):
        get_row(platform.database, platform.settings, what, name)
    parameters = {"source": options.source, "destination": options.destination}
    run_id = start_run(platform.api, names.PIPELINE, parameters)
    tell = None if options.json else terminal.note
    ended = follow_run(platform.api, run_id, seconds=86_400, tell=tell)
    told = {"id": run_id, "state": ended.state, "message": ended.message}
    if options.json:
        terminal.plain(json.dumps({**told, "url": link(platform, run_id)}, indent=1))
    else:
        terminal.plain(f"{ended.name} {ended.state.lower()} {ended.message}".rstrip())
        terminal.plain(link(platform, run_id))
    return 0 if ended.completed else 1


def env(_options: argparse.Namespace, state: StateFolder, terminal: Terminal) -> int:
    """Export lines; they hold the password, so they belong in `eval`, not in a log."""
    import shlex

    from clinical_ai.manifests.processes import with_loopback

    platform = open_platform(state.root)
    lines = {
        "PREFECT_API_URL": platform.instance.api_url,
        "CLINICAL_AI_STATE": str(state.root),
    }
    if platform.instance.auth:
        lines["PREFECT_API_AUTH_STRING"] = platform.secrets.get(names.API_AUTH).get_secret_value()
    if any(os.environ.get(name) for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY")):
        here = with_loopback(os.environ.get("NO_PROXY"))
        lines |= {"NO_PROXY": here, "no_proxy": here}
    for name, value in lines.items():
        terminal.plain(f"export {name}={shlex.quote(value)}")
    return 0


def psql(options: argparse.Namespace, state: StateFolder, _terminal: Terminal) -> int:
    """Become psql; the password goes by its environment."""
    from urllib.parse import urlsplit

    platform = open_platform(state.root)
    address = urlsplit(platform.secrets.get(names.DATABASE_URL).get_secret_value())
    program = platform.place.postgres / "bin" / "psql"
    environment = {
        **os.environ,
        "PGHOST": address.hostname or "",
        "PGPORT": str(address.port),
        "PGUSER": address.username or "",
        "PGPASSWORD": address.password or "",
        "PGDATABASE": address.path.lstrip("/"),
    }
    rest = [part for part in options.rest if part != "--"]
    os.execve(program, [str(program), *rest], environment)  # noqa: S606 - a list


def register(options: argparse.Namespace, state: StateFolder, terminal: Terminal) -> int:
    """Plan and apply; the plan alone writes nothing. 1 when something stands in the way."""
    from clinical_ai.steps import registration, registration_report

    platform = open_platform(state.root)
    build = "refuse" if not options.build else "skip" if options.plan else "run"
    files = [Path(file).absolute() for file in options.files]
    wanted, steps = registration.look(platform.api, platform.reading(files, os.environ, build))
    if not options.plan:
        caller = f"clinical-ai register by {who()}"
        steps = registration.follow(platform.api, wanted, steps, caller, confirmed=options.confirm)
    unchecked = [each.full_name for each in wanted if not each.checked]
    unresolved = platform.unresolved()
    if options.json:
        told = registration_report.as_json(steps, unchecked, unresolved)
        terminal.plain(json.dumps(told, indent=1))
        return 0
    for line in registration_report.lines(steps):
        terminal.plain(line)
    for name in unchecked:
        terminal.plain(f"unchecked  {name}: its flow is there only after a pull step")
    for each in unresolved:
        terminal.plain(f"unresolved {each}")
    terminal.plain(registration_report.sentence(steps))
    return 0


def roll(_options: argparse.Namespace, state: StateFolder, terminal: Terminal) -> int:
    """Bring processes to the settings block's specs, without losing a run."""
    from clinical_ai.manifests.processes import processes
    from clinical_ai.steps.roll import Reach, new_journal
    from clinical_ai.steps.roll import roll as carry_out

    get_instance(state)
    with change_lock(state.lock, "roll", seconds=_LOCK_SECONDS):
        platform = open_platform(state.root)
        settings, files = platform.settings, platform.files
        after = platform.moved(settings)
        journal = files.find_journal()
        changes = carry_out(
            Reach(
                before=platform.api,
                after=after.api,
                runtime=platform.runtime,
                keeper=files,
                check=lambda: platform.refuse_faults(settings),
                arrived=after.write_instance,
            ),
            journal if journal and journal.open else new_journal("by hand"),
            processes(settings, after.place),
            drain_seconds=settings.drain_seconds,
        )
        files.write_applied(settings)
    for change in changes:
        terminal.plain(str(change))
    return 0


_COMMANDS: Final[Mapping[str, Callable[[argparse.Namespace, StateFolder, Terminal], int]]] = {
    "down": down,
    "destroy": destroy,
    "status": status,
    "verify": verify,
    "deploy": deploy,
    "run": run_pipeline,
    "env": env,
    "psql": psql,
    "register": register,
    "roll": roll,
}
