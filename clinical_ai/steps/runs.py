"""Flow runs: start one and follow it, find those whose process is gone."""

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any, Final, Protocol
from urllib.parse import quote

from clinical_ai import names
from clinical_ai.change import Change, Did
from clinical_ai.errors import NeedsOperator, Transient
from clinical_ai.ports import PrefectApi
from clinical_ai.waiting import Sighting, wait_until

_ACTIVE: Final = ("RUNNING", "PENDING", "CANCELLING")
# Of any type, since hundreds may be scheduled; `_has_process` tells which of them are meant.
_MAY_HAVE_PROCESS: Final = {
    "operator": "or_",
    "type": {"any_": [*_ACTIVE, "PAUSED"]},
    "name": {"any_": ["AwaitingRetry"]},
}
FINAL: Final = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
_SILENCE: Final = 60.0  # seconds that a server may be away while a run is followed
_FLOW_LOGGER: Final = "prefect.flow_runs"
_OUR_LOGGERS: Final = "clinical_ai"
_WORKER_LABEL: Final = "prefect.worker.name"


@dataclass(frozen=True)
class Run:
    """A flow run as far as the platform cares."""

    id: str
    name: str
    state: str
    message: str
    deployment_id: str | None
    parameters: Mapping[str, Any]
    worker: str = ""  # who took it, once that is known

    @property
    def completed(self) -> bool:
        """Whether it ended well."""
        return self.state == "COMPLETED"


RunWatch = Callable[[Run], None]


def unwatched(run: Run) -> None:
    """Nobody looks at what the run waits for."""


def find_deployment(api: PrefectApi, full_name: str) -> dict[str, Any] | None:
    """The deployment named `flow/deployment`, or None; a name may hold what an address cuts off."""
    flow, _, name = full_name.partition("/")
    found: dict[str, Any] | None = api.get(
        f"/deployments/name/{quote(flow, safe='')}/{quote(name, safe='')}"
    )
    return found


def read_deployment_rows(
    api: PrefectApi, ids: Sequence[str] | None = None
) -> dict[str, dict[str, Any]]:
    """All deployments of the server, or those with these ids, by id; reads by page."""
    wanted = {} if ids is None else {"deployments": {"id": {"any_": list(ids)}}}
    # By name, which is the default, many of one name would change places between two pages.
    rows = api.pages("/deployments/filter", {**wanted, "sort": "CREATED_DESC"})
    return {row["id"]: row for row in rows}


def get_deployment(api: PrefectApi, full_name: str) -> dict[str, Any]:
    """The deployment named `flow/deployment`; NeedsOperator when it is not registered."""
    found = find_deployment(api, full_name)
    if found is None:
        raise NeedsOperator(
            f"deployment {full_name} is not registered",
            "run `make up`, in a cluster bootstrap, which registers it",
        )
    return found


def start_run(
    api: PrefectApi, full_name: str, parameters: Mapping[str, Any], *, tags: Sequence[str] = ()
) -> str:
    """The id of a new run, due now."""
    deployment = get_deployment(api, full_name)
    body = {
        "parameters": dict(parameters),
        "tags": [*deployment["tags"], *tags],
        "state": {"type": "SCHEDULED"},
    }
    return str(api.post(f"/deployments/{deployment['id']}/create_flow_run", body)["id"])


def find_tagged_run(
    api: PrefectApi, full_name: str, tag: str, *, completed: bool = True
) -> Run | None:
    """The run of a deployment with this tag that is under way, else the last one if it completed.

    None also when the last one ended otherwise, whatever those before it did. `completed` off: only
    one under way.
    """
    deployment = get_deployment(api, full_name)
    for states in (["RUNNING", "PENDING", "SCHEDULED", "PAUSED"], list(FINAL)):
        rows = api.post(
            "/flow_runs/filter",
            {
                "flow_runs": {
                    "deployment_id": {"any_": [deployment["id"]]},
                    "tags": {"all_": [tag]},
                    "state": {"type": {"any_": states}},
                },
                "sort": "EXPECTED_START_TIME_DESC",
                "limit": 1,
            },
        )
        if rows:
            run = as_run(rows[0])
            return run if run.state not in FINAL or (completed and run.completed) else None
    return None


def get_run(api: PrefectApi, run_id: str) -> Run:
    """The run as the server knows it now."""
    row = api.get(f"/flow_runs/{run_id}")
    if row is None:
        raise NeedsOperator(f"flow run {run_id} does not exist any more", "start it again")
    return as_run(row)


def as_run(row: Mapping[str, Any]) -> Run:
    """A row of the API as a Run."""
    state = row.get("state") or {}
    return Run(
        id=str(row["id"]),
        name=str(row.get("name", "")),
        state=str(row.get("state_type") or "SCHEDULED"),
        message=str(state.get("message") or ""),
        deployment_id=row.get("deployment_id"),
        parameters=row.get("parameters") or {},
        worker=str((row.get("labels") or {}).get(_WORKER_LABEL, "")),
    )


def follow_run(
    api: PrefectApi,
    run_id: str,
    *,
    seconds: float,
    tell: Callable[[str], None] | None = None,
    is_lost: Callable[[Run], bool] = lambda _: False,
    watch: RunWatch = unwatched,
) -> Run:
    """The run once it has ended, well or not, or is lost; TimedOut with its last state otherwise.

    `tell` is given each line that the flow logs, as it arrives; those of workers and tasks are
    left to the UI. `watch` is given the run at each look; what it raises ends the wait. A server
    that does not answer for a while, as one that the run itself replaces, is waited for.
    """
    told, answered = 0, monotonic()
    last: list[Run] = []

    def look() -> Sighting:
        nonlocal told, answered
        try:
            run = get_run(api, run_id)
            watch(run)
            while tell is not None and (count := _tell_log(api, run_id, told, tell)):
                told += count
            over = run.state in FINAL or is_lost(run)
        except Transient as error:
            if monotonic() - answered > _SILENCE:
                raise
            return Sighting(done=False, summary=str(error))
        answered = monotonic()
        last[:] = [run]
        return Sighting(done=over, summary=f"{run.name} is {run.state.lower()}")

    wait_until(f"run {run_id}", look, seconds=seconds)
    return last[0]


def run_to_end(
    api: PrefectApi,
    full_name: str,
    parameters: Mapping[str, Any],
    *,
    seconds: float,
    tell: Callable[[str], None] | None = None,
    watch: RunWatch = unwatched,
) -> Run:
    """A new run of the deployment, once it has ended, well or not; see `follow_run`."""
    run = start_run(api, full_name, parameters)
    return follow_run(api, run, seconds=seconds, tell=tell, watch=watch)


class Served(Protocol):
    """A platform, as far as its pages go."""

    @property
    def ui_url(self) -> str:
        """Where a browser finds Prefect."""

    @property
    def ui_way(self) -> str:
        """The command that has to run meanwhile; empty when none has to."""


def link(place: Served, run_id: str) -> str:
    """Where the UI shows the run."""
    # The pages at /v2 ask who is not logged in for the password; the older ones only fail.
    return f"{place.ui_url}/v2/runs/flow-run/{run_id}"


def where_to_see(place: Served, run_id: str) -> str:
    """The same, with the command that leads there."""
    way = f" (while `{place.ui_way}` runs)" if place.ui_way else ""
    return f"{link(place, run_id)}{way}"


def read_table(api: PrefectApi, run_id: str, key: str) -> list[dict[str, Any]]:
    """The rows of the table that a run left; none when it left none."""
    wanted = {"flow_run_id": {"any_": [run_id]}, "key": {"any_": [key]}}
    found = api.post("/artifacts/filter", {"artifacts": wanted, "sort": "CREATED_DESC", "limit": 1})
    if not found:
        return []
    data = found[0]["data"]
    rows: list[dict[str, Any]] = json.loads(data) if isinstance(data, str) else data
    return rows


def _tell_log(api: PrefectApi, run_id: str, offset: int, tell: Callable[[str], None]) -> int:
    rows = api.post(
        "/logs/filter",
        {
            "logs": {"flow_run_id": {"any_": [run_id]}},
            "sort": "TIMESTAMP_ASC",
            "offset": offset,
        },
    )
    for row in rows:
        if row["name"] == _FLOW_LOGGER or row["name"].startswith(_OUR_LOGGERS):
            tell(row["message"])
    return len(rows)


def active_runs(api: PrefectApi, **more: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Runs that have a process or are about to; `more`: what else is filtered by.

    Also those that sleep in theirs until a retry or while they are paused: Prefect gives them to
    no other worker, so they end with it. One that is suspended, or scheduled to be tried again by
    whichever worker takes it, has none.
    """
    flow_runs = {"state": _MAY_HAVE_PROCESS, **more.pop("flow_runs", {})}
    rows = api.pages("/flow_runs/filter", {"flow_runs": flow_runs, **more})
    return (row for row in rows if _has_process(row))


def _has_process(row: Mapping[str, Any]) -> bool:
    match row["state_type"]:
        case "PAUSED":
            return not row["state"]["state_details"]["pause_reschedule"]
        case "SCHEDULED":
            return bool(row["empirical_policy"]["retry_type"] == "in_process")
        case _:
            return True


def runs_in(api: PrefectApi, pool: str, states: Collection[str] = ()) -> list[dict[str, Any]]:
    """Runs of a work pool in states of these types; the active ones when none is given."""
    pools = {"name": {"any_": [pool]}}
    if not states:
        return list(active_runs(api, work_pools=pools))
    wanted = {"state": {"type": {"any_": list(states)}}}
    return list(api.pages("/flow_runs/filter", {"flow_runs": wanted, "work_pools": pools}))


def lost_runs(api: PrefectApi, pool: str, living: Collection[str]) -> list[dict[str, Any]]:
    """Active runs that this machine's worker took and that have no process any more.

    A worker somewhere else may serve the same pool; its runs carry its name and are left alone.
    """
    ours = names.WORKERS.get(pool)
    return [
        row
        for row in runs_in(api, pool)
        if row["id"] not in living and (row.get("labels") or {}).get(_WORKER_LABEL, ours) == ours
    ]


def settle_lost_runs(api: PrefectApi, pool: str, living: Collection[str]) -> list[Change]:
    """No run stays active without a process, and its slots are free.

    One that never started goes back to Scheduled and is not lost; one that ran is Crashed, since
    nobody knows how far it came; one that was being cancelled is Cancelled. Call it only while no
    worker of this machine is taking runs from the pool.
    """
    return [_settle(api, row) for row in lost_runs(api, pool, living)]


def _settle(api: PrefectApi, row: Mapping[str, Any]) -> Change:
    state: dict[str, Any]
    match row["state_type"]:
        case "PENDING":
            state = {"type": "SCHEDULED", "message": "Its worker ended before it started."}
        case "CANCELLING":
            state = {"type": "CANCELLED", "message": "Its process is gone."}
        case _:
            state = {"type": "CRASHED", "message": "Its process is gone; nobody knows how far."}
    api.post(f"/flow_runs/{row['id']}/set_state", {"state": state, "force": True})
    told = f"{row['state_name']} to {state['type'].capitalize()}"
    return Change(f"run {row['name']}", Did.UPDATED, told)
