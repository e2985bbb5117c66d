"""What a run of deploy/self tells: sentence, table, report and ledger."""

from datetime import datetime
from typing import Any

import pytest

from clinical_ai.change import Change, Did
from clinical_ai.object_diff import FieldChange
from clinical_ai.steps import deploy_report
from clinical_ai.steps.cluster.ensure import ObjectChange

CHANGES = [
    Change("work pool default", Did.UNCHANGED),
    Change("work pool platform", Did.UPDATED, "concurrency_limit"),
    Change("deployment deploy/self", Did.UNCHANGED),
]


def test_a_report_says_first_how_much_changed() -> None:
    same = [CHANGES[0], CHANGES[2]]
    assert deploy_report.sentence(same, report_only=False) == (
        "As wanted: 2 things looked at, nothing differs."
    )
    assert deploy_report.sentence(CHANGES, report_only=False) == "1 of 3 things changed."
    assert deploy_report.sentence(CHANGES, report_only=True) == "1 of 3 things differ."


def test_what_was_left_over_is_told_apart_from_what_differs() -> None:
    gone, there = Change("worker a", Did.TIDIED, "gone"), Change("worker b", Did.LEFT_OVER, "stays")
    same = [CHANGES[0], gone, there]
    assert deploy_report.sentence(same, report_only=True) == (
        "As wanted: 1 things looked at, nothing differs. Tidied: 1. Left over: 1."
    )
    told = deploy_report.sentence([*CHANGES, gone], report_only=True)
    assert told == "1 of 3 things differ. Tidied: 1."
    assert [row["what"] for row in deploy_report.rows(same)][:2] == ["worker a", "worker b"]
    report = deploy_report.markdown(same, "", report_only=True)
    assert "| worker a | tidied | gone |" in report
    assert "| worker b | left over | stays |" in report
    entry = deploy_report.ledger_entry("0123", same, [], "run-id")
    assert entry["changes"] == []


def test_rows_of_a_report_are_all_things_with_changed_ones_first() -> None:
    rows = deploy_report.rows(CHANGES)
    assert [row["what"] for row in rows] == [CHANGES[i].what for i in (1, 0, 2)]
    assert rows[0] == {
        "what": "work pool platform",
        "result": "updated",
        "detail": "concurrency_limit",
    }


def test_a_report_tells_all_fields_of_an_object_and_the_ledger_a_line() -> None:
    fields = tuple(FieldChange(f".data.a{number}", "1", '"a|b"') for number in range(9))
    change = ObjectChange("ConfigMap web", Did.UPDATED, "a line", fields=fields)
    whole = "; ".join(map(str, fields))
    assert deploy_report.rows([change])[0]["detail"] == whole
    cell = whole.replace("|", r"\|")
    text = deploy_report.markdown([change], "", report_only=False)
    assert f"| ConfigMap web | updated | {cell} |\n" in text
    assert deploy_report.ledger_entry("r", [change], [], "run")["changes"] == [str(change)]


def test_what_an_attempt_before_has_done_is_told_and_the_last_of_it_alone() -> None:
    """Prefect tries a step again that an outage cut; by then its objects are as wanted."""
    made, back = Change("web", Did.CREATED), Change("web", Did.UPDATED, "put back")
    gone = Change("old", Did.REMOVED)
    seen = [Change("web", Did.UNCHANGED), Change("api", Did.UPDATED)]
    told = deploy_report.together([made, gone], seen)
    assert told == [made, seen[1], gone]
    assert deploy_report.together([Change("api", Did.CREATED)], seen) == seen
    assert deploy_report.together([made, gone, back], []) == [back, gone]
    assert deploy_report.together([], seen) == seen


def test_the_markdown_tells_why_it_ends_early_without_the_lines_of_a_log() -> None:
    failed = deploy_report.cause("web does not come up: exit code 1; its last lines:\na line\n")
    text = deploy_report.markdown(CHANGES, "", report_only=False, failed=failed)
    assert "Then it failed: web does not come up: exit code 1\n" in text
    assert "a line" not in text
    assert "| work pool platform | updated | concurrency_limit |" in text


def test_the_markdown_names_what_changed_and_how_the_last_roll_ended() -> None:
    text = deploy_report.markdown(CHANGES, "The roll of noon: done.", report_only=False)
    assert text.startswith("# deploy/self\n")
    assert "The roll of noon: done." in text
    assert "| work pool platform | updated | concurrency_limit |" in text
    assert "work pool default" not in text
    quiet = deploy_report.markdown(CHANGES[:1], "", report_only=True)
    assert quiet == "# Drift report\n\nAs wanted: 1 things looked at, nothing differs.\n\n"


def test_the_ledger_keeps_who_changed_what_and_when() -> None:
    entry = deploy_report.ledger_entry("0123", CHANGES, [], "run-id")
    assert entry["changes"] == ["work pool platform: updated (concurrency_limit)"]
    assert (entry["release"], entry["run"]) == ("0123", "run-id")
    assert datetime.fromisoformat(entry["at"]).tzinfo is not None


ENTRY: dict[str, Any] = {"release": "1", "run": "a", "verified": "20 checks passed"}


@pytest.mark.parametrize(
    ("entry", "is_news"),
    [
        ({}, False),
        ({"run": "b", "verified": "22 checks passed", "changes": []}, False),
        ({"changes": ["web: created"]}, True),
        ({"release": "2"}, True),
        ({"wanted": "other settings"}, True),
        ({"failed": "web does not come up"}, True),
        ({"healing": "waits"}, True),  # `status` tells it by the last entry
        ({"verified": "failed: storage"}, True),
        ({"verified": "19 checks passed, not shown: canary runs"}, True),
    ],
    ids=str,
)
def test_a_ledger_learns_only_of_changes_and_of_other_outcomes(
    entry: dict[str, Any], *, is_news: bool
) -> None:
    assert deploy_report.is_news(ENTRY | entry, [{"run": "before"}, ENTRY]) is is_news
    assert deploy_report.is_news(ENTRY | entry, [])


def test_the_end_of_a_fault_is_news_and_its_lasting_is_not() -> None:
    failed = ENTRY | {"failed": "web does not come up"}
    assert deploy_report.is_news(ENTRY, [ENTRY, failed])
    assert not deploy_report.is_news(failed | {"run": "b"}, [ENTRY, failed])
