"""Secrets in the `job_variables` of a prefect.yaml: they would stand in the deployment in clear."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from clinical_ai.adapters.yaml_lines import KeyPath
from clinical_ai.secret_forms import (
    has_the_form_of_one,
    is_address_with_password,
    names_a_secret,
)

_BLOCK: Final = re.compile(r"\{\{\s*prefect\.blocks\.")
_FILLED_IN: Final = re.compile(r"\{\{\s*(\$|prefect\.variables\.)([\w-]+)\s*\}\}")
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
        elif is_address_with_password(value):
            yield where, f"job variable {key} is an address with a password"
        elif names_a_secret(name) or has_the_form_of_one(value) or _options(value):
            yield where, f"job variable {key} looks like a secret in clear"


def _placed(value: str) -> str:
    """The variable, named as secrets are, whose value a template puts here; or ""."""
    found = _FILLED_IN.finditer(value)
    return next((one[1] + one[2] for one in found if names_a_secret(one[2])), "")


def _options(value: str) -> bool:
    """Whether a command line gives a secret as the value of an option."""
    return any(names_a_secret(found.replace("-", "_")) for found in _OPTION.findall(value))


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
