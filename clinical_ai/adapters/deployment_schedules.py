"""Schedules of a deployment: whether Prefect can make them, and what the file says of them."""

from collections.abc import Iterator, Mapping
from typing import Any

from clinical_ai.adapters.deployment_entries import Fault, as_list, called, tables
from clinical_ai.adapters.deployment_reasons import reasons
from clinical_ai.adapters.yaml_lines import KeyPath, Located
from clinical_ai.cron_lines import comes
from clinical_ai.deployment_plan import starts, without_start


def schedule_faults(
    located: Located, path: KeyPath, entry: Mapping[str, Any], *, typed: bool
) -> list[Fault]:
    """Schedules that Prefect can't make: its own function makes each of them.

    `typed`: the types of the whole entry are right; what is wrong with them is told elsewhere.
    """
    from prefect.cli.deploy._schedules import _schedule_config_to_deployment_schedule as make

    faults = []
    for here, schedule in tables(path, entry, "schedules"):
        if "{{" in str(schedule) or not (typed or _is_typed(schedule)):
            continue
        try:
            made = make({key: value for key, value in schedule.items() if key != "parameters"})
            if hasattr(made["schedule"], "cron") and not comes(made["schedule"].cron):
                faults.append(Fault(located.line(here), "a schedule never comes", "correct it"))
        except Exception as error:  # noqa: BLE001 - parsers of others raise what they like
            key = next((key for key in ("cron", "interval", "rrule") if key in schedule), "cron")
            problem = f"schedule {schedule.get('slug')!r:.60}: {reasons(error, key)}"
            faults.append(Fault(located.line((*here, key)), problem, "correct the schedule"))
    return faults


def _is_typed(schedule: Mapping[str, Any]) -> bool:
    from prefect.cli.deploy._models import RawScheduleConfig
    from pydantic import ValidationError

    try:
        RawScheduleConfig.model_validate(schedule)
    except ValidationError:
        return False
    return True


def slug_faults(located: Located, path: KeyPath, entry: Mapping[str, Any]) -> Iterator[Fault]:
    """Schedules that can't be told apart by a slug of their own."""
    if entry.get("schedule"):
        line = located.line((*path, "schedule"))
        yield Fault(line, "`schedule` is the old form", "write a list below `schedules:`")
    seen: set[str] = set()
    for number, schedule in enumerate(as_list(entry.get("schedules"))):
        line = located.line((*path, "schedules", number))
        slug = schedule.get("slug") if isinstance(schedule, Mapping) else None
        if not slug:
            remedy = "give it a slug: only by it can a schedule be changed without losing others"
            yield Fault(line, f"a schedule of {called(entry)} has no slug", remedy)
        elif str(slug) in seen:
            yield Fault(
                line, f"two schedules of {called(entry)} have the slug {slug}", "rename one"
            )
        seen.add(str(slug))


def as_written(schedules: list[dict[str, Any]], entry: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Schedules without what the file does not say: Prefect fills in `active` and a start."""
    written = []
    for schedule, said in zip(schedules, entry.get("schedules") or [], strict=True):
        timing = dict(schedule["schedule"])
        if said.get("anchor_date") is None:
            timing.pop("anchor_date", None)
        if "rrule" in timing and not starts(str(said["rrule"])):
            timing["rrule"] = without_start(timing["rrule"])
        named = ("active", "parameters", "replaces")
        kept = {key: schedule[key] for key in named if said.get(key) is not None}
        written.append({"slug": schedule["slug"], "schedule": timing, **kept})
    return written
