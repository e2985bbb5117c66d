"""What is wrong in a prefect.yaml by its form alone: keys, types, names, slugs, secrets.

Prefect's own reader ignores a misspelled key, and skips a whole file that is wrong in one place.
"""

import re
from collections.abc import Container, Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from clinical_ai import names
from clinical_ai.adapters.deployment_entries import (
    Fault,
    as_list,
    as_table,
    called,
    entries,
    tables,
)
from clinical_ai.adapters.deployment_known_keys import unknown_keys
from clinical_ai.adapters.deployment_reasons import reasons
from clinical_ai.adapters.deployment_schedules import slug_faults
from clinical_ai.adapters.deployment_secrets import find_secrets
from clinical_ai.adapters.yaml_lines import KeyPath, Located

if TYPE_CHECKING:
    from pydantic import ValidationError

_TEMPLATE: Final = re.compile(r"\{\{\s*([\w.$-]+)\s*\}\}")
_KNOWN: Final = ("prefect.variables.", "prefect.blocks.", "ctx.")
_MEANT: Final = "write prefect.variables.NAME, prefect.blocks.TYPE.NAME or $NAME"
# Filled in when a run starts, an event comes, or a step has run.
_FILLED_LATER: Final = {"parameters", "schedules", "triggers", "pull", "build", "push"}


def file_faults(located: Located, environ: Mapping[str, str]) -> list[Fault]:
    """What is wrong by form alone: keys, names, slugs, owners, secrets.

    `environ`: what `{{ $NAME }}` in the file means.
    """
    if located.content is None:
        return [Fault(1, "it is empty", "write `deployments:` and a list below it")]
    if not isinstance(located.content, Mapping):
        return [Fault(1, "it is not a table of keys", "write `deployments:` and a list below it")]
    faults = [
        Fault(located.line(path), f"{path[-1]} is given twice", "keep one of them")
        for path in located.twice
    ]
    faults += unknown_keys(located)
    return faults + _deployment_faults(located, environ)


def read_types(located: Located) -> tuple[dict[KeyPath, dict[str, Any]], list[Fault]]:
    """Deployments as Prefect reads them, without those whose types are wrong; and these faults."""
    from prefect.cli.deploy._models import DeploymentConfig, PrefectYamlModel
    from pydantic import ValidationError

    there = dict(entries(located))
    configs: dict[KeyPath, DeploymentConfig] = {}
    faults: list[Fault] = []
    try:
        model = PrefectYamlModel.model_validate(located.content)
        configs = dict(zip(there, model.deployments, strict=True))
    except ValidationError as error:
        faults = _type_faults(located, error)
        for path, entry in there.items():
            with suppress(ValidationError):
                configs[path] = DeploymentConfig.model_validate(entry)
    whole = {
        path: dict(config.model_dump(exclude_unset=True, mode="json"))
        for path, config in configs.items()
        if all(there[path].get(key) for key in ("name", "entrypoint", "work_pool"))
    }
    return whole, faults


def refusals(
    located: Located, path: KeyPath, entry: Mapping[str, Any], error: Exception
) -> list[Fault]:
    """What Prefect's deploy says of an entry, without its values."""
    problem = f"{called(entry)}: {reasons(error, '')}"
    for key, word in (
        ("sla", "sla"),
        ("triggers", "trigger"),
        ("concurrency_limit", "concurrency"),
    ):
        if key in entry and word in f"{type(error).__name__} {problem}".lower():
            return [Fault(located.line((*path, key)), problem, f"correct {key}")]
    return [Fault(located.line(path), problem, "correct its entry")]


def template_faults(
    located: Located, path: KeyPath, entry: Mapping[str, Any], environ: Container[str]
) -> Iterator[Fault]:
    """Templates that mean nothing: Prefect drops such a value without a word."""
    stepped = any(each.get(step) for each in (entry, located.content) for step in ("build", "push"))
    for key, value in entry.items():
        for where, text in _texts(value, (*path, key)):
            for word in _TEMPLATE.findall(text):
                line = located.line(where)
                if word.startswith("$"):
                    if word[1:] not in environ:
                        problem = f"{word} is not set where this file is read"
                        yield Fault(line, problem, "set it, or write its value")
                elif key not in _FILLED_LATER and not stepped and not word.startswith(_KNOWN):
                    yield Fault(line, f"the template {word!r:.60} means nothing", _MEANT)


def _texts(tree: Any, path: KeyPath) -> Iterator[tuple[KeyPath, str]]:
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from _texts(value, (*path, key))
    elif isinstance(tree, list):
        for number, value in enumerate(tree):
            yield from _texts(value, (*path, number))
    elif isinstance(tree, str) and "{{" in tree:
        yield path, tree


def _owner_of(tags: Any) -> str | None:
    """The owner that tags declare, or None."""
    owners = [str(tag) for tag in as_list(tags) if str(tag).startswith(names.OWNER_PREFIX)]
    return owners[0].removeprefix(names.OWNER_PREFIX).strip() if len(owners) == 1 else None


def _type_faults(located: Located, error: "ValidationError") -> list[Fault]:
    """What Prefect's model refuses, one fault a field."""
    faults: dict[KeyPath, Fault] = {}
    told = error.errors(include_input=False, include_url=False)
    for one in [one for one in told if one["type"] != "extra_forbidden"]:  # told already
        # The location names members of unions behind the field: the path in the file is kept.
        path = _in_file(one["loc"], located)
        text = f"{'.'.join(map(str, path))}: {one['msg'].removeprefix('Value error, ')}"
        faults.setdefault(path, Fault(located.line(path), text, f"correct {path[-1]}"))
    return list(faults.values())


def _in_file(loc: KeyPath, located: Located) -> KeyPath:
    path: KeyPath = ()
    for part in loc:
        if (*path, part) not in located.lines:
            break
        path = (*path, part)
    return path or loc[:1]


def _deployment_faults(located: Located, environ: Mapping[str, str]) -> list[Fault]:
    faults: list[Fault] = []
    if not located.content.get("deployments"):
        faults.append(Fault(1, "it names no deployment", "list them below `deployments:`"))
    owners: dict[str, int] = {}
    for path, entry in entries(located):
        line = located.line(path)
        for key, value in (
            ("name", entry.get("name")),
            ("entrypoint", entry.get("entrypoint")),
            ("work_pool.name", as_table(entry.get("work_pool")).get("name")),
        ):
            if not value:
                faults.append(Fault(line, f"{called(entry)} has no {key}", f"give {key}"))
        owner = _owner_of(entry.get("tags"))
        if not owner:
            remedy = f'give one tag "{names.OWNER_PREFIX}NAME", the same in the whole file'
            problem = f"{called(entry)} has not one owner among its tags"
            faults.append(Fault(line, problem, remedy))
        else:
            owners.setdefault(owner, line)
        faults += slug_faults(located, path, entry)
        faults += _secret_faults(located, path, entry, environ)
    if len(owners) > 1:
        told = ", ".join(sorted(owners))
        remedy = "one file, one owner: move the others to a file of their own"
        faults.append(Fault(max(owners.values()), f"deployments of several owners: {told}", remedy))
    return faults


def name_faults(located: Located, path: KeyPath, entry: Mapping[str, Any]) -> Iterator[Fault]:
    """Names that the server refuses or can't be asked for; a flow's own is told at its import."""
    from prefect.types.names import BANNED_CHARACTERS

    pool, remedy = as_table(entry.get("work_pool")), "use letters, digits, spaces, - and _"
    for where, name in (
        (("name",), entry.get("name")),
        (("work_pool", "name"), pool.get("name")),
        (("work_pool", "work_queue_name"), pool.get("work_queue_name")),
    ):
        banned = [char for char in BANNED_CHARACTERS if char in str(name)]
        told = f"{'.'.join(where)} {name!r:.60}"
        if banned:
            problem = f"{told} has {' '.join(banned)}, which Prefect allows in no name"
            yield Fault(located.line((*path, *where)), problem, remedy)
        elif name and not str(name).strip("' \""):  # as Prefect has it of a pool
            yield Fault(located.line((*path, *where)), f"{told} is blank", remedy)


def _secret_faults(
    located: Located, path: KeyPath, entry: Mapping[str, Any], environ: Mapping[str, str]
) -> Iterator[Fault]:
    """Secrets in job variables as they are written, and as the environment fills them in."""
    from prefect.utilities.templating import apply_values

    places = [((*path, "work_pool"), as_table(entry.get("work_pool")))]
    for where, table in [*places, *tables(path, entry, "triggers")]:
        written, here = table.get("job_variables"), (*where, "job_variables")
        found = dict(find_secrets(written or {}, here))
        if "{{" in str(written):
            filled = apply_values(written, dict(environ), remove_notset=False)
            found = {**dict(find_secrets(filled, here)), **found}
        yield from _in_clear(located, found)


def secret_faults(located: Located, path: KeyPath, variables: Any) -> Iterator[Fault]:
    """The same in job variables of the deployment's body, when all templates are filled in."""
    found = dict(find_secrets(variables or {}, (*path, "work_pool", "job_variables")))
    return _in_clear(located, found)


def _in_clear(located: Located, found: Mapping[KeyPath, str]) -> Iterator[Fault]:
    """What would stand in the deployment in clear, readable to everybody who may read it."""
    remedy = "let the work pool's job template or the flow fetch it by its name"
    for where, problem in found.items():
        yield Fault(located.line(where), problem, remedy)
