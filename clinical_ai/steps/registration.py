"""Deployments of a prefect.yaml on a server: read first, write only what differs, all or nothing.

Every write to a deployment, an identical one too, drops its future scheduled runs; each is brought
back, at the same times, before this ends.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, Final

from clinical_ai.change import Change, Did
from clinical_ai.deployment_plan import (
    Action,
    Found,
    Runs,
    Step,
    Wanted,
    automation_body,
    comparable,
    is_between,
    old_body,
    owned_by,
    owners_of,
    plan,
    schedule_body,
)
from clinical_ai.errors import ManyFaults, NeedsOperator, PlatformError
from clinical_ai.ports import PrefectApi
from clinical_ai.steps.registration_lease import Unfinished, find_unfinished, registration_lease
from clinical_ai.steps.runs import find_deployment, read_deployment_rows
from clinical_ai.steps.scheduled_runs import bring_back, make_anew, read_runs, recover

_MOST_PRUNED: Final = 5
_MOST_SHARE: Final = 0.2
_OWNER: Final = "prefect.deployment."
_NO_RUNS: Final = Runs()

Undo = Callable[[], object]


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
    reason = "too many would go at once: `clinical-ai register --confirm`"
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
        for row in read_deployment_rows(api)
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


def apply(api: PrefectApi, steps: Sequence[Step], renew: Callable[[], None]) -> None:
    """The plan is carried out; when a write fails, the earlier ones are undone.

    `renew` is called before each write, and raises when somebody else may register by now. What
    was edited since the plan was made is not overwritten: NeedsOperator names it. Pruning comes
    last, since what is deleted can't be brought back as it was.
    """
    undo: list[tuple[str, Undo]] = []
    dropped: dict[str, Sequence[tuple[str, str]]] = {}
    pruned = [step for step in steps if step.action is Action.PRUNE]
    _refuse_used(api, pruned)
    try:
        for step in steps:
            if step.action is Action.CREATE:
                renew()
                _create(api, step, undo)
            elif step.action is Action.UPDATE:
                renew()
                _update(api, step, undo, dropped)
        bring_back(api, dropped, renew)
        _refuse_used(api, pruned)
    except PlatformError as error:
        left = _take_back(undo)
        bring_back(api, dropped)
        if left:
            raise Unfinished(
                f"{error}; and these could not be put back: {', '.join(left)}",
                "see that the server runs, and register again: it goes on where it stands",
            ) from error
        raise
    for step in pruned:
        renew()
        _delete(api, _found(step).row["id"])


def _refuse_used(api: PrefectApi, pruned: Sequence[Step]) -> None:
    """NeedsOperator when one that is to go was edited since the plan, or has runs now."""
    if not pruned:
        return
    keys = [_found(step).row["id"] for step in pruned]
    runs = read_runs(api, keys)
    there = {row["id"]: row for row in read_deployment_rows(api, keys)}
    for key, step in zip(keys, pruned, strict=True):
        now = there.get(key)
        if now is None:
            continue
        if runs.get(key, _NO_RUNS).in_flight or comparable(now) != comparable(_found(step).row):
            raise _edited(step)


def _owners(wanted: Sequence[Wanted]) -> frozenset[str]:
    return frozenset().union(*(owners_of(each.body["tags"]) for each in wanted))


def _create(api: PrefectApi, step: Step, undo: list[tuple[str, Undo]]) -> None:
    wanted = _wanted(step)
    flow_name, _, name = step.full_name.partition("/")
    if find_deployment(api, step.full_name) is not None:
        raise _edited(step)
    flow = api.post("/flows/", {"name": flow_name})
    undo.append((step.full_name, lambda: _remove_named(api, step.full_name)))
    body = {**wanted.body, "name": name, "flow_id": flow["id"]}
    made = api.post("/deployments/", body)
    _add_triggers(api, made["id"], wanted.triggers or (), [])


def _update(
    api: PrefectApi,
    step: Step,
    undo: list[tuple[str, Undo]],
    dropped: dict[str, Sequence[tuple[str, str]]],
) -> None:
    found, key = _found(step), _found(step).row["id"]
    now = api.get(f"/deployments/{key}")
    if now is None or comparable(now) != comparable(found.row):
        raise _edited(step)
    running = _running(api, key) if "triggers" in step.fields else []
    if "triggers" in step.fields and _states(running) != _states(found.triggers):
        raise _edited(step)
    if not step.paused:
        dropped[key] = found.runs.scheduled
    gone: list[Mapping[str, Any]] = []
    undo.append((step.full_name, lambda: _restore(api, step, gone)))
    if step.patch:
        api.patch(f"/deployments/{key}", step.patch)
    for schedule, body in step.schedules:
        _write_schedule(api, key, schedule, body)
    if (step.patch or step.schedules) and not step.paused:
        make_anew(api, key)
    if "triggers" in step.fields:
        gone += _take_triggers(api, key, running)
        _add_triggers(api, key, _wanted(step).triggers or (), gone)


def _write_schedule(api: PrefectApi, deployment: str, key: str, body: Mapping[str, Any]) -> None:
    path = f"/deployments/{deployment}/schedules"
    if key:
        api.patch(f"{path}/{key}", body)
    else:
        api.post(path, [body])


def _restore(api: PrefectApi, step: Step, gone: Sequence[Mapping[str, Any]]) -> None:
    """The deployment is as it was before, unless somebody has edited it since.

    `gone`: the automations that this registration took away from it.
    """
    found = _found(step)
    key = found.row["id"]
    now = api.get(f"/deployments/{key}")
    if now is None or not is_between(step, now):
        raise NeedsOperator("it was changed by somebody since", "")
    if step.patch:
        api.patch(f"/deployments/{key}", old_body(step))
    old = {each["id"]: each for each in found.row["schedules"]}
    for schedule in now["schedules"]:
        if schedule["id"] not in old:
            api.delete(f"/deployments/{key}/schedules/{schedule['id']}")
    for schedule_id, _ in step.schedules:
        if schedule_id:
            _write_schedule(api, key, schedule_id, schedule_body(old[schedule_id]))
    if (step.patch or step.schedules) and not found.row["paused"]:
        make_anew(api, key)
    if "triggers" in step.fields:
        _take_triggers(api, key, [])
        _add_triggers(api, key, gone, [])


def _take_back(undo: list[tuple[str, Undo]]) -> list[str]:
    """Undo in reverse; which of them could not be."""
    left = []
    for name, step in reversed(undo):
        try:
            step()
        except PlatformError as failed:
            left.append(f"{name} ({failed})")
    return left


def _take_triggers(
    api: PrefectApi, deployment: str, running: Sequence[Mapping[str, Any]]
) -> list[Mapping[str, Any]]:
    """The deployment owns no automation any more; which of those that ran it are gone."""
    api.delete(f"/automations/owned-by/{_OWNER}{deployment}")
    left = {row["id"] for row in _running(api, deployment)} if running else set()
    return [row for row in running if row["id"] not in left]


def _add_triggers(
    api: PrefectApi,
    deployment: str,
    triggers: Sequence[Mapping[str, Any]],
    before: Sequence[Mapping[str, Any]],
) -> None:
    """The deployment owns these automations, too.

    What the file does not say of one stays as it was `before`: somebody may have switched it off.
    """
    known = {row["name"]: automation_body(row) for row in before}
    for trigger in owned_by(deployment, triggers):
        body = {**known.get(trigger["name"], {}), **automation_body(trigger)}
        api.post("/automations/", {**body, "owner_resource": f"{_OWNER}{deployment}"})


def _running(api: PrefectApi, deployment: str) -> list[Mapping[str, Any]]:
    """The automations whose actions run this deployment, whoever made them."""
    return [
        row
        for row in api.pages("/automations/filter", {"sort": "CREATED_DESC"})
        if any(action.get("deployment_id") == deployment for action in row["actions"])
    ]


def _states(triggers: Sequence[Mapping[str, Any]]) -> list[Any]:
    return sorted((row["id"], str(automation_body(row))) for row in triggers)


def _delete(api: PrefectApi, deployment: str) -> None:
    """Its automations first: they would stay behind."""
    _take_triggers(api, deployment, [])
    api.delete(f"/deployments/{deployment}")


def _remove_named(api: PrefectApi, full_name: str) -> None:
    found = find_deployment(api, full_name)
    if found is not None:
        _delete(api, found["id"])


def _change(step: Step) -> Change:
    did = {
        Action.CREATE: Did.CREATED,
        Action.UPDATE: Did.UPDATED,
        Action.PRUNE: Did.REMOVED,
    }.get(step.action, Did.UNCHANGED)
    return Change(f"deployment {step.full_name}", did, ", ".join(step.fields) or step.reason)


def _edited(step: Step) -> NeedsOperator:
    return NeedsOperator(
        f"{step.full_name} was changed by somebody while this was under way, and is left as it is",
        "register again, which plans anew",
    )


def _found(step: Step) -> Found:
    assert step.found is not None  # noqa: S101 - updates and prunes have one
    return step.found


def _wanted(step: Step) -> Wanted:
    assert step.wanted is not None  # noqa: S101 - creations and updates have one
    return step.wanted
