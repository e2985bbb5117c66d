"""The supervisor's configuration: restart on death, rotated logs, one section a process."""

import json
import shlex
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Final

from clinical_ai.ports import ProcessSpec
from clinical_ai.state_folder import StateFolder

_ROTATION: Final = "stdout_logfile_maxbytes = 10MB\nstdout_logfile_backups = 5"


def configuration(state: StateFolder, python: str, specs: Sequence[ProcessSpec]) -> str:
    """The whole file, for the given processes in their order."""
    head = f"""\
[supervisord]
nodaemon = true
logfile = {_value(state.log("supervisor"))}
logfile_maxbytes = 10MB
logfile_backups = 5
pidfile = {_value(state.run / "supervisor.pid")}
childlogdir = {_value(state.logs)}
directory = {_value(state.run)}
umask = 077
silent = true

[unix_http_server]
file = {_value(state.socket)}
chmod = 0700

[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
"""
    return head + "".join(
        section(state, python, spec, priority) for priority, spec in enumerate(specs, start=1)
    )


def section(state: StateFolder, python: str, spec: ProcessSpec, priority: int) -> str:
    """One process. Its digest is in its environment: a changed spec is a changed section.

    What needs secrets or waits for something is started by the launcher; the rest directly, so
    that PostgreSQL isn't restarted because a new release brings a new launcher.
    """
    environment = {"CLINICAL_AI_SPEC": digest(spec)}
    command: tuple[str, ...] = (python, "-m", "clinical_ai.launch", str(state.spec(spec.name)))
    if not (spec.secrets or spec.waits_for):
        command = spec.command
        environment |= spec.environment
    kept = "false" if spec.one_shot else "true"
    return f"""
[program:{spec.name}]
command = {_value(shlex.join(command))}
environment = {_pairs(environment)}
priority = {priority}
autostart = {kept}
autorestart = {"unexpected" if spec.one_shot else "true"}
startsecs = {0 if spec.one_shot else 2}
startretries = 100
stopsignal = {spec.stop_signal}
stopwaitsecs = {spec.stop_seconds}
killasgroup = true
redirect_stderr = true
stdout_logfile = {_value(_value(state.log(spec.name)))}
{_ROTATION}
"""


def document(spec: ProcessSpec) -> str:
    """What the launcher reads; holds references, never a secret."""
    return json.dumps(
        {
            "name": spec.name,
            "command": list(spec.command),
            "environment": dict(sorted(spec.environment.items())),
            "secrets": dict(sorted(spec.secrets.items())),
            "waits_for": list(spec.waits_for),
            "settles": spec.settles,
        },
        indent=1,
    )


def digest(spec: ProcessSpec) -> str:
    """Changes when anything of the spec does."""
    facts = f"{document(spec)}{spec.stop_signal}{spec.stop_seconds}{spec.one_shot}"
    return sha256(facts.encode()).hexdigest()[:16]


def _pairs(environment: Mapping[str, str]) -> str:
    """No escapes: supervisor's parser knows none."""
    return ",".join(f'{name}="{_value(value)}"' for name, value in sorted(environment.items()))


def _value(text: object) -> str:
    """A value as supervisor's configuration needs it: `%` starts an expansion there.

    The path of a process's log is expanded twice.
    """
    return str(text).replace("%", "%%")
