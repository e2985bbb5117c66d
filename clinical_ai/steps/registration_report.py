"""A plan of registration as a person reads it, and as a script does; pure, secrets masked."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from clinical_ai.deployment_plan import Action, Row, Step
from clinical_ai.object_diff import FieldChange, differences
from clinical_ai.steps.unresolved import Unresolved

# Shown as changed only: whole, they would bury the rest.
_WHOLE: Final = {"parameter_openapi_schema", "pull_steps"}
_FORMS: Final = {"cron", "interval", "rrule"}  # one makes a schedule what it is


def sentence(steps: Sequence[Step]) -> str:
    """How many of each, and what becomes of scheduled runs."""
    counts = {action: sum(step.action is action for step in steps) for action in Action}
    told = ", ".join(f"{number} {action}" for action, number in counts.items() if number)
    runs = kept_runs(steps)
    kept = f"; {runs} scheduled runs would be dropped by these writes and are kept" if runs else ""
    return f"{told or 'nothing is wanted'}{kept}"


def kept_runs(steps: Sequence[Step]) -> int:
    """Scheduled runs that the updates would have dropped, and that are there again."""
    return sum(_future(step) for step in steps if not step.schedules and not step.paused)


def lines(steps: Sequence[Step]) -> list[str]:
    """One line a deployment, one below it a field; what stays as it is in one line."""
    told = []
    for step in steps:
        if step.action is Action.UNCHANGED:
            continue
        told.append(f"{step.action:<10} {step.full_name} {step.reason}".rstrip())
        told += [f"{'':11}{each.short}" for each in _changes(step)]
        if runs := _future(step):
            told.append(f"{'':11}{runs} scheduled runs {_fate(step)}")
    unchanged = sum(step.action is Action.UNCHANGED for step in steps)
    return [*told, f"{unchanged} unchanged"] if unchanged else told


def rows(steps: Sequence[Step]) -> list[dict[str, Any]]:
    """A table: one row a deployment that changes, for each field."""
    found = []
    for step in steps:
        base = {"action": str(step.action), "deployment": step.full_name, "reason": step.reason}
        runs = f"{_future(step)} {_fate(step)}" if _future(step) else ""
        fields = [_as_row(each.short) for each in _changes(step)]
        fields = fields or [{"field": "", "old": "", "new": ""}]
        found += [{**base, **row, "scheduled runs": runs} for row in fields]
    return found


def as_json(
    steps: Sequence[Step], unchecked: Sequence[str], unresolved: Sequence[Unresolved]
) -> dict[str, Any]:
    """The whole plan, for a script."""
    return {
        "summary": sentence(steps),
        "scheduled_runs_kept": kept_runs(steps),
        "unchecked": list(unchecked),
        "unresolved": [vars(each) for each in unresolved],
        "steps": [
            {
                "action": str(step.action),
                "deployment": step.full_name,
                "reason": step.reason,
                "fields": [_as_row(each) for each in _changes(step)],
                "scheduled_runs": len(step.found.runs.future) if step.found else 0,
            }
            for step in steps
        ],
    }


def _future(step: Step) -> int:
    """How many scheduled runs the step's writes drop."""
    writes = step.action is Action.UPDATE and (step.patch or step.schedules)
    return len(step.found.runs.future) if writes and step.found else 0


def _fate(step: Step) -> str:
    if step.paused:
        return "go: it is paused"
    return "follow the changed schedules" if step.schedules else "are kept"


def _as_row(change: FieldChange) -> dict[str, str]:
    return {"field": change.path, "old": change.before or "", "new": change.after or ""}


def _changes(step: Step) -> list[FieldChange]:
    """Each value that differs, by its path. What somebody else wrote there may hold a secret."""
    found: list[FieldChange] = []
    for key, (old, new) in sorted(step.fields.items()):
        if key in _WHOLE:
            found.append(FieldChange(key, "..." if old else None, "..." if new else None))
        elif key == "schedules":
            found += _differing(key, *_schedules(step, old))
        else:
            found += _differing(key, old, new)
    return found


def _differing(key: str, old: Any, new: Any) -> list[FieldChange]:
    found = differences({key: old}, {key: new})
    return [replace(each, path=each.path.removeprefix(".")) for each in found]


def _schedules(step: Step, found: Sequence[Row]) -> tuple[dict[str, Row], dict[str, Row]]:
    """By their slugs, what is written of each and what is there of that."""
    old, new = {}, {}
    there = {row["id"]: row for row in found}
    for key, body in step.schedules:
        row = there.get(key)
        slug = row["slug"] if row else body["slug"]
        new[slug] = body
        if row:
            old[slug] = _like(body, row)
    return old, new


def _like(body: Row, row: Row) -> Row:
    """What is there of a schedule: the server adds defaults to it."""
    old = {name: row[name] for name in body if name in row}
    if "schedule" in body:
        named = {*body["schedule"], *_FORMS}
        old["schedule"] = {name: it for name, it in row["schedule"].items() if name in named}
    return old
