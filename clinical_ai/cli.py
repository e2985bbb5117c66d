"""`clinical-ai`: the platform from a terminal. Thin; each command imports what it needs."""

import argparse
import re
import sys
from collections.abc import Sequence

from clinical_ai.names import NAMESPACE
from clinical_ai.secret_references import LABEL


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
    cluster = argparse.ArgumentParser(add_help=False)
    cluster.add_argument("--namespace", type=_namespace, help=f"default: {NAMESPACE}")
    cluster.add_argument(
        "--context", default="", help="of the kubeconfig; default: its current one"
    )

    def command(name: str, text: str, *more: argparse.ArgumentParser) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=text, description=text, parents=[common, *more])

    def either(name: str, text: str) -> argparse.ArgumentParser:
        parser = command(name, text, cluster)
        choices = ("local", "kubernetes")
        parser.add_argument("--runtime", choices=choices, default="local", help="where it runs")
        return parser

    def in_cluster(name: str, text: str) -> argparse.ArgumentParser:
        parser = commands.add_parser(name, help=text, description=text, parents=[cluster])
        parser.add_argument(
            "--runtime",
            type=_kubernetes,
            default="kubernetes",
            metavar="kubernetes",
            help="may be left out: there is no other",
        )
        return parser

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
    _add_json(either("status", "what runs, versions, drift, last runs"))
    _add_json(either("verify", "check everything, with evidence; exit 1 when a check fails"))
    deploy = either("deploy", "run deploy/self and follow it: the platform gets its settings")
    deploy.add_argument("--report-only", action="store_true", help="only tell what differs")
    deploy.add_argument(
        "--confirm",
        action="store_const",
        const=True,
        help="kubernetes: remove many objects at once, unasked",
    )
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
    _add_break_glass(in_cluster("break-glass", "kubernetes: stop all self-management at once"))
    _add_uninstall(in_cluster("uninstall", "kubernetes: show what would be removed, ask, remove"))
    command("roll", "restart what changed, without losing a run (started by deploy/self)")
    return parser


def _kubernetes(text: str) -> str:
    """Of a command that is of no other runtime: whoever types it for all is not refused."""
    if text != "kubernetes":
        raise argparse.ArgumentTypeError(
            f"{text!r} has no such command; one machine has `clinical-ai down` and `destroy`"
        )
    return text


def _namespace(text: str) -> str:
    """An empty one, of a variable that is not set, would be that of the kubeconfig's context."""
    if not re.fullmatch(LABEL, text):
        raise argparse.ArgumentTypeError(f"{text!r} is no namespace; name one of the cluster")
    return text


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="machine-readable")


def _add_break_glass(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("switch", choices=("on", "off"), help="on: nothing is written any more")
    parser.add_argument("--reason", default="", help="shown to whoever asks why")


def _add_uninstall(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--secrets", action="store_true", help="the platform's Secrets go, too")
    parser.add_argument(
        "--database", action="store_true", help="the schema with Prefect's runs goes, too"
    )
    parser.add_argument(
        "--whole-namespace",
        action="store_true",
        help="the namespace goes with all in it, when bootstrap made it",
    )


def _add_up(parser: argparse.ArgumentParser) -> None:
    """The options of `bootstrap.request`, which imports too much for `--help`."""
    from bootstrap.options import add_arguments

    add_arguments(parser)


if __name__ == "__main__":
    sys.exit(main())
