"""Whether the code that a deployment names is on this machine."""

import ast
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def wrong_code(row: Mapping[str, Any], code: Path) -> str:
    """Why the deployment's entrypoint does not resolve, or "".

    `code`: the working directory of runs. What a pull step brings, and modules, are not looked at.
    """
    entrypoint = row.get("entrypoint") or ""
    if brings_code(row.get("pull_steps")):
        return ""
    if not entrypoint:
        return "it names no entrypoint"
    place, colon, function = entrypoint.rpartition(":")
    if not colon:
        return ""
    file = _folder(row, code) / place
    try:
        text = file.read_text()
    except OSError:
        releases = [p for p in file.parents if p.parent.name == "releases" and not p.exists()]
        return f"its release {releases[0].name} is gone" if releases else f"there is no {file}"
    if function.partition(".")[0] not in _names(text):
        return f"{file} has no {function}"
    return ""


def brings_code(pull_steps: Sequence[Mapping[str, Any]] | None) -> bool:
    """Whether a step brings the code to where it runs; a mere change of folder does not."""
    names = [str(name) for step in pull_steps or [] for name in step]
    return any(not name.endswith("set_working_directory") for name in names)


def _folder(row: Mapping[str, Any], code: Path) -> Path:
    folders = [
        given["directory"]
        for step in row.get("pull_steps") or []
        for given in step.values()
        if isinstance(given, Mapping) and given.get("directory")
    ]
    return code / (folders[-1] if folders else row.get("path") or ".")


def _names(text: str) -> set[str]:
    """Names that a module defines at its top; none when it is no Python."""
    try:
        body = ast.parse(text).body
    except (SyntaxError, ValueError):
        return set()
    defined = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    names = {node.name for node in body if isinstance(node, defined)}
    for node in body:
        if isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        if isinstance(node, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name for alias in node.names}
    return names
