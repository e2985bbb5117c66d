"""What is wrong in the triggers of a deployment, each of them looked at for itself."""

from collections.abc import Iterator, Mapping
from typing import Any

from clinical_ai.adapters.deployment_entries import Fault, called, tables
from clinical_ai.adapters.yaml_lines import KeyPath, Located


def trigger_faults(located: Located, path: KeyPath, entry: Mapping[str, Any]) -> Iterator[Fault]:
    """Triggers that Prefect can't make: its own function makes each of them.

    Two of one name are a fault, too: only by its name is an automation found again.
    """
    names: set[str] = set()
    for number, (here, trigger) in enumerate(tables(path, entry, "triggers"), start=1):
        name = str(trigger.get("name") or f"{entry.get('name')}__automation_{number}")
        if name in names:
            line = located.line((*here, "name"))
            yield Fault(line, f"two triggers of {called(entry)} are named {name:.60}", "rename one")
        names.add(name)
        fixed = {key: value for key, value in trigger.items() if key != "parameters"}
        if "{{" not in str(fixed):
            yield from _refused(located, here, trigger)


def _refused(located: Located, path: KeyPath, trigger: Mapping[str, Any]) -> Iterator[Fault]:
    from prefect.cli.deploy._triggers import _initialize_deployment_triggers as make
    from pydantic import ValidationError

    remedy = "correct the trigger"
    try:
        make("", [dict(trigger)])
    except ValidationError as error:
        for one in error.errors(include_input=False, include_url=False):
            where = _in_file(located, path, one["loc"])
            key = [f"{part}:" for part in where[4:]]
            why = one["msg"].removeprefix("Value error, ")
            if one["type"] == "union_tag_invalid":
                why = f"its type is none of {one['ctx']['expected_tags']}"
            yield Fault(located.line(where), " ".join(["trigger:", *key, why]), remedy)
    except (TypeError, AttributeError) as error:  # a comparison of what is no duration
        problem = f"trigger: a value has a wrong type ({type(error).__name__})"
        yield Fault(located.line(path), problem, remedy)


def _in_file(located: Located, path: KeyPath, loc: tuple[int | str, ...]) -> KeyPath:
    """The place in the file; a location names the kind of trigger, too, at each level."""
    for part in loc:
        if (*path, part) in located.lines:
            path = (*path, part)
    return path
