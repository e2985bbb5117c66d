"""What runs, since when, versions, last runs and where the UI is."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from clinical_ai import names
from clinical_ai.errors import PlatformError
from clinical_ai.instance import Instance
from clinical_ai.ports import PrefectApi, Runtime
from clinical_ai.state_folder import StateFolder, process_order
from clinical_ai.steps.runs import read_deployment_rows

NO_BACKUP: Final = "no backup yet"


class Parts(Protocol):
    """What of a platform is looked at."""

    @property
    def state(self) -> StateFolder:
        """Its state folder."""

    @property
    def instance(self) -> Instance:
        """Its ports and release."""

    @property
    def api(self) -> PrefectApi:
        """Prefect's API."""

    @property
    def runtime(self) -> Runtime:
        """The supervised processes."""

    def versions(self) -> dict[str, str]:
        """Versions inside the release."""


def look(parts: Parts) -> dict[str, Any]:
    """Everything `status --json` prints; works with any part of the platform down."""
    instance = parts.instance
    found = {status.name: status for status in parts.runtime.processes()}
    processes = [
        {
            "name": name,
            "state": found[name].state if name in found else "stopped",
            "pid": found[name].pid if name in found else None,
            "since": found[name].since if name in found else None,
        }
        for name in process_order()
    ]
    try:
        runs, answer = last_runs(parts.api), "ready"
        parts.api.get("/ready")
    except PlatformError as error:
        runs, answer = [], str(error)
    return {
        # The supervisor calls a process starting for its first two seconds, also when it answers.
        "healthy": answer == "ready"
        and all(process["state"] in {"running", "starting"} for process in processes),
        "api_url": instance.api_url,
        "api": answer,
        "ui_url": instance.ui_url,
        "database_url": (
            f"postgresql://{names.DATABASE_ROLE}@127.0.0.1:{instance.database_port}/{names.DATABASE}"
        ),
        "state_folder": str(parts.state.root),
        "release": instance.release,
        "versions": parts.versions(),
        "processes": processes,
        "runs": runs,
        "backup": NO_BACKUP,
    }


def last_runs(api: PrefectApi) -> list[dict[str, Any]]:
    """Those that began last, the newest first."""
    begun = {"start_time": {"is_null_": False}}
    body = {"flow_runs": begun, "sort": "START_TIME_DESC", "limit": 5}
    rows = api.post("/flow_runs/filter", body)
    deployments = {key: row["name"] for key, row in read_deployment_rows(api).items()}
    return [
        {
            "name": row["name"],
            "deployment": deployments.get(row["deployment_id"]),
            "state": row["state_name"],
            "start_time": row["start_time"],
        }
        for row in rows
    ]


def table(seen: dict[str, Any]) -> list[str]:
    """The same for a terminal."""
    versions = ", ".join(f"{name} {version}" for name, version in seen["versions"].items())
    lines = [
        f"UI        {seen['ui_url']}",
        f"API       {seen['api_url']}  {seen['api']}",
        f"database  {seen['database_url']}",
        f"state     {seen['state_folder']}",
        f"release   {seen['release']}  ({versions})",
        f"backup    {seen['backup']}",
        "",
    ]
    for process in seen["processes"]:
        since = process["since"]
        age = f"for {_age(since)}, pid {process['pid']}" if since else ""
        lines.append(f"{process['name']:<38} {process['state']:<9} {age}")
    return [*lines, *run_lines(seen["runs"])]


def run_lines(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line each, set off from what is above."""
    told = [f"{run['name']:<38} {run['state']:<13} {run['deployment'] or ''}" for run in runs]
    return ["", *told] if told else []


def _age(since: datetime) -> str:
    seconds = int((datetime.now(UTC) - since).total_seconds())
    hours, minutes = seconds // 3600, seconds % 3600 // 60
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds % 60} s"
