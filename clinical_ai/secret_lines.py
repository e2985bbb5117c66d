"""kubectl lines that give the keys of Secrets their values. None has a value among its arguments,
which other users may read.
"""

from collections.abc import Iterable
from typing import Final

from clinical_ai.errors import NeedsOperator

# A pod's variable keeps a line end, and Prefect's address then names no database.
FILES: Final = "with each value in a FILE of its own, without a line end"


def absence(namespace: str, name: str, keys: Iterable[str], *, there: bool) -> NeedsOperator:
    """The fault of a Secret that lacks these keys, with the line that adds them.

    `there`: the Secret has others, which stay.
    """
    lacking = list(keys)
    line = (replacing if there else making)(namespace, name, lacking)
    problem = f"{listed(name, lacking)} {'is' if len(lacking) == 1 else 'are'} not there"
    return NeedsOperator(problem, f"{FILES}: {line}")


def replacing(namespace: str, name: str, keys: Iterable[str]) -> str:
    """The line that gives keys of a Secret new values; its other keys stay."""
    made = f"{making(namespace, name, keys)} --dry-run=client -o json"
    return f"{made} | kubectl patch secret {name} -n {namespace} --patch-file=/dev/stdin"


def making(namespace: str, name: str, keys: Iterable[str]) -> str:
    """The line that makes a Secret with these keys."""
    files = " ".join(f"--from-file={key}=FILE" for key in keys)
    return f"kubectl create secret generic {name} -n {namespace} {files}"


def listed(name: str, keys: Iterable[str]) -> str:
    """The keys as references."""
    return ", ".join(f"secret:{name}/{key}" for key in keys)
