"""The first runs: deploy/self takes over, then the demonstration proves the way of the data."""

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Final

from bootstrap.terminal import Terminal
from clinical_ai import names
from clinical_ai.errors import NeedsOperator
from clinical_ai.settings import dump
from clinical_ai.steps.demonstration import DESTINATION, SOURCES
from clinical_ai.steps.runs import (
    FINAL,
    Run,
    RunWatch,
    find_tagged_run,
    follow_run,
    get_run,
    link,
    start_run,
    unwatched,
    where_to_see,
)
from clinical_ai.wiring import Platform
from clinical_ai.wiring_cluster import AnyPlatform

_SECONDS: Final = 600
_SHOWN: Final = 8  # tables


def ensure_deployed(
    platform: AnyPlatform, terminal: Terminal, *, anew: bool = False, watch: RunWatch = unwatched
) -> Run:
    """The run of deploy/self that has completed for this release and these settings.

    `anew`: what it did is there no more, as after other settings, or an uninstallation that left
    the database. A run that is under way for them is followed all the same. `watch`: see
    `follow_run`.
    """
    run, started = start_deploy(platform, anew=anew)
    if not run.completed:
        longest = _SECONDS + platform.settings.drain_seconds  # running work may be waited for
        run = follow_run(platform.api, run.id, seconds=longest, tell=terminal.note, watch=watch)
    demand(platform, run)
    terminal.line(names.DEPLOY_SELF, _told(platform, run) if started else "unchanged")
    return run


def start_deploy(platform: AnyPlatform, *, anew: bool = True) -> tuple[Run, bool]:
    """The run that `ensure_deployed` follows, made when there is none; see `ensure_run`."""
    settings = sha256(json.dumps(dump(platform.settings), sort_keys=True).encode()).hexdigest()[:12]
    tag = f"applies:{platform.release_tag}-{settings}"
    return ensure_run(platform, names.DEPLOY_SELF, {"report_only": False}, tag, anew=anew)


def ensure_run(
    platform: AnyPlatform,
    deployment: str,
    parameters: Mapping[str, Any],
    tag: str,
    *,
    anew: bool = False,
) -> tuple[Run, bool]:
    """The run with this tag that completed or is under way, else a new one (then True).

    True also for one under way, whose end nobody has told yet. `anew`: one that completed does
    not count.
    """
    api = platform.managed
    found = find_tagged_run(api, deployment, tag, completed=not anew)
    if found is not None:
        return found, found.state not in FINAL
    return get_run(api, start_run(api, deployment, parameters, tags=[tag])), True


def ensure_demonstrated(platform: Platform, terminal: Terminal) -> None:
    """Each demonstration source has been loaded once; what arrived is shown."""
    runs = []
    for source in SOURCES:
        parameters = {"source": source.name, "destination": DESTINATION.name}
        tag = f"demonstration:{source.name}"
        runs.append((source.name, *ensure_run(platform, names.PIPELINE, parameters, tag)))
    for name, run, started in runs:
        ended = follow_run(platform.api, run.id, seconds=_SECONDS) if not run.completed else run
        demand(platform, ended)
        terminal.line(name, _told(platform, ended) if started else "unchanged")
    if any(started for _, _, started in runs):
        _tell_rows(arrived(platform), terminal)


def arrived(platform: Platform) -> dict[str, int]:
    """Rows by table of the demonstration's schema."""
    schema = DESTINATION.location
    tables = platform.database.query(
        "select table_name from information_schema.tables "
        "where table_schema = %s and table_name not like %s order by 1",
        [schema, r"\_%"],
    )
    counts = {}
    for row in tables:
        name = row["table_name"]
        counted = platform.database.query(f'select count(*) as n from "{schema}"."{name}"')
        counts[name] = int(counted[0]["n"])
    return counts


def _tell_rows(rows: Mapping[str, int], terminal: Terminal) -> None:
    """The largest tables a line each, the rest in one line."""
    largest = sorted(rows, key=lambda table: -rows[table])[:_SHOWN]
    for table in largest:
        terminal.plain(f"{'':26}{rows[table]:>6} rows in {DESTINATION.location}.{table}")
    rest = [rows[table] for table in rows if table not in largest]
    if rest:
        terminal.plain(f"{'':26}{sum(rest):>6} rows in {len(rest)} more tables")


def demand(platform: AnyPlatform, run: Run) -> None:
    """NeedsOperator when the run did not end well."""
    if not run.completed:
        raise NeedsOperator(
            f"run {run.name} ended {run.state.lower()}: {run.message}",
            f"read its log at {where_to_see(platform, run.id)}, then run the same command again",
        )


def _told(platform: AnyPlatform, run: Run) -> str:
    return f"{run.name} {run.state.lower()}, {link(platform, run.id)}"
