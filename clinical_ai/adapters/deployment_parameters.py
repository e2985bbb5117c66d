"""Parameters that a file gives, against the signature of the flow that takes them.

By what a run would meet: the server asks the schema, and the run Prefect's validation of the
function's arguments, which knows what no schema tells (a duration's form, a validator's rule). No
message repeats a value, since it may be a secret.
"""

from collections.abc import Iterator, Mapping, Set
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from clinical_ai.adapters.deployment_entries import Fault, as_table, tables
from clinical_ai.adapters.yaml_lines import KeyPath, Located

if TYPE_CHECKING:
    from prefect._internal.pydantic.validated_func import ValidatedFunction

_SEE: Final = "see the flow's signature"
# Rules about files, which only the machine of the run can tell.
_OF_MACHINE: Final = {"path_not_file", "path_not_directory", "path_exists", "path_not_exists"}


def parameter_faults(
    located: Located, path: KeyPath, entry: Mapping[str, Any], flow: Any
) -> Iterator[Fault]:
    """Parameters of the deployment, its schedules and triggers that the flow lacks or would refuse.

    `entry`: as the file has it, or with its templates filled in; those of a trigger are filled in
    when the event comes.
    """
    enforced = entry.get("enforce_parameter_schema") is not False
    own = as_table(entry.get("parameters"))
    yield from _wrong(located, (*path, "parameters"), own, flow, enforced=enforced)
    for here, schedule in tables(path, entry, "schedules"):
        given = as_table(schedule.get("parameters"))
        yield from _wrong(located, (*here, "parameters"), given, flow, enforced=enforced)
        if not entry.get("paused") and schedule.get("active") in (None, True):
            yield from _lacking(located, here, flow, own.keys() | given.keys())
    for here, trigger in tables(path, entry, "triggers"):
        given, where = as_table(trigger.get("parameters")), (*here, "parameters")
        yield from _wrong(located, where, given, flow, enforced=enforced, of_event=True)


def _wrong(
    located: Located,
    path: KeyPath,
    given: Mapping[str, Any],
    flow: Any,
    *,
    enforced: bool,
    of_event: bool = False,
) -> Iterator[Fault]:
    """`enforced`: the server asks the schema; without that the run alone decides."""
    known = _schema(flow).get("properties", {})
    wrong: dict[KeyPath, str] = {}
    fixed: dict[str, Any] = {}
    for name, value in given.items():
        if name not in known:
            wrong[(name,)] = "the flow has no such parameter"
        elif "__prefect_kind" in str(value):
            if not of_event:
                wrong[(name,)] = "the server fills it in once: it is never the same as in the file"
        elif "{{" not in str(value):  # that is filled in when a run starts
            fixed[name] = value
    if fixed:
        by_schema = dict(_by_schema(fixed, flow)) if enforced else {}
        told = {where[0] for where in by_schema}
        by_run = _by_run(fixed, flow)
        wrong |= by_schema | {where: why for where, why in by_run if where[0] not in told}
    for where, problem in wrong.items():
        line = located.line((*path, *where))
        yield Fault(line, f"parameter {where[0]}: {problem}", _SEE)


def _lacking(located: Located, path: KeyPath, flow: Any, given: Set[str]) -> Iterator[Fault]:
    for name in _schema(flow).get("required", ()):
        if name not in given:
            told = f"parameter {name} is required, and neither this schedule nor the deployment"
            problem = f"{told} gives it: each scheduled run would fail"
            yield Fault(located.line(path), problem, f"give {name}, or a default in the flow")


def _by_schema(given: Mapping[str, Any], flow: Any) -> Iterator[tuple[KeyPath, str]]:
    """What the server refuses when the deployment is written."""
    from prefect.utilities.schema_tools.validation import validate

    for error in validate(dict(given), _schema_of_some(flow), preprocess=False):
        where = tuple(error.absolute_path) or (next(iter(given)),)
        yield where, f"its value is not of the flow's type ({error.validator})"


def _by_run(given: Mapping[str, Any], flow: Any) -> Iterator[tuple[KeyPath, str]]:
    """What Prefect's engine refuses when a run starts.

    As `Flow.validate_parameters`, which logs the values, loads blocks, and wants all parameters.
    """
    function = _validated(flow)
    if function is None:
        return
    for name, value in given.items():
        if "'$ref'" not in str(value):  # a block, which the run loads
            yield from _refused(function, name, value)


def _refused(function: "ValidatedFunction", name: str, value: Any) -> Iterator[tuple[KeyPath, str]]:
    from prefect.utilities.callables import parameters_to_args_kwargs
    from pydantic import ValidationError

    try:
        args, kwargs = parameters_to_args_kwargs(function.raw_function, {name: value})
        function.validate_call_args(args, kwargs)
    except ValidationError as error:
        for one in error.errors(include_input=False, include_url=False, include_context=False):
            if one["loc"][:1] == (name,) and one["type"] not in _OF_MACHINE:
                yield one["loc"], f"the flow refuses its value ({one['type']})"
    except ImportError:
        return  # a validator that imports: what is beside the flow is on the path no longer
    except Exception as error:  # noqa: BLE001 - validators of a flow raise what they like
        yield (name,), f"the flow's validation of its value ends with {type(error).__name__}"


@cache
def _validated(flow: Any) -> "ValidatedFunction | None":
    """Prefect's validation of the function's arguments; None for a flow that wants none."""
    from prefect._internal.pydantic.validated_func import ValidatedFunction

    if not flow.should_validate_parameters:
        return None
    return ValidatedFunction(flow.fn, config={"arbitrary_types_allowed": True})


@cache
def _schema_of_some(flow: Any) -> dict[str, Any]:
    """The schema for parameters of which some come later, as `validate` makes it each time."""
    from prefect.utilities.collections import remove_nested_keys
    from prefect.utilities.schema_tools.validation import preprocess_schema

    return dict(remove_nested_keys(["required"], preprocess_schema(_schema(flow))))


@cache
def _schema(flow: Any) -> dict[str, Any]:
    deploy: Any = import_module("prefect.cli.deploy._core")
    # By this name: while a file is read, it is made once for the deploy and for this.
    return dict(deploy.parameter_schema(flow).model_dump_for_openapi())
