"""The options of `up`, the same for `python -m bootstrap` and `clinical-ai up`."""

import argparse

from clinical_ai import names


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add them to a parser."""
    parser.add_argument("--state", help=f"state folder (or {names.STATE_VARIABLE})")
    parser.add_argument("--port", type=int, help=f"port of the API (or {names.PORT_VARIABLE})")
    parser.add_argument(
        "--environment", choices=("development", "production"), help="storage-environment"
    )
    parser.add_argument("--settings", metavar="FILE", help="a TOML file with settings")
    parser.add_argument(
        "--runtime", choices=("local", "kubernetes"), default="local", help="where it runs"
    )
    parser.add_argument(
        "--image", metavar="REPOSITORY@DIGEST", help="kubernetes: an image that is pushed already"
    )
    parser.add_argument("--context", help="kubernetes: the kubeconfig's context")
    parser.add_argument(
        "--replace-settings", action="store_true", help="the file replaces the saved settings"
    )
    parser.add_argument(
        "--no-demonstration", action="store_true", help="leave out the demonstration data and runs"
    )
    only = parser.add_mutually_exclusive_group()
    only.add_argument("--check", action="store_true", help="only check, change nothing")
    only.add_argument("--diff", action="store_true", help="only show what would change")
