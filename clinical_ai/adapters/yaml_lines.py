"""A YAML file with the line of every key, so that a fault can be found in it."""

from collections.abc import Hashable
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Final

import yaml

# The parser in C where the wheel has it: a file of many deployments is read twice.
_LOADER: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_DEEPEST: Final = 60
_TEXT: Final = "tag:yaml.org,2002:str"
_MERGE: Final = "tag:yaml.org,2002:merge"

KeyPath = tuple[Hashable, ...]  # the keys and numbers that lead to a value


@dataclass
class Located:
    """What the file says, and where. `twice`: keys that a later one of the same name hides."""

    content: Any
    lines: dict[KeyPath, int] = field(default_factory=dict)
    twice: list[KeyPath] = field(default_factory=list)

    def line(self, path: KeyPath) -> int:
        """The line of this key, or of the nearest one above it."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)


class NotYaml(ValueError):  # noqa: N818 - named for what is wrong
    """The text can't be read; `line` tells where."""

    def __init__(self, problem: str, line: int) -> None:
        super().__init__(problem, line)
        self.problem = problem
        self.line = line


def locate(text: str) -> Located:
    """Content and lines of a YAML text. Raises NotYaml, which repeats no value."""
    try:
        node = yaml.compose(text, _LOADER)
        found = Located(_load(text, node))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        raise NotYaml(error.problem or "not YAML", mark.line + 1 if mark else 1) from None
    except yaml.YAMLError:
        raise NotYaml("it has characters that YAML does not allow", 1) from None
    if node is not None and found.content is not None:
        _walk(node, (), found)
    return found


def _load(text: str, node: yaml.Node | None) -> Any:
    try:
        return yaml.load(text, _LOADER)  # noqa: S506 - a safe loader
    except ValueError:
        line = _first_wrong(node, set()) or 1
        raise NotYaml("what looks like a date or a number is none: quote it", line) from None


def _first_wrong(node: yaml.Node | None, seen: set[int]) -> int | None:
    """The line of the first value that can't be made, as the 45th of a month."""
    if id(node) in seen:
        return None
    seen.add(id(node))
    if isinstance(node, yaml.ScalarNode):
        try:
            _value(node)
        except ValueError:
            return int(node.start_mark.line) + 1
        return None
    parts = node.value if isinstance(node, yaml.CollectionNode) else []
    inner = chain.from_iterable(part if isinstance(part, tuple) else (part,) for part in parts)
    return next((line for each in inner if (line := _first_wrong(each, seen))), None)


def _value(node: yaml.Node) -> Any:
    """What the node stands for; `yes` is no text."""
    return yaml.constructor.SafeConstructor().construct_object(node, deep=True)


def _walk(node: yaml.Node, path: KeyPath, found: Located) -> None:
    if len(path) > _DEEPEST:
        raise NotYaml("it is nested too deeply, or in itself", node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        _walk_mapping(node, path, found)
    elif isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            found.lines[(*path, number)] = item.start_mark.line + 1
            _walk(item, (*path, number), found)
    elif "\0" in node.value:
        raise NotYaml("it has a NUL character, which no database keeps", node.start_mark.line + 1)


def _walk_mapping(node: yaml.MappingNode, path: KeyPath, found: Located) -> None:
    own: set[Hashable] = set()
    for key, value in node.value:
        if key.tag == _MERGE:
            continue
        name = key.value if key.tag == _TEXT else _value(key)
        here = (*path, name)
        if name in own:
            found.twice.append(here)
        own.add(name)
        found.lines[here] = key.start_mark.line + 1
        if key.tag != _TEXT:  # and as JSON has it, in which Prefect keeps it
            found.lines.setdefault((*path, str(key.value)), key.start_mark.line + 1)
        _walk(value, here, found)
    for key, value in node.value:
        for merged in _merged(key, value):
            inherited = Located(None)
            _walk(merged, path, inherited)
            found.lines = {**inherited.lines, **found.lines}


def _merged(key: yaml.Node, value: yaml.Node) -> list[yaml.Node]:
    """The mappings that `<<` brings in."""
    if key.tag != _MERGE:
        return []
    return list(value.value) if isinstance(value, yaml.SequenceNode) else [value]
