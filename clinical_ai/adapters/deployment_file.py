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
from collections.abc import Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from clinical_ai.adapters.deployment_entries import Fault, entries
from clinical_ai.adapters.deployment_flows import Flows
from clinical_ai.adapters.deployment_keys import (
    file_faults,
    name_faults,
    read_types,
    refusals,
    secret_faults,
    template_faults,
)
from clinical_ai.adapters.deployment_parameters import parameter_faults
from clinical_ai.adapters.deployment_schedules import as_written, schedule_faults
from clinical_ai.adapters.deployment_triggers import trigger_faults
from clinical_ai.adapters.entrypoints import brings_code
from clinical_ai.adapters.process_tree import fork_guarded
from clinical_ai.adapters.yaml_lines import KeyPath, Located, NotYaml, locate
from clinical_ai.errors import PlatformError, nearest

if TYPE_CHECKING:
    from clinical_ai.adapters.deploy_recorder import Recorder

_STEPS: Final = ("build", "push")
_POOL_KEYS: Final = {"work_queue_name", "job_variables"}


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
        faults = file_faults(located, os.environ)
        if not isinstance(located.content, Mapping):
            return _answer([], faults)
        configs, wrong = read_types(located)
        told = {fault.line for fault in faults}
        faults += [fault for fault in wrong if fault.line not in told]
        if steps == "refuse":
            faults += _step_faults(located)
        os.chdir(file.parent)
        parts = (located, configs, flows, recorder)
        reader = _Reader(*parts, skip=True, faults=faults)
        asyncio.run(reader.read())
        if steps == "run" and not faults:  # nothing is built for a file that is refused
            reader = _Reader(*parts, skip=False, faults=faults)
            asyncio.run(reader.read())
    return _answer([] if faults else reader.found, faults)


def _answer(deployments: list[dict[str, Any]], faults: list[Fault]) -> dict[str, Any]:
    ordered = sorted(faults, key=lambda fault: fault.line)
    return {"deployments": deployments, "faults": [vars(fault) for fault in ordered]}


def _step_faults(located: Located) -> list[Fault]:
    """Build and push steps, which run only when they are asked for."""
    places: list[tuple[KeyPath, Mapping[str, Any]]] = [((), located.content)]
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


class _Reader:
    """Goes through all entries, whatever is wrong in others; adds to `faults`."""

    def __init__(
        self,
        located: Located,
        configs: Mapping[KeyPath, dict[str, Any]],
        flows: Flows,
        recorder: "Recorder",
        *,
        skip: bool,
        faults: list[Fault],
    ) -> None:
        self._located, self._configs = located, configs
        self._flows, self._recorder = flows, recorder
        self._none: dict[str, Any] = {step: [] for step in _STEPS if skip}
        steps = {name: _steps(located.content.get(name)) for name in (*_STEPS, "pull")}
        self._actions = {**steps, **self._none}
        self.faults = faults
        self.found: list[dict[str, Any]] = []

    async def read(self) -> None:
        """`found` are the deployments that have no fault of their own."""
        try:
            for path, entry in entries(self._located):
                await self._read(path, entry)
        except PlatformError as error:  # of the server
            self.faults.append(Fault(1, str(error), "see that the server answers"))
        self.faults += _name_faults(self.found)

    async def _read(self, path: KeyPath, entry: Mapping[str, Any]) -> None:
        config = self._configs.get(path)
        own = self._flow_faults(path, entry)
        own += name_faults(self._located, path, entry)
        own += schedule_faults(self._located, path, entry, typed=config is not None)
        own += trigger_faults(self._located, path, config or entry)
        own += template_faults(self._located, path, entry, os.environ)
        self.faults += dict.fromkeys(own)
        if own or config is None or entry.get("schedule"):
            from pydantic_core import to_jsonable_python

            self._look_at_parameters(path, config or to_jsonable_python(entry, fallback=str))
            return
        try:
            sent = await self._deploy({**config, **self._none}, self._actions)
        except PlatformError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever Prefect's deploy says of an entry
            self.faults += refusals(self._located, path, entry, error)
            self._look_at_parameters(path, config)
            return
        self._keep(path, entry, sent)

    def _flow_faults(self, path: KeyPath, entry: Mapping[str, Any]) -> list[Fault]:
        entrypoint = entry.get("entrypoint")
        if not isinstance(entrypoint, str) or not entrypoint:
            return []  # told already
        own = entry.get("pull")
        pull = _steps(own if own or own == [] else self._located.content.get("pull"))
        fault = self._flows.load(entrypoint, pulled=brings_code(pull))
        return [Fault(self._located.line((*path, "entrypoint")), *fault)] if fault else []

    def _look_at_parameters(self, path: KeyPath, entry: Mapping[str, Any]) -> bool:
        """Adds their faults; whether there is a flow to compare them with.

        `entry`: as the file has it, when Prefect makes no body of it.
        """
        flow = self._flows.find(str(entry.get("entrypoint")))
        if flow is None:
            return False
        self.faults += parameter_faults(self._located, path, entry, flow)
        return True

    async def _deploy(self, config: dict[str, Any], actions: dict[str, Any]) -> dict[str, Any]:
        """The body and the automations that Prefect's deploy sends for one entry."""
        from prefect.cli.deploy import _core

        from clinical_ai.adapters.deploy_recorder import Unread

        self._recorder.forget()
        await _core._run_single_deploy(
            config,
            actions,
            client=self._recorder,
            console=Unread(),
            is_interactive=lambda: False,
        )
        return self._recorder.sent

    def _keep(self, path: KeyPath, entry: Mapping[str, Any], sent: dict[str, Any]) -> None:
        body, line = sent["body"], self._located.line(path)
        named = _named(entry)
        body["schedules"] = as_written(body["schedules"], entry)
        if "version_type" not in named:
            # Where the file was rendered: it would differ by who renders it.
            body.pop("version_info", None)
        for trigger, said in zip(sent["triggers"], entry.get("triggers") or [], strict=False):
            for key in {"enabled", "description"} - said.keys():
                trigger.pop(key, None)  # somebody may have switched it off
        checked = self._look_at_parameters(path, {**body, "triggers": entry.get("triggers")})
        # With what templates have become; what the file says itself is told already.
        told = {fault.line for fault in self.faults}
        secrets = secret_faults(self._located, path, body.get("job_variables"))
        self.faults += [fault for fault in secrets if fault.line not in told]
        self.faults += _pool_faults(self._located, path, body["work_pool_name"])
        self.found.append({**sent, "named": named, "line": line, "checked": checked})


def _steps(given: Any) -> list[Any]:
    """Steps as a list; Prefect allows one of them as a mapping, too."""
    found = [given] if isinstance(given, Mapping) else given if isinstance(given, list) else []
    return [step for step in found if isinstance(step, Mapping) and step]


def _named(entry: Mapping[str, Any]) -> list[str]:
    """Fields of the body that the file names; an operator may have edited the others in the UI."""
    named = {str(key) for key, value in entry.items() if value is not None}
    named |= _POOL_KEYS & (entry.get("work_pool") or {}).keys()
    return sorted(named - {"work_pool", "name", "pull", *_STEPS})


def _pool_faults(located: Located, path: KeyPath, pool: str) -> list[Fault]:
    """A work pool that the server does not have. A queue that is missing it makes itself."""
    from clinical_ai.adapters.deploy_recorder import find_pools

    pools = find_pools()
    if pools is None or pool in pools:
        return []
    line = located.line((*path, "work_pool", "name"))
    problem = f"there is no work pool {pool!r:.60} on the server"
    return [Fault(line, problem, f"{nearest(pool, pools)} Or make it first")]


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


def main(arguments: list[str]) -> None:
    """Print the file's deployments as JSON; what flows print on import goes to standard error."""
    parser = argparse.ArgumentParser(prog="deployment_file")
    parser.add_argument("file", type=Path)
    parser.add_argument("--steps", choices=("refuse", "skip", "run"), default="refuse")
    options = parser.parse_args(arguments)
    fork_guarded()  # what a flow starts on import ends with it
    gc.disable()  # a sixth of the time, in a process that ends before it needs memory back
    # What a flow or its children print on import must not get into the answer.
    with os.fdopen(os.dup(1), "w") as answer:
        os.dup2(2, 1)
        with redirect_stdout(sys.stderr):
            found = read(options.file.absolute(), options.steps)
        json.dump(found, answer)
    sys.stderr.flush()
    os._exit(0)  # whatever threads a flow has started


if __name__ == "__main__":
    main(sys.argv[1:])
