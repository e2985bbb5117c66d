"""Secrets in the `job_variables` of a prefect.yaml: they would stand in the deployment in clear."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from clinical_ai.adapters.yaml_lines import KeyPath

_BLOCK: Final = re.compile(r"\{\{\s*prefect\.blocks\.")
_FILLED_IN: Final = re.compile(r"\{\{\s*(\$|prefect\.variables\.)([\w-]+)\s*\}\}")
# The last word of a name decides: DB_PASSWORD holds a secret, SECRET_NAME the name of one.
_NAME: Final = re.compile(
    r"(?<!pull_)(?<!pull)(?<!max_)"
    r"(passw(or)?d|passphrase|(?<![a-z])pass|pwd|secret|token|creds|credential|authorization"
    r"|auth_?string|(api|access|private|secret|encryption|signing)_?key(_id|_base)?)"
    r"s?([_-]?\d+|_(prod|production|dev|development|test|staging))?$",
    re.IGNORECASE,
)
_VALUE: Final = re.compile(
    r"AKIA[0-9A-Z]{16}|\b(Bearer|Basic)\s+[\w+/.=-]{8,}|\bgh[pousr]_\w{16,}|\bxox[abprs]-\w"
    r"|\bsk-[\w-]{16,}|\beyJ[\w-]+\.eyJ|-----BEGIN [A-Z ]*PRIVATE KEY"
    r"|(?i:\b(password|pwd)=[^;\s&]+)"
    r"|(?i:[?&](api_?key|token|access_token|sig|signature|password)=)"
)
_ADDRESS: Final = re.compile(r"://([^/\s:@]*:[^/\s@]+|[^/\s:@]{20,})@")
_ASSIGNED: Final = re.compile(r"^-{0,2}([A-Za-z][\w-]*)=(.+)$", re.DOTALL)
_OPTION: Final = re.compile(r"--([A-Za-z][\w-]*)[= ]\S")
# What stands below these names where a secret is, and holds none.
_REFERS: Final = {"secretKeyRef", "valueFrom", "secretRef", "secretName", "envFrom"}


def find_secrets(variables: Any, path: KeyPath) -> Iterator[tuple[KeyPath, str]]:
    """Where a secret stands, and what is wrong there; its value is not told."""
    for where, name, value in _named(variables, path, ""):
        key = name or str(where[-1])
        if _BLOCK.search(value):
            yield where, f"job variable {key} would hold a block's value in clear"
        elif placed := _placed(value):
            yield where, f"job variable {key} would hold the value of {placed} in clear"
        elif _ADDRESS.search(value):
            yield where, f"job variable {key} is an address with a password"
        elif _NAME.search(name) or _VALUE.search(value) or _options(value):
            yield where, f"job variable {key} looks like a secret in clear"


def without_secrets(text: str) -> str:
    """A message of somebody else's, without what looks like a secret in it."""
    return _VALUE.sub("***", _ADDRESS.sub("://***@", text))


def _placed(value: str) -> str:
    """The variable, named as secrets are, whose value a template puts here; or ""."""
    found = _FILLED_IN.finditer(value)
    return next((one[1] + one[2] for one in found if _NAME.search(one[2])), "")


def _options(value: str) -> bool:
    """Whether a command line gives a secret as the value of an option."""
    return any(_NAME.search(found.replace("-", "_")) for found in _OPTION.findall(value))


def _named(tree: Any, path: KeyPath, name: str) -> Iterator[tuple[KeyPath, str, str]]:
    """Place, name and text of each scalar; what stands in a list has the name of the list."""
    if isinstance(tree, Mapping):
        yield from _in_table(tree, path)
    elif isinstance(tree, list):
        before = ""
        for number, value in enumerate(tree):
            yield from _named(value, (*path, number), before or name)
            option = isinstance(value, str) and re.fullmatch(r"--[A-Za-z][\w-]*", value)
            before = value.lstrip("-").replace("-", "_") if option else ""
    elif isinstance(tree, str) and (assigned := _ASSIGNED.match(tree)) and "://" not in tree[:20]:
        yield path, assigned[1].replace("-", "_"), assigned[2]
    elif tree is not None and tree != "" and not isinstance(tree, bool):
        yield path, name, str(tree)


def _in_table(tree: Mapping[Any, Any], path: KeyPath) -> Iterator[tuple[KeyPath, str, str]]:
    pair = isinstance(tree.get("name"), str) and "value" in tree
    for key, value in tree.items():
        if key in _REFERS:
            continue
        if key == "$ref":
            yield (*path, key), str(path[-1]), "{{ prefect.blocks. }}"
        elif _BLOCK.search(str(key)):
            yield (*path, key), "", str(key)
        elif not (pair and key == "name"):
            named = tree["name"] if pair else str(path[-1])
            name = named if key == "value" else str(key)
            yield from _named(value, (*path, key), name)
