"""What registering deployments would do: pure decisions over what is wanted and what is there.

Every write to a deployment drops its future scheduled runs, an identical write too. So a plan
writes only what differs, and says what each write would drop; `steps.registration` brings it back.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from clinical_ai import names

Row = Mapping[str, Any]

# Stands in a rendered automation for the deployment that owns it and that its actions run.
SELF: Final = "00000000-0000-4000-8000-000000000000"

# What is compared when the file names it, and what always is: it follows from the flow's code.
_ALWAYS: Final = ("entrypoint", "parameter_openapi_schema", "path", "pull_steps", "work_pool_name")
_WHEN_NAMED: Final = (
    *("description", "enforce_parameter_schema", "job_variables", "parameters", "paused", "tags"),
    *("version", "work_queue_name"),
)
_OF_AUTOMATION: Final = (
    *("name", "description", "enabled", "tags", "trigger", "actions"),
    *("actions_on_trigger", "actions_on_resolve"),
)
_PLACE: Final = frozenset({"work_pool_name", "work_queue_name"})


class Action(StrEnum):
    """What happens to one deployment."""

    CREATE = "create"
    UPDATE = "update"
    UNCHANGED = "unchanged"
    PRUNE = "prune"
    KEPT = "kept"
    PROTECTED = "protected"


@dataclass(frozen=True)
class Wanted:
    """A deployment of a file: the body that Prefect's own deploy sends, and what the file names.

    `triggers`: the automations that it owns, None when the file names none. `place`: file and line.
    `checked`: its flow could be imported.
    """

    full_name: str
    body: Row
    named: frozenset[str]
    triggers: tuple[Row, ...] | None = None
    place: str = ""
    checked: bool = True


@dataclass(frozen=True)
class Found:
    """A deployment on the server: its row, the automations that it owns, and its runs.

    `future`: when those runs of its schedules are due that a write drops. `in_flight`: its other
    runs that have not ended.
    """

    row: Row
    triggers: tuple[Row, ...] = ()
    future: tuple[str, ...] = ()
    in_flight: int = 0

    @property
    def full_name(self) -> str:
        """`flow/deployment`."""
        return f"{self.row['flow_name']}/{self.row['name']}"


@dataclass(frozen=True)
class Step:
    """What happens to one deployment: `fields` maps a field to its old and new value."""

    action: Action
    full_name: str
    fields: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)
    patch: Row = field(default_factory=dict)
    reason: str = ""
    wanted: Wanted | None = None
    found: Found | None = None

    @property
    def writes(self) -> bool:
        """Whether it changes something on the server."""
        return self.action in {Action.CREATE, Action.UPDATE, Action.PRUNE}


def from_rendered(raw: Row, file: str) -> Wanted:
    """A deployment as `adapters.deployment_file` prints it."""
    named = frozenset(raw["named"])
    return Wanted(
        full_name=f"{raw['flow_name']}/{raw['body']['name']}",
        body=raw["body"],
        named=named,
        triggers=tuple(raw["triggers"]) if "triggers" in named else None,
        place=f"{file}:{raw['line']}",
        checked=raw["checked"],
    )


def plan(wanted: Sequence[Wanted], found: Sequence[Found], owners: frozenset[str]) -> list[Step]:
    """A step for each wanted deployment and for each of our owners' that is not wanted any more.

    What carries no owner mark of ours is never touched: a wanted deployment of that name is
    `protected`, which an operator has to settle.
    """
    there = {each.full_name: each for each in found}
    steps = [_step(each, there.get(each.full_name)) for each in wanted]
    kept = {each.full_name for each in wanted}
    steps += [
        _prune(each)
        for each in found
        if each.full_name not in kept and owners_of(each.row["tags"]) & owners
    ]
    return steps


def owners_of(tags: Sequence[str]) -> frozenset[str]:
    """Names behind the owner marks among the tags."""
    mark = names.OWNER_PREFIX
    return frozenset(tag.removeprefix(mark) for tag in tags if tag.startswith(mark))


def _step(wanted: Wanted, found: Found | None) -> Step:
    if found is None:
        return Step(Action.CREATE, wanted.full_name, wanted=wanted)
    if not owners_of(found.row["tags"]) & owners_of(wanted.body["tags"]):
        reason = "it is on the server without our owner mark"
        return Step(Action.PROTECTED, wanted.full_name, reason=reason, wanted=wanted, found=found)
    patch = dict(_patch(wanted, found.row))
    fields = {key: (_old(found.row, key), value) for key, value in patch.items()}
    triggers = owned_by(found.row["id"], wanted.triggers or ())
    there = _of_file(wanted, found.triggers)
    if wanted.triggers is not None and not _same_triggers(triggers, there):
        fields["triggers"] = (_shown(there), _shown(triggers))
    action = Action.UPDATE if fields else Action.UNCHANGED
    return Step(action, wanted.full_name, fields, patch, wanted=wanted, found=found)


def _prune(found: Found) -> Step:
    if found.in_flight:
        reason = f"{found.in_flight} runs are in flight or due; it goes when they have ended"
        return Step(Action.KEPT, found.full_name, reason=reason, found=found)
    return Step(Action.PRUNE, found.full_name, reason="no file names it", found=found)


def _patch(wanted: Wanted, found: Row) -> Iterator[tuple[str, Any]]:
    """Fields of the narrowest body that makes the found deployment the wanted one."""
    body = wanted.body
    compared = [*_ALWAYS, *(key for key in _WHEN_NAMED if key in wanted.named)]
    if not wanted.checked:
        compared.remove("parameter_openapi_schema")
    different = {k for k in compared if _normal(k, body.get(k)) != _normal(k, found.get(k))}
    if different & _PLACE:
        # A queue alone means one without a pool to the server, a pool alone its default queue.
        kept = _PLACE if "work_queue_name" in wanted.named else {"work_pool_name"}
        different |= kept
    for key in sorted(different):
        yield key, body.get(key)
    if "concurrency_limit" in wanted.named:
        yield from _concurrency(body, found)
    if schedules := _schedules(body.get("schedules") or [], found["schedules"]):
        yield "schedules", schedules


def _normal(key: str, value: Any) -> Any:
    """Tags have no order; nothing is as good as an empty table or text."""
    if key == "tags":
        return sorted(value or [])
    return value or None if isinstance(value, dict | list | str) else value


def _concurrency(body: Row, found: Row) -> Iterator[tuple[str, Any]]:
    limit = (found.get("global_concurrency_limit") or {}).get("limit")
    ours, theirs = body.get("concurrency_options") or {}, found.get("concurrency_options") or {}
    if body.get("concurrency_limit") != limit:
        yield "concurrency_limit", body.get("concurrency_limit")
    if any(theirs.get(key) != value for key, value in ours.items()):
        yield "concurrency_options", ours


def _schedules(wanted: Sequence[Row], found: Sequence[Row]) -> list[Row]:
    """Schedules to send: those that differ, or all when the server would replace the whole list.

    The server changes schedules by slug, and keeps those that it is not sent; where one has no
    slug it replaces the list, so that all that are there are sent along.
    """
    by_slug = {schedule.get("slug"): schedule for schedule in found}
    changed = [
        change
        for schedule in wanted
        if (change := _schedule(schedule, by_slug.get(_slug_there(schedule, by_slug))))
    ]
    if not changed or all(schedule.get("slug") for schedule in found):
        return changed
    ours = {schedule["slug"] for schedule in wanted}
    kept = [s for s in found if s.get("slug") not in ours]
    return [*(_whole(s, by_slug.get(s["slug"])) for s in wanted), *(_whole(s, s) for s in kept)]


def _slug_there(wanted: Row, by_slug: Mapping[Any, Row]) -> Any:
    """The slug under which the schedule is on the server: its own, or the one that it replaces."""
    return wanted["slug"] if wanted["slug"] in by_slug else wanted.get("replaces")


def _schedule(wanted: Row, found: Row | None) -> Row | None:
    """The fields of one schedule that differ, under its slug; None when nothing does.

    One that was switched off in the UI stays off unless the file says `active`.
    """
    if found is None:
        return {key: value for key, value in wanted.items() if key != "replaces"}
    timing = {k: v for k, v in wanted["schedule"].items() if v is not None}
    change: dict[str, Any] = {}
    if any(_moment(found["schedule"].get(key)) != _moment(value) for key, value in timing.items()):
        change["schedule"] = _anchored(wanted["schedule"], found["schedule"])
    change |= {
        key: wanted[key]
        for key in ("active", "parameters")
        if key in wanted and wanted[key] != found.get(key)
    }
    if wanted["slug"] != found.get("slug"):
        change["replaces"] = found["slug"]
    return {"slug": wanted["slug"], **change} if change else None


def _anchored(wanted: Row, found: Row) -> Row:
    """An interval without an anchor keeps the one it has: a new one would move every run."""
    if wanted.get("interval") is None or wanted.get("anchor_date") or "anchor_date" not in found:
        return wanted
    return {**wanted, "anchor_date": found["anchor_date"]}


def _moment(value: Any) -> Any:
    """Times are written with Z or +00:00."""
    return value.replace("Z", "+00:00") if isinstance(value, str) else value


def _whole(schedule: Row, found: Row | None) -> Row:
    """All that a list which replaces the server's has to say of one schedule."""
    timing = _anchored(schedule["schedule"], found["schedule"]) if found else schedule["schedule"]
    kept = {"active": True, "parameters": {}, "slug": None}
    whole = {key: (found or {}).get(key, value) for key, value in kept.items()}
    return {**whole, **{key: schedule[key] for key in kept if key in schedule}, "schedule": timing}


def owned_by(deployment: str, triggers: Sequence[Row]) -> list[Row]:
    """The automations as this deployment owns them."""
    owned: list[Row] = json.loads(json.dumps(list(triggers)).replace(SELF, deployment))
    return owned


def _of_file(wanted: Wanted, found: Sequence[Row]) -> list[Row]:
    """Automations that a file made: by the names it gives, or that Prefect gives for it."""
    ours = {each["name"] for each in wanted.triggers or ()}
    given = f"{wanted.body['name']}__automation_"
    return [row for row in found if row["name"] in ours or row["name"].startswith(given)]


def _same_triggers(wanted: Sequence[Row], found: Sequence[Row]) -> bool:
    """Whether each wanted automation is there, and no other; the server adds defaults."""
    there = {each["name"]: each for each in found}
    return len(wanted) == len(found) and all(
        each["name"] in there and covers(there[each["name"]], automation_body(each))
        for each in wanted
    )


def automation_body(row: Row) -> dict[str, Any]:
    """What of an automation somebody decides; the server tells neither its owner nor takes ids."""
    return {key: row[key] for key in _OF_AUTOMATION if key in row}


def covers(found: Any, wanted: Any) -> bool:
    """Whether all that is wanted is found; the server adds keys with defaults of its own."""
    if isinstance(wanted, Mapping):
        return isinstance(found, Mapping) and all(
            covers(found.get(key), value) for key, value in wanted.items()
        )
    if isinstance(wanted, list) and isinstance(found, list):
        if all(isinstance(item, str) for item in [*wanted, *found]):
            return sorted(wanted) == sorted(found)  # sets on the server, which have no order
        return len(wanted) == len(found) and all(map(covers, found, wanted))
    return bool(found == wanted)


def comparable(row: Row) -> dict[str, Any]:
    """What of a deployment an operator or a program may have edited; not what the server counts.

    The server returns schedules in no order: the same row twice may differ in that.
    """
    timing = ("schedule", "active", "parameters", "slug")
    schedules = sorted(row["schedules"], key=lambda each: str(each.get("id")))
    return {
        **{key: row.get(key) for key in (*_ALWAYS, *_WHEN_NAMED, "concurrency_options")},
        "concurrency_limit": _old(row, "concurrency_limit"),
        "schedules": [{key: each.get(key) for key in timing} for each in schedules],
    }


def old_body(step: Step) -> dict[str, Any]:
    """A body that gives a deployment back what the step's patch has changed."""
    row = step.found.row if step.found else {}
    body = {key: _old(row, key) for key in step.patch}
    if body.keys() & _PLACE:
        body |= {key: row[key] for key in _PLACE}
    if "schedules" in step.patch:
        # Only a body that replaces everything takes an added schedule away without taking late
        # runs of the deployment along; what it does not say is reset.
        kept = {key: row.get(key) for key in (*_ALWAYS, *_WHEN_NAMED, "concurrency_options")}
        body |= kept | {"concurrency_limit": _old(row, "concurrency_limit")}
        body["schedules"] = [_whole(each, each) for each in row["schedules"]]
    return body


def _old(found: Row, key: str) -> Any:
    if key == "concurrency_limit":
        return (found.get("global_concurrency_limit") or {}).get("limit")
    return found.get(key)


def _shown(triggers: Sequence[Row]) -> list[str]:
    return sorted(each["name"] for each in triggers)
