"""A plan of deployments carried out: each written narrowly, all or none, no scheduled run lost."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final

from clinical_ai.deployment_plan import (
    Action,
    Found,
    Row,
    Runs,
    Step,
    Wanted,
    automation_body,
    comparable,
    is_between,
    old_body,
    owned_by,
    schedule_body,
)
from clinical_ai.errors import NeedsOperator, PlatformError
from clinical_ai.ports import PrefectApi
from clinical_ai.side_by_side import AT_ONCE, each
from clinical_ai.steps.registration_lease import Unfinished
from clinical_ai.steps.runs import find_deployment, read_deployment_rows
from clinical_ai.steps.scheduled_runs import Dropped, bring_back, make_anew, read_runs

_OWNER: Final = "prefect.deployment."
_NO_RUNS: Final = Runs()
_WRITTEN: Final = (Action.CREATE, Action.UPDATE)
_READS: Final = 20  # before writing, at most: a twentieth of the deployments is read at a time

Undo = Callable[[], object]


def apply(api: PrefectApi, steps: Sequence[Step], renew: Callable[[], None]) -> None:
    """The plan is carried out; when a write fails, the earlier ones are undone.

    `renew` is called before each write, and raises when somebody else may register by now. What
    was edited since the plan was made is not overwritten: NeedsOperator names it. Pruning comes
    last, since what is deleted can't be brought back as it was.
    """
    work = _Work(api, renew)
    pruned = [step for step in steps if step.action is Action.PRUNE]
    _refuse_used(api, pruned)
    try:
        with ThreadPoolExecutor(AT_ONCE) as workers:
            for rows in _read_again(api, [s for s in steps if s.action in _WRITTEN]):
                each(workers, lambda row: _write(work, *row), rows)
        bring_back(api, work.dropped, renew)
        _refuse_used(api, pruned)
    except PlatformError as error:
        left = _take_back(work.undo)
        bring_back(api, work.dropped)
        if left:
            raise Unfinished(
                f"{error}; and these could not be put back: {', '.join(left)}",
                "see that the server runs, and register again: it goes on where it stands",
            ) from error
        raise
    for step in pruned:
        renew()
        _delete(api, _found(step).row["id"])


@dataclass
class _Work:
    """What has been written so far: how to undo it, and the runs that it dropped."""

    api: PrefectApi
    renew: Callable[[], None]
    undo: list[tuple[str, Undo]] = field(default_factory=list)
    dropped: dict[str, Dropped] = field(default_factory=dict)


def _refuse_used(api: PrefectApi, pruned: Sequence[Step]) -> None:
    """NeedsOperator when one that is to go was edited since the plan, or has runs now."""
    if not pruned:
        return
    keys = [_found(step).row["id"] for step in pruned]
    runs = read_runs(api, keys)
    there = read_deployment_rows(api, keys)
    for key, step in zip(keys, pruned, strict=True):
        now = there.get(key)
        if now is None:
            continue
        if runs.get(key, _NO_RUNS).in_flight or comparable(now) != comparable(_found(step).row):
            raise _edited(step)


def _write(work: _Work, step: Step, now: Row | None) -> None:
    work.renew()
    if step.action is Action.CREATE:
        _create(work, step)
    else:
        _update(work, step, now)


def _create(work: _Work, step: Step) -> None:
    wanted, api = _wanted(step), work.api
    flow_name, _, name = step.full_name.partition("/")
    if find_deployment(api, step.full_name) is not None:
        raise _edited(step)
    flow = api.post("/flows/", {"name": flow_name})
    work.undo.append((step.full_name, lambda: _remove_named(api, step.full_name)))
    body = {**wanted.body, "name": name, "flow_id": flow["id"]}
    made = api.post("/deployments/", body)
    _add_triggers(api, made["id"], wanted.triggers or (), [])


def _read_again(api: PrefectApi, steps: Sequence[Step]) -> Iterator[list[tuple[Step, Row | None]]]:
    """Steps with their deployments as they are now, None for one that is not there.

    Few are read one by one, just before each is written; of many the next twentieth, by page.
    """
    size = max(1, len(steps) // _READS)
    for first in range(0, len(steps), size):
        some = steps[first : first + size]
        keys = [step.found.row["id"] for step in some if step.found]
        there = read_deployment_rows(api, keys) if keys else {}
        yield [(step, there.get(step.found.row["id"]) if step.found else None) for step in some]


def _update(work: _Work, step: Step, now: Row | None) -> None:
    api, found, key = work.api, _found(step), _found(step).row["id"]
    if now is None or comparable(now) != comparable(found.row):
        raise _edited(step)
    running = _running(api, found.triggers) if "triggers" in step.fields else []
    if "triggers" in step.fields and _states(running) != _states(found.triggers):
        raise _edited(step)
    if not step.paused:
        work.dropped[key] = found.runs.scheduled
    gone: list[Row] = []
    work.undo.append((step.full_name, lambda: _restore(api, step, gone)))
    if step.patch:
        api.patch(f"/deployments/{key}", step.patch)
    for schedule, body in step.schedules:
        _write_schedule(api, key, schedule, body)
    if _needs_runs(step):
        make_anew(api, key)
    if "triggers" in step.fields:
        gone += _take_triggers(api, key, running)
        _add_triggers(api, key, _wanted(step).triggers or (), gone)


def _needs_runs(step: Step) -> bool:
    """Whether its schedules have runs after the write that they did not have before.

    The runs that it had are brought back at the end, those that the scheduler has not yet made
    anew.
    """
    if step.paused:
        return False
    found = _found(step)
    scheduled = any(each["active"] for each in found.row["schedules"])
    return bool(step.schedules or (step.patch and scheduled and not found.runs.scheduled))


def _write_schedule(api: PrefectApi, deployment: str, key: str, body: Row) -> None:
    path = f"/deployments/{deployment}/schedules"
    if key:
        api.patch(f"{path}/{key}", body)
    else:
        api.post(path, [body])


def _restore(api: PrefectApi, step: Step, gone: Sequence[Row]) -> None:
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


def _take_triggers(api: PrefectApi, deployment: str, running: Sequence[Row]) -> list[Row]:
    """The deployment owns no automation any more; which of those that ran it are gone."""
    api.delete(f"/automations/owned-by/{_OWNER}{deployment}")
    left = {row["id"] for row in _running(api, running)}
    return [row for row in running if row["id"] not in left]


def _add_triggers(
    api: PrefectApi,
    deployment: str,
    triggers: Sequence[Row],
    before: Sequence[Row],
) -> None:
    """The deployment owns these automations, too.

    What the file does not say of one stays as it was `before`: somebody may have switched it off.
    """
    known = {row["name"]: automation_body(row) for row in before}
    for trigger in owned_by(deployment, triggers):
        body = {**known.get(trigger["name"], {}), **automation_body(trigger)}
        api.post("/automations/", {**body, "owner_resource": f"{_OWNER}{deployment}"})


def _running(api: PrefectApi, known: Sequence[Row]) -> list[Row]:
    """Those of these automations that are still there, as they are now."""
    if not known:
        return []
    wanted = {"automations": {"id": {"any_": [row["id"] for row in known]}}}
    return list(api.pages("/automations/filter", {**wanted, "sort": "CREATED_DESC"}))


def _states(triggers: Sequence[Row]) -> list[Any]:
    return sorted((row["id"], str(automation_body(row))) for row in triggers)


def _delete(api: PrefectApi, deployment: str) -> None:
    """Its automations first: they would stay behind."""
    _take_triggers(api, deployment, [])
    api.delete(f"/deployments/{deployment}")


def _remove_named(api: PrefectApi, full_name: str) -> None:
    found = find_deployment(api, full_name)
    if found is not None:
        _delete(api, found["id"])


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
