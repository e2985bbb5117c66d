"""What the caller asked for, from the command line and its environment."""

import argparse
import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bootstrap.options import add_arguments
from clinical_ai import names
from clinical_ai.errors import NeedsOperator
from clinical_ai.state_folder import StateFolder, default_root


@dataclass(frozen=True)
class Request:
    """`raw` is None when no settings file, environment or port was named: what is saved counts."""

    state: StateFolder
    checkout: Path
    environ: Mapping[str, str]
    raw: dict[str, Any] | None = None
    origin: str = "settings"
    replace: bool = False
    check: bool = False
    diff: bool = False
    demonstration: bool = True
    runtime: str = "local"
    image: str | None = None
    context: str = ""


def parse_request(arguments: Sequence[str], environ: Mapping[str, str]) -> Request:
    """The request; NeedsOperator when the settings file can't be read."""
    parser = argparse.ArgumentParser(
        prog="python -m bootstrap",
        description="Brings the platform up, here or in a cluster; safe to run again.",
    )
    add_arguments(parser)
    return make_request(parser.parse_args(arguments), environ)


def make_request(options: argparse.Namespace, environ: Mapping[str, str]) -> Request:
    """The request that parsed options stand for."""
    refuse_options_elsewhere(options)
    raw, origin = _settings(options, environ)
    return Request(
        state=state_of(options, environ),
        checkout=Path(__file__).resolve().parent.parent,
        environ=environ,
        raw=raw,
        origin=origin,
        replace=options.replace_settings,
        check=options.check,
        diff=options.diff,
        demonstration=not options.no_demonstration,
        runtime=options.runtime,
        image=options.image,
        context=options.context or "",
    )


def state_of(options: argparse.Namespace, environ: Mapping[str, str]) -> StateFolder:
    """The state folder that `--state` or the environment names, else the caller's own."""
    named = {names.STATE_VARIABLE: options.state} if options.state else {}
    return StateFolder(default_root({**environ, **named}, root=os.geteuid() == 0))


def refuse_options_elsewhere(options: argparse.Namespace) -> None:
    """NeedsOperator for an option of the other runtime: whoever gives it means that one."""
    others: tuple[str, ...]
    if options.runtime == "local":
        others = ("namespace", "context", "image", "confirm")
        problem, remedy = "is of a cluster", "add --runtime kubernetes"
    else:
        others = ("state", "port")
        problem, remedy = "is of one machine", "leave it out with --runtime kubernetes"
    given = [f"--{name}" for name in others if getattr(options, name, None) not in {None, ""}]
    if given:
        raise NeedsOperator(f"{' and '.join(given)} {problem}", remedy)


def take_environment() -> dict[str, str]:
    """The caller's environment; what libpq would read of it is taken away from this process."""
    taken = dict(os.environ)
    for name in taken:
        if name.startswith("PG"):
            del os.environ[name]
    return taken


def _settings(
    options: argparse.Namespace, environ: Mapping[str, str]
) -> tuple[dict[str, Any] | None, str]:
    """Keys that were named, and where; a file's contradicting the options' is refused."""
    raw = _read(Path(options.settings)) if options.settings else None
    named: dict[str, Any] = {}
    port = options.port if options.port is not None else _port(environ)
    if options.runtime == "kubernetes":
        port = None  # of a platform on this machine, which the environment may name
    if port is not None and not 0 < port < 65536:
        raise NeedsOperator(f"port {port} does not exist", "give one from 1 to 65535")
    if port:
        named["prefect-api-url"] = f"http://127.0.0.1:{port}/api"
    if options.environment:
        named["storage-environment"] = options.environment
    for key, value in named.items():
        for written in [name for name in raw or {} if name.replace("_", "-") == key]:
            given = (raw or {}).pop(written)
            if given != value:
                shown = "another" if "@" in str(given) else repr(given)  # no user:password@host
                raise NeedsOperator(
                    f"{options.settings} says {key} = {shown}, the command line {value!r}",
                    "leave one of them out",
                )
    if raw is None and not named:
        return None, "settings"
    return {**(raw or {}), **named}, options.settings or "command line"


def _port(environ: Mapping[str, str]) -> int | None:
    text = environ.get(names.PORT_VARIABLE)
    if not text:
        return None
    if not text.isdecimal():
        raise NeedsOperator(f"{names.PORT_VARIABLE} is {text!r}", "give a port number")
    return int(text)


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except OSError as error:
        raise NeedsOperator(
            f"the settings file {path} can't be read: {error.strerror}", "correct --settings"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        # The error tells line and column and repeats no value.
        raise NeedsOperator(f"{path} is not valid TOML: {error}", "correct that line") from None
