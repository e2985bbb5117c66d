"""Parameters are what the flow takes, as its run will judge; no fault repeats a value."""

from pathlib import Path
from typing import Final

import pytest

from tests.support.deployment_files import GOOD, HEAD, Write, read_here, told_here

FLOWS: Final = """\
from datetime import timedelta
from enum import Enum
from typing import Annotated, Literal

from prefect import flow
from pydantic import AfterValidator, BaseModel, Field, FilePath, field_validator

class Kind(Enum):
    A = "a"

class Source(BaseModel):
    table: str
    rows: int = 1

    @field_validator("table")
    @classmethod
    def known(cls, table):
        if table not in {"patients", "visits"}:
            raise ValueError(f"there is no table {table}")
        return table

def even(number):
    if number % 2:
        raise ValueError(f"{number} is odd")
    return number

def listed(name):
    return {"a": 1}[name]

def imports(name):
    import beside
    return name

@flow
def load(
    every: timedelta = timedelta(1),
    number: Annotated[int, AfterValidator(even)] = 2,
    share: Annotated[float, Field(gt=0, le=1)] = 1,
    name: Annotated[str, AfterValidator(listed)] = "a",
    other: Annotated[str, AfterValidator(imports)] = "a",
    source: Source | None = None,
    kind: Kind = Kind.A,
    mode: Literal["full", "part"] = "full",
    file: FilePath = "/",
):
    pass

@flow
def required(source: str, rows: int):
    pass

@flow(validate_parameters=False)
def unvalidated(every: timedelta = timedelta(1)):
    pass

@flow
def anything(source: str, **more):
    pass
"""


@pytest.fixture(autouse=True)
def flows(tmp_path: Path, write: Write) -> None:
    (tmp_path / "flows.py").write_text(FLOWS)


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ("{every: canary}", "every: the flow refuses its value (time_delta_parsing)"),
        ("{number: 3}", "number: the flow refuses its value (value_error)"),
        ("{share: 2}", "share: its value is not of the flow's type (maximum)"),
        ("{source: {table: canary}}", "source: the flow refuses its value (value_error)"),
        ("{source: {rows: 5}}", "source: "),
        ("{name: canary}", "name: the flow's validation of its value ends with KeyError"),
        ("{kind: canary}", "kind: its value is not of the flow's type (enum)"),
        ("{mode: canary}", "mode: its value is not of the flow's type (enum)"),
    ],
)
@pytest.mark.parametrize("of_schedule", [False, True])
def test_a_value_that_the_run_would_refuse_is_told_and_not_repeated(
    write: Write, given: str, fault: str, *, of_schedule: bool
) -> None:
    text = f"    parameters: {given}\n"
    if of_schedule:
        text = f"    schedules:\n      - slug: a\n        interval: 60\n    {text}"
    told = told_here(write(HEAD + GOOD + text))
    assert told
    assert told[0].startswith(f"{12 if of_schedule else 9}: parameter {fault}"), told
    assert not any("canary" in line for line in told)


def test_values_that_the_run_takes_are_no_fault(write: Write) -> None:
    text = "    parameters: {every: PT5M, number: 4, share: 0.5, source: {table: visits},"
    text += " kind: a, mode: part, file: /of/another/machine, other: b}\n"
    assert len(read_here(write(HEAD + GOOD + text))) == 1


def test_the_line_is_that_of_the_value_inside(write: Write) -> None:
    text = "    parameters:\n      source:\n        rows: 1\n        table: x\n"
    (told,) = told_here(write(HEAD + GOOD + text))
    assert told.startswith("12: parameter source")


def entry(flow: str, more: str) -> str:
    return HEAD + GOOD.replace(":load", f":{flow}") + more


@pytest.mark.parametrize(
    "schedules",
    [
        "[{slug: a, interval: 60}]",
        "[{slug: a, interval: 60, active: true, parameters: {source: x}}]",
    ],
)
def test_a_schedule_whose_runs_would_lack_a_parameter_is_told(write: Write, schedules: str) -> None:
    told = told_here(write(entry("required", f"    schedules: {schedules}\n")))
    assert any(line.startswith("9: parameter rows is required, and neither") for line in told)


@pytest.mark.parametrize(
    "more",
    [
        "",
        "    schedules: [{slug: a, interval: 60, active: false}]\n",
        "    schedules: [{slug: a, interval: 60}]\n    paused: true\n",
        "    schedules: [{slug: a, interval: 60, parameters: {rows: 1}}]\n"
        "    parameters: {source: x}\n",
    ],
)
def test_a_required_parameter_may_come_with_the_run(write: Write, more: str) -> None:
    assert len(read_here(write(entry("required", more)))) == 1


def test_without_the_schema_enforced_only_the_run_decides(write: Write) -> None:
    free = "    enforce_parameter_schema: false\n"
    taken = "    parameters: {source: x, rows: '5'}\n"
    (told,) = told_here(write(entry("required", taken)))
    assert told.startswith("9: parameter rows: its value is not of the flow's type")
    assert len(read_here(write(entry("required", taken + free)))) == 1
    (told,) = told_here(write(entry("required", "    parameters: {rows: x}\n" + free)))
    assert told == "9: parameter rows: the flow refuses its value (int_parsing)"
    (told,) = told_here(write(entry("required", "    parameters: {rose: x}\n" + free)))
    assert told == "9: parameter rose: the flow has no such parameter"


def test_a_flow_that_wants_no_validation_has_none(write: Write) -> None:
    text = "    parameters: {every: soon}\n    enforce_parameter_schema: false\n"
    assert len(read_here(write(entry("unvalidated", text)))) == 1


def test_parameters_are_looked_at_beside_what_else_is_wrong_in_an_entry(write: Write) -> None:
    text = "    parameters: {rose: 2020-01-01, every: x}\n    schedules: [{slug: a, cron: bad}]\n"
    told = told_here(write(HEAD + GOOD.replace('["owner:team"]', "5") + text))
    for said in ("7: deployments.0.tags", "9: parameter rose", "9: parameter every", "10: sched"):
        assert any(line.startswith(said) for line in told), (said, told)
