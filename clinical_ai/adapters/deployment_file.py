"""What `prefect deploy --all` would send for one prefect.yaml, found by Prefect's own code.

Run in a process of its own (`python -m clinical_ai.adapters.deployment_file FILE`), since it
imports every flow. Prefect's deploy runs with a client that answers as a server on which nothing
is registered yet, and keeps what it is sent; so nothing is parsed or built a second time here.
Prints JSON: `deployments` with their bodies, and `faults` with their lines.
"""

import argparse
import asyncio
import gc
import json
import os
import sys
from collections.abc import Hashable, Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from clinical_ai.adapters.deployment_flows import Flows, first_line
from clinical_ai.adapters.deployment_keys import Fault, entries, parse
from clinical_ai.adapters.entrypoints import brings_code
from clinical_ai.adapters.yaml_lines import Located, NotYaml, locate
from clinical_ai.errors import PlatformError, nearest

if TYPE_CHECKING:
    from prefect.cli.deploy._models import PrefectYamlModel

    from clinical_ai.adapters.deploy_recorder import Recorder

_STEPS: Final = ("build", "push")
_POOL_KEYS: Final = {"work_queue_name", "job_variables"}
# What Prefect raises about an entry: its own refusals are ValueErrors, pydantic's among them.
_REFUSED: Final = (ValueError, TypeError, KeyError, RuntimeError)


def read(file: Path, steps: str = "refuse") -> dict[str, Any]:
    """Deployments of the file and everything that is wrong in it.

    `steps`: what becomes of build and push steps: `refuse` them, `skip` them for a plan, or `run`
    them, in their order, before a deployment's body is made.
    """
    try:
        located = locate(file.read_text())
    except NotYaml as error:
        return _answer([], [Fault(error.line, error.problem, "correct that line")])
    except (OSError, UnicodeDecodeError) as error:
        return _answer([], [Fault(1, f"it can't be read: {error}", "name another file")])
    from clinical_ai.adapters.deploy_recorder import recording

    flows = Flows()
    with recording(flows) as recorder:
        model, faults = parse(located)
        if steps == "refuse" and isinstance(located.content, Mapping):
            faults += _step_faults(located)
        if faults or model is None:
            return _answer([], faults)
        os.chdir(file.parent)
        job = _deploy_all(located, model, flows, recorder, skip=steps == "skip")
        try:
            return _answer(*asyncio.run(job))
        except PlatformError as error:  # of the server
            return _answer([], [Fault(1, str(error), "see that the server answers")])


def _answer(deployments: list[dict[str, Any]], faults: list[Fault]) -> dict[str, Any]:
    ordered = sorted(faults, key=lambda fault: fault.line)
    return {"deployments": deployments, "faults": [vars(fault) for fault in ordered]}


def _step_faults(located: Located) -> list[Fault]:
    """Build and push steps, which run only when they are asked for."""
    places: list[tuple[tuple[Hashable, ...], Mapping[str, Any]]] = [((), located.content)]
    return [
        Fault(
            located.line((*path, step)),
            f"{step} steps are not run by register",
            "give --build to run them, or build the image before and take them out",
        )
        for path, entry in [*places, *entries(located)]
        for step in _STEPS
        if entry.get(step)
    ]


async def _deploy_all(
    located: Located,
    model: "PrefectYamlModel",
    flows: Flows,
    recorder: "Recorder",
    *,
    skip: bool,
) -> tuple[list[dict[str, Any]], list[Fault]]:
    none: dict[str, Any] = {step: [] for step in _STEPS if skip}
    actions = {"build": model.build or [], "push": model.push or [], "pull": model.pull, **none}
    found: list[dict[str, Any]] = []
    faults: list[Fault] = []
    for (path, entry), config in zip(entries(located), model.deployments, strict=True):
        fault = flows.load(
            entry["entrypoint"], pulled=brings_code(entry.get("pull", located.content.get("pull")))
        )
        if fault:
            faults.append(Fault(located.line((*path, "entrypoint")), *fault))
            continue
        try:
            given = {**config.model_dump(exclude_unset=True, mode="json"), **none}
            sent = await _deploy(given, actions, recorder)
        except _REFUSED as error:
            problem = f"deployment {entry['name']!r}: {first_line(error)}"
            faults.append(Fault(located.line(path), problem, "correct its entry"))
            continue
        checked = entry["entrypoint"] not in flows.unchecked
        named = _named(entry)
        sent["body"]["schedules"] = _as_written(sent["body"]["schedules"], entry)
        if "version_type" not in named:
            # Where the file was rendered: it would differ by who renders it.
            sent["body"].pop("version_info", None)
        found.append({**sent, "named": named, "line": located.line(path), "checked": checked})
        faults += _pool_faults(located, path, sent["body"]["work_pool_name"])
        if checked:
            faults += _parameter_faults(located, path, sent["body"])
    return found, faults + _name_faults(found)


async def _deploy(
    config: dict[str, Any], actions: dict[str, Any], recorder: "Recorder"
) -> dict[str, Any]:
    """The body and the automations that Prefect's deploy sends for one entry."""
    from prefect.cli.deploy import _core

    from clinical_ai.adapters.deploy_recorder import Unread

    recorder.forget()
    await _core._run_single_deploy(
        config, actions, client=recorder, console=Unread(), is_interactive=lambda: False
    )
    return recorder.sent


def _as_written(schedules: list[dict[str, Any]], entry: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Schedules without what the file does not say: Prefect fills in `active` and an anchor."""
    written = []
    for schedule, said in zip(schedules, entry.get("schedules") or [], strict=True):
        timing = dict(schedule["schedule"])
        if "anchor_date" not in said:
            timing.pop("anchor_date", None)
        kept = {key: schedule[key] for key in ("active", "parameters", "replaces") if key in said}
        written.append({"slug": schedule["slug"], "schedule": timing, **kept})
    return written


def _named(entry: Mapping[str, Any]) -> list[str]:
    """Fields of the body that the file names; an operator may have edited the others in the UI."""
    named = {key for key, value in entry.items() if value is not None}
    named |= _POOL_KEYS & (entry.get("work_pool") or {}).keys()
    return sorted(named - {"work_pool", "name", "pull", "build", "push"})


def _pool_faults(located: Located, path: tuple[Hashable, ...], pool: str) -> list[Fault]:
    """A work pool that the server does not have. A queue that is missing it makes itself."""
    from clinical_ai.adapters.deploy_recorder import find_pools

    pools = find_pools()
    if pools is None or pool in pools:
        return []
    line = located.line((*path, "work_pool", "name"))
    problem = f"there is no work pool {pool!r:.60} on the server"
    return [Fault(line, problem, f"{nearest(pool, pools)} Or make it first")]


def _parameter_faults(
    located: Located, path: tuple[Hashable, ...], body: Mapping[str, Any]
) -> list[Fault]:
    """Parameters, also of schedules, that the flow does not know or would refuse."""
    faults = []
    given: dict[tuple[Hashable, ...], Any] = {("parameters",): body["parameters"]}
    for number, schedule in enumerate(body["schedules"]):
        given[("schedules", number, "parameters")] = schedule.get("parameters", {})
    for where, parameters in given.items():
        for name, problem in _wrong_parameters(parameters, body["parameter_openapi_schema"]):
            line = located.line((*path, *where, name))
            faults.append(Fault(line, f"parameter {name}: {problem}", "see the flow's signature"))
    return faults


def _wrong_parameters(
    parameters: Mapping[str, Any], schema: dict[str, Any]
) -> list[tuple[str, str]]:
    """Name and fault of each, without the value; a template is filled in when a run starts."""
    known = schema.get("properties", {})
    wrong = [(name, "the flow has no such parameter") for name in parameters if name not in known]
    fixed = {
        name: value
        for name, value in parameters.items()
        if name in known and "{{" not in str(value) and "__prefect_kind" not in str(value)
    }
    if not fixed:
        return wrong
    from prefect.utilities.schema_tools.validation import validate

    for error in validate(fixed, schema, ignore_required=True):
        name = str(error.absolute_path[0]) if error.absolute_path else next(iter(fixed), "")
        wrong.append((name, f"its value is not of the flow's type ({error.validator})"))
    return wrong


def _name_faults(found: list[dict[str, Any]]) -> list[Fault]:
    seen: set[tuple[str, str]] = set()
    faults = []
    for each in found:
        name = (each["flow_name"], each["body"]["name"])
        if name in seen:
            told = f"two deployments are named {'/'.join(name)}"
            faults.append(Fault(each["line"], told, "rename one"))
        seen.add(name)
    return faults


def main(arguments: list[str]) -> int:
    """Print the file's deployments as JSON; what flows print on import goes to standard error."""
    parser = argparse.ArgumentParser(prog="deployment_file")
    parser.add_argument("file", type=Path)
    parser.add_argument("--steps", choices=("refuse", "skip", "run"), default="refuse")
    options = parser.parse_args(arguments)
    gc.disable()  # a sixth of the time, in a process that ends before it needs memory back
    with redirect_stdout(sys.stderr):
        answer = read(options.file.absolute(), options.steps)
    json.dump(answer, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
