"""What registering deployments would do: pure decisions over what is wanted and what is there.

Every write to a deployment drops its future scheduled runs, an identical write too. So a plan
writes only what differs, and says what each write would drop; `steps.registration` brings it back.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
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
class Runs:
    """Open runs of one deployment.

    `future`: when those of its schedules are due that a write drops. `scheduled`: all that a write
    may drop by the server's clock, with the time of their schedule and the one at which they are
    due now. `in_flight`: how many have begun or are due by this machine's clock.
    """

    future: tuple[str, ...] = ()
    scheduled: tuple[tuple[str, str], ...] = ()
    in_flight: int = 0


@dataclass(frozen=True)
class Found:
    """A deployment on the server: its row, the automations that run it, and its open runs."""

    row: Row
    triggers: tuple[Row, ...] = ()
    runs: Runs = Runs()

    @property
    def full_name(self) -> str:
        """`flow/deployment`."""
        return f"{self.row['flow_name']}/{self.row['name']}"


@dataclass(frozen=True)
class Step:
    """What happens to one deployment: `fields` maps a field to its old and new value.

    `schedules`: bodies of schedules that change, by id, and with the id "" of those that are new.
    """

    action: Action
    full_name: str
    fields: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)
    patch: Row = field(default_factory=dict)
    schedules: tuple[tuple[str, Row], ...] = ()
    reason: str = ""
    wanted: Wanted | None = None
    found: Found | None = None

    @property
    def writes(self) -> bool:
        """Whether it changes something on the server."""
        return self.action in {Action.CREATE, Action.UPDATE, Action.PRUNE}

    @property
    def paused(self) -> bool:
        """Whether the deployment is paused afterwards: then no run of its schedules exists."""
        return bool(self.patch.get("paused", self.found is not None and self.found.row["paused"]))


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


def with_cron(wanted: Wanted, slug: str, cron: str) -> Wanted:
    """The same, with its schedule of this slug at other times."""
    schedules = [
        {**each, "schedule": {**each["schedule"], "cron": cron}} if each["slug"] == slug else each
        for each in wanted.body["schedules"]
    ]
    return replace(wanted, body={**wanted.body, "schedules": schedules})


def plan(wanted: Sequence[Wanted], found: Sequence[Found], owners: frozenset[str]) -> list[Step]:
    """A step for each wanted deployment and for each of our owners' that is not wanted any more.

    What carries no owner mark of ours is never touched: a wanted deployment of that name is
    `protected`, which an operator has to settle.
    """
    there = {each.full_name: each for each in found}
    steps = [_step(each, there.get(each.full_name), owners) for each in wanted]
    kept = {each.full_name for each in wanted}
    steps += [
        _prune(each, owners)
        for each in found
        if each.full_name not in kept and owners_of(each.row["tags"]) & owners
    ]
    return steps


def owners_of(tags: Sequence[str]) -> frozenset[str]:
    """Names behind the owner marks among the tags."""
    mark = names.OWNER_PREFIX
    return frozenset(tag.removeprefix(mark) for tag in tags if tag.startswith(mark))


def _step(wanted: Wanted, found: Found | None, owners: frozenset[str]) -> Step:
    if found is None:
        return Step(Action.CREATE, wanted.full_name, wanted=wanted)
    theirs = owners_of(found.row["tags"])
    if not theirs & owners:
        carries = f" but {', '.join(sorted(theirs))}'s" if theirs else ""
        reason = f"it is on the server without our owner mark{carries}"
        return Step(Action.PROTECTED, wanted.full_name, reason=reason, wanted=wanted, found=found)
    patch = dict(_patch(wanted, found.row))
    fields = {key: (_old(found.row, key), value) for key, value in patch.items()}
    schedules = tuple(_schedules(wanted.body.get("schedules") or [], found.row["schedules"]))
    if schedules:
        changed = {key for key, _ in schedules}
        old = [each for each in found.row["schedules"] if each["id"] in changed]
        fields["schedules"] = (old, [body for _, body in schedules])
    triggers = owned_by(found.row["id"], wanted.triggers or ())
    there = _of_file(wanted, found.triggers)
    if wanted.triggers is not None and not _same_triggers(triggers, there):
        fields["triggers"] = (_shown(there), _shown(triggers))
    action = Action.UPDATE if fields else Action.UNCHANGED
    return Step(action, wanted.full_name, fields, patch, schedules, wanted=wanted, found=found)


def _prune(found: Found, owners: frozenset[str]) -> Step:
    if others := owners_of(found.row["tags"]) - owners:
        reason = f"it carries the owner mark of {', '.join(sorted(others))}, too"
        return Step(Action.KEPT, found.full_name, reason=reason, found=found)
    if running := found.runs.in_flight:
        reason = f"{running} runs are in flight or due; it goes when they have ended"
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


def _schedules(wanted: Sequence[Row], found: Sequence[Row]) -> Iterator[tuple[str, Row]]:
    """Id and body of each schedule that differs; a new one has no id.

    Each is written by its id, so that it keeps the id: by that the server knows which of its runs
    were made already, also those that have begun or were cancelled.
    """
    by_slug = {schedule["slug"]: schedule for schedule in found if schedule.get("slug")}
    for schedule in wanted:
        there = by_slug.get(schedule["slug"]) or by_slug.get(schedule.get("replaces"))
        if change := _schedule(schedule, there):
            yield there["id"] if there else "", change


def _schedule(wanted: Row, found: Row | None) -> Row | None:
    """What to write of one schedule; None when nothing differs.

    One that was switched off in the UI stays off unless the file says `active`.
    """
    if found is None:
        return {"active": True, **{k: wanted[k] for k in wanted if k != "replaces"}}
    change: dict[str, Any] = {}
    if _timing(wanted["schedule"]) != _timing(found["schedule"], wanted["schedule"]):
        change["schedule"] = _anchored(wanted["schedule"], found["schedule"])
    change |= {
        key: wanted[key]
        for key in ("active", "parameters")
        if key in wanted and wanted[key] != found.get(key)
    }
    if wanted["slug"] != found["slug"]:
        change["slug"] = wanted["slug"]
    # What the server is not sent of parameters it resets.
    kept = {"parameters": found.get("parameters") or {}}
    return {**kept, **change} if change else None


def schedule_body(row: Row) -> dict[str, Any]:
    """What makes a schedule the one that it was."""
    return {key: row[key] for key in ("schedule", "active", "parameters", "slug") if key in row}


def _timing(schedule: Row, named: Row | None = None) -> dict[str, Any]:
    """Fields that decide when it is due; of the server's only those that the file's form has."""
    named = named or schedule
    keys = {key for key, value in named.items() if value is not None}
    timing = {key: _moment(schedule.get(key)) for key in keys | {"timezone"}}
    if "rrule" in keys and not starts(named["rrule"]):
        timing["rrule"] = without_start(schedule.get("rrule") or "")
    return timing | {"timezone": timing["timezone"] or "UTC"}


def starts(rule: str) -> bool:
    """Whether a recurrence rule tells its own start."""
    return "DTSTART" in rule.upper()


def without_start(rule: str) -> str:
    """A rule as a file writes it that leaves the start open: Prefect puts one of today before it.

    Each day another, at which the same runs come: so the one that the server has is kept.
    """
    return "\n".join(line for line in rule.split("\n") if not line.upper().startswith("DTSTART"))


def _anchored(wanted: Row, found: Row) -> Row:
    """An interval without an anchor keeps the one it has: a new one would move every run."""
    if wanted.get("interval") is None or wanted.get("anchor_date") or "anchor_date" not in found:
        return wanted
    return {**wanted, "anchor_date": found["anchor_date"]}


def _moment(value: Any) -> Any:
    """Times are written with Z or +00:00."""
    return value.replace("Z", "+00:00") if isinstance(value, str) else value


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
    """Whether each wanted automation is there, and none that the file has no more.

    The server adds defaults. Somebody may have made one of the same name for the deployment.
    """
    there: dict[str, list[Row]] = {each["name"]: [] for each in found}
    for each in found:
        there[each["name"]].append(each)
    return there.keys() <= {each["name"] for each in wanted} and all(
        any(is_automation(row, automation_body(each)) for row in there.get(each["name"], []))
        for each in wanted
    )


def automation_body(row: Row) -> dict[str, Any]:
    """What of an automation somebody decides; the server tells neither its owner nor takes ids."""
    return {key: row[key] for key in _OF_AUTOMATION if key in row}


def is_automation(found: Row, wanted: Row) -> bool:
    """Whether each field that is wanted is found as it is wanted, and holds no more than that."""
    return all(is_field(found.get(key), value) for key, value in wanted.items())


def is_field(found: Any, wanted: Any) -> bool:
    """Whether a field of an automation is the wanted one.

    To triggers and actions, which have a type, the server adds ids and what is empty by default;
    to the labels that they match nothing. Texts of a list are a set there, which has no order.
    """
    if isinstance(wanted, Mapping):
        if not isinstance(found, Mapping):
            return False
        more = found.keys() - wanted.keys()
        if "type" in wanted:
            more = {key for key in more if key != "id" and found[key]}
        return not more and all(is_field(found.get(key), value) for key, value in wanted.items())
    if isinstance(wanted, list) and isinstance(found, list):
        if all(isinstance(item, str) for item in [*wanted, *found]):
            return sorted(wanted) == sorted(found)
        return len(wanted) == len(found) and all(map(is_field, found, wanted))
    return bool(found == wanted)


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


def is_between(step: Step, now: Row) -> bool:
    """Whether a row differs from the one before the step only in what the step writes."""
    before = comparable(step.found.row) if step.found else {}
    mine = {*step.patch, *(["schedules"] if step.schedules else [])}
    if "concurrency_limit" in mine:
        mine.add("concurrency_options")
    if mine & _PLACE:
        mine |= _PLACE
    after = comparable(now)
    if any(before[key] != after[key] for key in before.keys() - mine):
        return False
    written = mine & step.patch.keys()
    return all(
        covers(after[key], step.patch[key])
        or _normal(key, after[key]) in (_normal(key, before[key]), _normal(key, step.patch[key]))
        for key in written
    )


def old_body(step: Step) -> dict[str, Any]:
    """A body that gives a deployment back what the step's patch has changed."""
    row = step.found.row if step.found else {}
    body = {key: _old(row, key) for key in step.patch}
    if body.keys() & _PLACE:
        body |= {key: row[key] for key in _PLACE}
    return body


def _old(found: Row, key: str) -> Any:
    if key == "concurrency_limit":
        return (found.get("global_concurrency_limit") or {}).get("limit")
    return found.get(key)


def _shown(triggers: Sequence[Row]) -> list[str]:
    return sorted(each["name"] for each in triggers)
