"""The rules of a roll's journal, and which changes need running work to be held."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as some

from clinical_ai.change import Change, Did
from clinical_ai.plans import Journal, Stage, from_dict, needs_hold, pools_to_restore

_PAUSED = some.dictionaries(some.text(), some.booleans(), max_size=4)
_JOURNALS = some.builds(
    Journal,
    id=some.text(),
    reason=some.text(),
    started=some.text(),
    stage=some.sampled_from(Stage),
    processes=some.lists(some.text(), max_size=3).map(tuple),
    paused_before=_PAUSED,
    outcome=some.text(),
    reported=some.booleans(),
)


@given(_JOURNALS)
def test_a_journal_survives_the_trip_through_its_file(journal: Journal) -> None:
    assert from_dict(json.loads(json.dumps(journal.to_dict()))) == journal


@given(_JOURNALS, _PAUSED)
def test_what_was_paused_before_the_first_attempt_is_never_forgotten(
    journal: Journal, seen: dict[str, bool]
) -> None:
    held = journal.held(seen)
    assert held.stage is Stage.HELD
    assert held.paused_before == (journal.paused_before or seen)
    assert held.held({"default": True, "platform": True}).paused_before == (
        held.paused_before or {"default": True, "platform": True}
    )


@given(_PAUSED)
def test_only_pools_that_the_roll_paused_itself_are_resumed(paused: dict[str, bool]) -> None:
    resumed = pools_to_restore(Journal("1", "r", "s").held(paused))
    assert resumed == sorted(resumed)
    assert set(resumed) == {pool for pool, was in paused.items() if not was}


@given(_JOURNALS)
def test_a_journal_is_open_until_it_ended_and_told_after_that(journal: Journal) -> None:
    for stage in (Stage.DONE, Stage.GAVE_UP):
        ended = journal.ended(stage, "so it went")
        assert not ended.open
        assert ended.outcome == "so it went"
        assert ended.told().reported
        assert (ended.id, ended.paused_before) == (journal.id, journal.paused_before)
    assert journal.held({}).open
    assert journal.changed([]).open


def test_the_journal_names_the_processes_that_were_replaced_and_keeps_them() -> None:
    first = Journal("1", "r", "s").changed(
        [Change("server", Did.UPDATED, "its spec changed"), Change("worker", Did.UNCHANGED)]
    )
    assert (first.stage, first.processes) == (Stage.CHANGED, ("server",))
    again = first.changed([Change("server", Did.UNCHANGED), Change("worker", Did.UNCHANGED)])
    assert again.processes == ("server",), "a second attempt that finds nothing forgets nothing"


@pytest.mark.parametrize(
    "damage",
    [
        {"stage": "nearly"},
        {"stage": None},
        {"processes": None},
        {"paused_before": None},
        {"unknown": 1},
    ],
    ids=str,
)
def test_a_damaged_journal_is_refused(damage: dict[str, object]) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        from_dict({**Journal("1", "r", "s").to_dict(), **damage})


@pytest.mark.parametrize("key", ["id", "reason", "started", "stage", "processes"])
def test_a_journal_without_one_of_its_facts_is_refused(key: str) -> None:
    raw = Journal("1", "r", "s").to_dict()
    del raw[key]
    with pytest.raises((KeyError, TypeError)):
        from_dict(raw)


def test_running_work_is_held_only_when_something_that_runs_is_replaced() -> None:
    assert not needs_hold([])
    assert not needs_hold([Change("a", Did.UPDATED, "it was not running")])
    assert not needs_hold([Change("a", Did.CREATED), Change("b", Did.UNCHANGED)])
    assert not needs_hold([Change("a", Did.REMOVED), Change("b", Did.STOPPED)])
    assert needs_hold([Change("a", Did.UNCHANGED), Change("b", Did.UPDATED, "its spec changed")])
