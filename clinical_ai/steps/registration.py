"""Deployments of a prefect.yaml on a server: read first, write only what differs, all or nothing.

Every write to a deployment, an identical one too, drops its future scheduled runs; each is brought
back, at the same times, before this ends.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, Final

from clinical_ai import names
from clinical_ai.change import Change, Did
from clinical_ai.deployment_plan import (
    Action,
    Found,
    Step,
    Wanted,
    owners_of,
    plan,
)
from clinical_ai.errors import ManyFaults, NeedsOperator
from clinical_ai.ports import PrefectApi
from clinical_ai.steps.deployment_writes import apply
from clinical_ai.steps.registration_lease import find_unfinished, registration_lease
from clinical_ai.steps.runs import read_deployment_rows
from clinical_ai.steps.scheduled_runs import read_runs, recover

_MOST_PRUNED: Final = 5
_MOST_SHARE: Final = 0.2


def register(
    api: PrefectApi,
    wanted: Sequence[Wanted],
    who: str,
    *,
    confirmed: bool = False,
    wait: float = 90,
) -> list[Step]:
    """The server has the wanted deployments; the plan that was carried out.

    Raises when the plan is refused or a write fails; nothing is changed then. `who` is told to
    whoever registers at the same time, and `wait` is how many seconds this waits for them.
    """
    return follow(api, wanted, read_plan(api, wanted), who, confirmed=confirmed, wait=wait)


def follow(
    api: PrefectApi,
    wanted: Sequence[Wanted],
    seen: Sequence[Step],
    who: str,
    *,
    confirmed: bool = False,
    wait: float = 90,
) -> list[Step]:
    """`register`, for whoever has seen the plan already; the one that was carried out."""
    refuse_plan(seen, confirmed=confirmed)
    if not any(step.writes for step in seen) and find_unfinished(api) is None:
        return list(seen)
    return _carry_out(api, wanted, who, list, confirmed=confirmed, wait=wait)


def ensure_deployments(
    api: PrefectApi, wanted: Sequence[Wanted], who: str, *, write: bool = True
) -> list[Change]:
    """The same for a release: what it no longer has goes, unless that is much and nobody looked."""
    steps = keep_many(read_plan(api, wanted))
    if write and (any(step.writes for step in steps) or find_unfinished(api)):
        steps = _carry_out(api, wanted, who, keep_many, confirmed=False, wait=90)
    return [_change(step) for step in steps]


def _carry_out(
    api: PrefectApi,
    wanted: Sequence[Wanted],
    who: str,
    settle: Callable[[list[Step]], list[Step]],
    *,
    confirmed: bool,
    wait: float,
) -> list[Step]:
    """Plan anew under the lease, since the world may have changed before it was had, and apply."""
    with registration_lease(api, who, _owners(wanted), seconds=wait) as lease:
        if last := lease.unfinished:
            rows = [each.row for each in read_deployments(api)]
            theirs = [row for row in rows if owners_of(row["tags"]) & last.owners]
            recover(api, theirs, last.since, lease.renew)
        steps = settle(read_plan(api, wanted))
        refuse_plan(steps, confirmed=confirmed)
        apply(api, steps, lease.renew)
    return steps


def keep_many(steps: Sequence[Step]) -> list[Step]:
    """The plan without a large prune, which is left to somebody who confirms it."""
    if not is_large(steps):
        return list(steps)
    reason = f"too many would go at once: run {names.REGISTER} with confirm_removal"
    return [
        replace(step, action=Action.KEPT, reason=reason) if step.action is Action.PRUNE else step
        for step in steps
    ]


def read_plan(
    api: PrefectApi, wanted: Sequence[Wanted], found: Sequence[Found] | None = None
) -> list[Step]:
    """What registering these would do; reads by page and writes nothing.

    `found`: what `read_deployments` has just read.
    """
    if not wanted:
        raise NeedsOperator("no deployment is wanted at all", "name a file that has some")
    owners = _owners(wanted)
    found = read_deployments(api) if found is None else found
    first = plan(wanted, found, owners)
    touched = [s.found.row["id"] for s in first if s.found and s.writes]
    runs = read_runs(api, touched)
    known = [
        replace(each, runs=runs[key]) if (key := each.row["id"]) in runs else each for each in found
    ]
    return plan(wanted, known, owners)


def look(
    api: PrefectApi, reading: AbstractContextManager[Callable[[], Sequence[Wanted]]]
) -> tuple[Sequence[Wanted], list[Step]]:
    """What is wanted, and what registering it would do; the server is read beside the files."""
    with reading as read:
        found = read_deployments(api)
        wanted = read()
    return wanted, read_plan(api, wanted, found)


def read_deployments(api: PrefectApi) -> list[Found]:
    """All deployments of the server with their automations, without their runs; by page."""
    owned: dict[str, list[Mapping[str, Any]]] = {}
    for row in api.pages("/automations/filter", {"sort": "CREATED_DESC"}):
        # Who owns one is not told; what it runs is.
        for key in {action.get("deployment_id") for action in row["actions"]}:
            owned.setdefault(str(key), []).append(row)
    flows = {row["id"]: row["name"] for row in api.pages("/flows/filter")}
    return [
        Found({**row, "flow_name": flows[row["flow_id"]]}, tuple(owned.get(row["id"], ())))
        for row in read_deployment_rows(api).values()
        if row["flow_id"] in flows
    ]


def refuse_plan(steps: Sequence[Step], *, confirmed: bool) -> None:
    """ManyFaults when the plan must not be carried out as it is; nothing was written."""
    faults = [
        NeedsOperator(
            f"{step.wanted.place if step.wanted else ''}: {step.full_name}: {step.reason}",
            "rename yours, or give the other its owner tag if it is yours",
        )
        for step in steps
        if step.action is Action.PROTECTED
    ]
    if faults:
        raise ManyFaults(faults)
    pruned = [step.full_name for step in steps if step.action is Action.PRUNE]
    if pruned and not confirmed and is_large(steps):
        raise NeedsOperator(
            f"{len(pruned)} deployments would be removed: {', '.join(pruned[:8])}",
            "look at the plan, and confirm it (--confirm, or the form in the UI)",
        )


def is_large(steps: Sequence[Step]) -> bool:
    """Whether more would be pruned than anybody takes away by accident."""
    pruned = sum(step.action is Action.PRUNE for step in steps)
    ours = sum(step.found is not None and step.action is not Action.PROTECTED for step in steps)
    return pruned > _MOST_PRUNED or pruned > _MOST_SHARE * ours


def _owners(wanted: Sequence[Wanted]) -> frozenset[str]:
    return frozenset().union(*(owners_of(each.body["tags"]) for each in wanted))


def _change(step: Step) -> Change:
    did = {
        Action.CREATE: Did.CREATED,
        Action.UPDATE: Did.UPDATED,
        Action.PRUNE: Did.REMOVED,
    }.get(step.action, Did.UNCHANGED)
    return Change(f"deployment {step.full_name}", did, ", ".join(step.fields) or step.reason)
