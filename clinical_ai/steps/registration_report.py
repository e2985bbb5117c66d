"""A plan of registration as a person reads it, and as a script does; pure."""

import json
from collections.abc import Sequence
from typing import Any, Final

from clinical_ai.deployment_plan import Action, Step
from clinical_ai.steps.unresolved import Unresolved

_LONG: Final = 100
# Shown as changed only: whole, they would bury the rest.
_WHOLE: Final = {"parameter_openapi_schema", "pull_steps"}


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
        told += [f"{'':11}{row['field']}: {row['old']} -> {row['new']}" for row in _fields(step)]
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
        fields = _fields(step) or [{"field": "", "old": "", "new": ""}]
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
                "fields": {
                    key: {"old": old, "new": new} for key, (old, new) in step.fields.items()
                },
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


def _fields(step: Step) -> list[dict[str, str]]:
    return [
        {"field": key, "old": _short(key, old), "new": _short(key, new)}
        for key, (old, new) in sorted(step.fields.items())
    ]


def _short(key: str, value: Any) -> str:
    if key in _WHOLE:
        return "..." if value else "none"
    text = json.dumps(value, sort_keys=True, default=str)
    return text if len(text) <= _LONG else f"{text[:_LONG]}..."
