"""A trigger that Prefect would read differently than it is written is told with its line."""

from pathlib import Path

import pytest

from clinical_ai.deployment_plan import SELF
from tests.support.deployment_files import GOOD, HEAD, Write, read_here, told_here

METRIC = "{name: duration, threshold: 1, operator: '<'}"


def listed(*triggers: str) -> str:
    lines = "".join(f"      - {trigger}\n" for trigger in triggers)
    return f"{HEAD}{GOOD}    triggers:\n{lines}"


def test_a_trigger_is_an_automation_that_the_deployment_owns(write: Write) -> None:
    (found,) = read_here(write(listed("{expect: [a.b], match: {x: y}}")))
    assert found.triggers is not None
    (trigger,) = found.triggers
    assert trigger["owner_resource"] == f"prefect.deployment.{SELF}"
    assert trigger["name"] == "one__automation_1"


@pytest.mark.parametrize(
    ("trigger", "key", "nearest"),
    [
        ("{expct: [a]}", "expct", "expect"),
        ("{expect: [a], job_variabels: {}}", "job_variabels", "job_variables"),
        ("{type: event, expect: [a], wihtin: 5}", "wihtin", "within"),
        (f"{{type: metric, metric: {METRIC}, macth: {{}}}}", "macth", "match"),
        ("{posture: Metric, metric: {nam: duration}}", "nam", "name"),
        ("{type: compound, requires: all, triggers: []}", "requires", "require"),
        ("{type: sequence, triggers: [{expect: [a], aftr: [b]}]}", "aftr", "after"),
        ("{require: any, triggers: [{triggers: [{expct: [a]}]}]}", "expct", "expect"),
        ("{triggers: [{metric: {rnge: 1}, posture: Metric}]}", "rnge", "range"),
    ],
)
def test_a_misspelled_key_of_a_trigger_is_told_with_the_nearest(
    write: Write, trigger: str, key: str, nearest: str
) -> None:
    faults = told_here(write(listed("{expect: [x]}", trigger)), remedies=True)
    said = f"11: unknown key {key!r} (did you mean {nearest!r}?)"
    assert said in faults


def test_a_part_of_a_trigger_makes_no_automation_and_runs_nothing_of_its_own(write: Write) -> None:
    text = listed("{type: sequence, triggers: [{expect: [a], parameters: {source: x}}]}")
    assert told_here(write(text)) == ["10: unknown key 'parameters'"]


@pytest.mark.parametrize(
    ("agreement", "key"),
    [
        ("{name: a, duration: 5, severty: low}", "severty"),
        ("{name: a, stale_after: 5, within: 5, dration: 5}", "dration"),
        ("{name: a, stale_aftr: 5}", "stale_aftr"),
    ],
)
def test_a_misspelled_key_of_an_agreement_is_told(write: Write, agreement: str, key: str) -> None:
    text = f"{HEAD}{GOOD}    sla:\n      - {agreement}\n"
    faults = told_here(write(text))
    assert f"10: unknown key {key!r}" in faults


def test_an_agreement_is_refused_since_only_prefect_cloud_keeps_one(write: Write) -> None:
    text = f"{HEAD}{GOOD}    sla: [{{name: a, duration: 5}}]\n"
    (fault,) = told_here(write(text))
    assert fault.startswith("9: deployment 'one': ")
    assert "only supported on Prefect Cloud" in fault


def test_each_wrong_trigger_is_told_beside_what_else_is_wrong(write: Write) -> None:
    text = listed(
        "{type: evnt, expect: [a]}",
        "{expect: a.b}",
        "{expect: [a], posture: Proactive, within: soon}",
        "{type: compound, require: 3, triggers: [{expect: [a]}]}",
        "{type: sequence, triggers: [{expect: [a]}, {expect: [b], threshold: many}]}",
    )
    text += "    schedules: [{slug: a, cron: bad}]\n    parameters: {rose: 1, source: a}\n"
    faults = told_here(write(text))
    lines = [int(line.partition(":")[0]) for line in faults]
    assert lines == [10, 11, 12, 13, 14, 15, 16], faults
    assert faults[0].endswith("its type is none of 'event', 'metric', 'compound', 'sequence'")
    assert "threshold" in faults[4]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("{name: a, expect: [x]}", "{name: a, expect: [y]}"),
        ("{name: one__automation_2, expect: [x]}", "{expect: [y]}"),
    ],
)
def test_two_triggers_of_one_name_are_told(write: Write, first: str, second: str) -> None:
    (fault,) = told_here(write(listed(first, second)))
    assert fault.startswith("11: two triggers of deployment 'one' are named ")


@pytest.mark.parametrize(
    ("parameters", "fault"),
    [
        ("{rose: 1}", "11: parameter rose: the flow has no such parameter"),
        ("{rose: '{{ event.id }}'}", "11: parameter rose: the flow has no such parameter"),
        ("{rows: many}", "11: parameter rows: its value is not of the flow's type (type)"),
    ],
)
def test_parameters_of_a_trigger_are_those_of_the_flow(
    write: Write, parameters: str, fault: str
) -> None:
    text = listed("{expect: [x]}", f"{{expect: [y], parameters: {parameters}}}")
    assert told_here(write(text)) == [fault]


def test_what_an_event_fills_in_is_no_fault(write: Write, tmp_path: Path) -> None:
    kinds = "{__prefect_kind: json, value: {__prefect_kind: jinja, template: '{{ event.id }}'}}"
    text = listed(
        f"{{expect: [x], parameters: {{source: '{{{{ event.id }}}}', rows: {kinds}}}}}",
        "{type: compound, require: all, within: PT1H, triggers: [{expect: [a]}, {expect: [b]}]}",
        f"{{type: metric, metric: {METRIC}, schedule_after: PT5M, match_related: [{{x: y}}]}}",
    )
    (found,) = read_here(write(text))
    assert found.triggers is not None
    assert len(found.triggers) == 3
