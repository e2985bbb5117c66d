"""What is wrong in a prefect.yaml by its form alone: keys, types, names, slugs, secrets.

Prefect's own reader ignores a misspelled key, and skips a whole file that is wrong in one place.
"""

import re
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from clinical_ai import names
from clinical_ai.adapters.yaml_lines import Located
from clinical_ai.errors import nearest

if TYPE_CHECKING:
    from prefect.cli.deploy._models import PrefectYamlModel
    from pydantic import ValidationError

# `definitions` holds the anchors that Prefect's documentation shows.
_TOP_EXTRA: Final = {"definitions", "prefect-version"}
_BLOCK: Final = re.compile(r"\{\{\s*prefect\.blocks\.")
_CREDENTIALS: Final = re.compile(r"://[^/\s:@]+:[^/\s@]+@")
# The last word of a name decides: DB_PASSWORD holds a secret, SECRET_NAME the name of one.
_SECRET_NAME: Final = re.compile(
    r"(?<!pull_)(?<!pull)(passw(or)?d|passphrase|secret|token|(api|access|private)_?key|auth_?string"
    r"|credentials?)$",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong, where, and what to do about it."""

    line: int
    problem: str
    remedy: str


def parse(located: Located) -> tuple["PrefectYamlModel | None", list[Fault]]:
    """Prefect's own model of the file, and everything that is wrong by form."""
    from prefect.cli.deploy._models import PrefectYamlModel
    from pydantic import ValidationError

    if not isinstance(located.content, Mapping):
        remedy = "write `deployments:` and a list below it"
        return None, [Fault(1, "it is not a table of keys", remedy)]
    faults = [
        Fault(located.line(path), f"{path[-1]} is given twice", "keep one of them")
        for path in located.twice
    ]
    faults += _unknown_keys(located)
    faults += _deployment_faults(located)
    try:
        return PrefectYamlModel.model_validate(located.content), faults
    except ValidationError as error:
        return None, faults + _type_faults(located, error)


def entries(located: Located) -> Iterator[tuple[tuple[Hashable, ...], Mapping[str, Any]]]:
    """Path and mapping of each deployment."""
    for number, entry in enumerate(_list(located.content.get("deployments"))):
        if isinstance(entry, Mapping):
            yield ("deployments", number), entry


def owner_of(tags: Any) -> str | None:
    """The owner that tags declare, or None."""
    owners = [str(tag) for tag in _list(tags) if str(tag).startswith(names.OWNER_PREFIX)]
    return owners[0].removeprefix(names.OWNER_PREFIX) if len(owners) == 1 else None


def _unknown_keys(located: Located) -> list[Fault]:
    from prefect.cli.deploy import _models as prefects

    def known(model: Any) -> set[str]:
        return {field.alias or name for name, field in model.model_fields.items()}

    def look(path: tuple[Hashable, ...], found: Any, allowed: set[str]) -> Iterator[Fault]:
        for key in found if isinstance(found, Mapping) else ():
            if key not in allowed:
                problem = f"unknown key {str(key)!r:.60}"
                yield Fault(located.line((*path, key)), problem, nearest(str(key), allowed))

    faults = list(look((), located.content, known(prefects.PrefectYamlModel) | _TOP_EXTRA))
    for path, entry in entries(located):
        faults += look(path, entry, known(prefects.DeploymentConfig))
        pool, limit = entry.get("work_pool"), entry.get("concurrency_limit")
        faults += look((*path, "work_pool"), pool, known(prefects.WorkPoolConfig))
        faults += look((*path, "concurrency_limit"), limit, known(prefects.ConcurrencyLimitSpec))
        for number, schedule in enumerate(_list(entry.get("schedules"))):
            here = (*path, "schedules", number)
            faults += look(here, schedule, known(prefects.RawScheduleConfig))
    return faults


def _type_faults(located: Located, error: "ValidationError") -> list[Fault]:
    """What Prefect's model refuses, one fault a field."""
    faults: dict[tuple[Hashable, ...], Fault] = {}
    told = error.errors(include_input=False, include_url=False)
    for one in [one for one in told if one["type"] != "extra_forbidden"]:  # told already
        # The location names members of unions behind the field: the path in the file is kept.
        path = _in_file(one["loc"], located)
        text = f"{'.'.join(map(str, path))}: {one['msg'].removeprefix('Value error, ')}"
        faults.setdefault(path, Fault(located.line(path), text, f"correct {path[-1]}"))
    return list(faults.values())


def _in_file(loc: tuple[Hashable, ...], located: Located) -> tuple[Hashable, ...]:
    path: tuple[Hashable, ...] = ()
    for part in loc:
        if (*path, part) not in located.lines:
            break
        path = (*path, part)
    return path or loc[:1]


def _deployment_faults(located: Located) -> list[Fault]:
    faults: list[Fault] = []
    if not located.content.get("deployments"):
        faults.append(Fault(1, "it names no deployment", "list them below `deployments:`"))
    owners: dict[str, int] = {}
    for path, entry in entries(located):
        line = located.line(path)
        for key, value in (
            ("name", entry.get("name")),
            ("entrypoint", entry.get("entrypoint")),
            ("work_pool.name", _table(entry.get("work_pool")).get("name")),
        ):
            if not value:
                faults.append(Fault(line, f"{_called(entry)} has no {key}", f"give {key}"))
        owner = owner_of(entry.get("tags"))
        if owner is None:
            remedy = f'add one tag "{names.OWNER_PREFIX}NAME", the same in the whole file'
            faults.append(Fault(line, f"{_called(entry)} has no owner among its tags", remedy))
        else:
            owners.setdefault(owner, line)
        faults += _schedule_faults(located, path, entry)
        faults += _secret_faults(located, path, entry)
    if len(owners) > 1:
        told = ", ".join(sorted(owners))
        remedy = "one file, one owner: move the others to a file of their own"
        faults.append(Fault(max(owners.values()), f"deployments of several owners: {told}", remedy))
    return faults


def _schedule_faults(
    located: Located, path: tuple[Hashable, ...], entry: Mapping[str, Any]
) -> Iterator[Fault]:
    if entry.get("schedule"):
        line = located.line((*path, "schedule"))
        yield Fault(line, "`schedule` is the old form", "write a list below `schedules:`")
    seen: set[str] = set()
    for number, schedule in enumerate(_list(entry.get("schedules"))):
        line = located.line((*path, "schedules", number))
        slug = schedule.get("slug") if isinstance(schedule, Mapping) else None
        if not slug:
            remedy = "give it a slug: only by it can a schedule be changed without losing others"
            yield Fault(line, f"a schedule of {_called(entry)} has no slug", remedy)
        elif slug in seen:
            yield Fault(
                line, f"two schedules of {_called(entry)} have the slug {slug}", "rename one"
            )
        seen.add(str(slug))


def _secret_faults(
    located: Located, path: tuple[Hashable, ...], entry: Mapping[str, Any]
) -> Iterator[Fault]:
    """What would stand in the deployment in clear, readable to everybody who may read it."""
    variables = _table(entry.get("work_pool")).get("job_variables") or {}
    remedy = "let the work pool's job template or the flow fetch it by its name"
    for where, value in _leaves(variables, (*path, "work_pool", "job_variables")):
        line, key = located.line(where), str(where[-1])
        if _BLOCK.search(value):
            yield Fault(line, f"job variable {key} would hold a block's value in clear", remedy)
        elif _CREDENTIALS.search(value):
            yield Fault(line, f"job variable {key} is an address with a password", remedy)
        elif _SECRET_NAME.search(key):
            yield Fault(line, f"job variable {key} looks like a secret in clear", remedy)


def _leaves(tree: Any, path: tuple[Hashable, ...]) -> Iterator[tuple[tuple[Hashable, ...], str]]:
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from _leaves(value, (*path, key))
    elif isinstance(tree, list):
        for number, value in enumerate(tree):
            yield from _leaves(value, (*path, number))
    elif isinstance(tree, str) and tree:
        yield path, tree


def _called(entry: Mapping[str, Any]) -> str:
    return f"deployment {entry['name']!r:.60}" if entry.get("name") else "a deployment"


def _table(found: Any) -> Mapping[str, Any]:
    return found if isinstance(found, Mapping) else {}


def _list(found: Any) -> list[Any]:
    return found if isinstance(found, list) else []
