"""Deployments of others that can't run any more: reported, and never written."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clinical_ai.deployment_plan import Runs, owners_of
from clinical_ai.ports import PrefectApi
from clinical_ai.steps.runs import read_deployment_rows
from clinical_ai.steps.scheduled_runs import read_runs

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Unresolved:
    """One of them: why, what its active schedules say, when its next run would be."""

    full_name: str
    reason: str
    schedules: tuple[str, ...]
    next_run: str

    def __str__(self) -> str:
        when = f"; scheduled {', '.join(self.schedules)}" if self.schedules else ""
        return f"{self.full_name}: {self.reason}{when}{self.next_run and f'; next {self.next_run}'}"


def find_unresolved(
    api: PrefectApi, owners: frozenset[str], wrong_code: Callable[[Row], str]
) -> list[Unresolved]:
    """Deployments without an owner among `owners` whose flow, code, pool or queue is not there.

    `wrong_code` gives the reason why a deployment's entrypoint or release does not resolve, or "".
    """
    flows = {row["id"]: row["name"] for row in api.pages("/flows/filter")}
    pools = {row["name"] for row in api.pages("/work_pools/filter")}
    found = []
    for row in read_deployment_rows(api).values():
        if owners_of(row["tags"]) & owners:
            continue
        reason = _missing(row, flows, pools) or wrong_code(row)
        if reason:
            found.append((row, reason))
    runs = read_runs(api, [row["id"] for row, _ in found])
    return [
        Unresolved(
            f"{flows.get(row['flow_id'], 'a flow that is gone')}/{row['name']}",
            reason,
            tuple(sorted(_said(each) for each in row["schedules"] if each["active"])),
            min(runs.get(row["id"], Runs()).future, default=""),
        )
        for row, reason in found
    ]


def _missing(row: Row, flows: Mapping[str, str], pools: Sequence[str] | set[str]) -> str:
    if row["flow_id"] not in flows:
        return "its flow does not exist"
    pool = row.get("work_pool_name")
    if pool is None and row.get("status") == "READY":
        return ""  # a process serves it
    if pool not in pools:
        return f"its work pool {pool} does not exist" if pool else "its work pool does not exist"
    if not row.get("work_queue_name"):
        return "its work queue does not exist"
    return ""


def _said(schedule: Row) -> str:
    timing = schedule["schedule"]
    for kind in ("cron", "rrule"):
        if timing.get(kind):
            return f"{timing[kind]} {timing.get('timezone') or 'UTC'}"
    return f"every {timing.get('interval')} s"
