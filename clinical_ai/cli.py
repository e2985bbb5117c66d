"""`clinical-ai`: the platform from a terminal. Thin; each command imports what it needs."""

import argparse
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when it went well, 1 when not, 2 for a wrong command line, 130 when interrupted."""
    options = _parser().parse_args(arguments)
    from clinical_ai import commands

    return commands.run(options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="clinical-ai", description="A Prefect platform for clinical data pipelines."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--state", help="state folder (or CLINICAL_AI_STATE)")

    def command(name: str, text: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=text, description=text, parents=[common])

    up = commands.add_parser(
        "up", help="install, or bring up again", description="Safe to run again."
    )
    _add_up(up)
    down = command("down", "stop everything in order; data stays")
    down.add_argument(
        "--drain", type=float, default=60, metavar="SECONDS", help="wait for running work"
    )
    destroy = command("destroy", "stop everything and remove the state folder")
    destroy.add_argument("--yes", action="store_true", help="do not ask")
    _add_json(command("status", "what runs, since when, versions, last runs"))
    _add_json(command("verify", "check everything, with evidence; exit 1 when a check fails"))
    run = command("run", "start the connector pipeline and follow it")
    run.add_argument("source", metavar="SOURCE", help="a name of cai_defined_sources")
    run.add_argument(
        "destination", metavar="DESTINATION", help="a name of cai_defined_destinations"
    )
    _add_json(run)
    command("env", "print export lines that point prefect and curl at this platform")
    psql = command("psql", "a session in cai_data")
    psql.add_argument("rest", nargs=argparse.REMAINDER, metavar="...", help="arguments of psql")
    register = command("register", "register the deployments of prefect.yaml, all or nothing")
    register.add_argument(
        "files", nargs="*", metavar="FILE", help="prefect.yaml files; none: the release's own"
    )
    register.add_argument("--plan", action="store_true", help="only show what would change")
    register.add_argument("--confirm", action="store_true", help="remove many deployments at once")
    register.add_argument(
        "--build", action="store_true", help="run build and push steps first; they are not undone"
    )
    _add_json(register)
    command("roll", "restart what changed, without losing a run (started by deploy/self)")
    return parser


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="machine-readable")


def _add_up(parser: argparse.ArgumentParser) -> None:
    """The options of `bootstrap.request`, which imports too much for `--help`."""
    from bootstrap.options import add_arguments

    add_arguments(parser)


if __name__ == "__main__":
    sys.exit(main())
