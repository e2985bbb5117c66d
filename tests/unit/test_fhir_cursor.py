"""How far a FHIR server was read: nothing is missed, nothing is loaded twice."""

from datetime import UTC, datetime, timedelta

from clinical_ai.steps.fhir_source import Cursor

LAG = timedelta(seconds=60)
NOON = datetime(2024, 1, 1, 12, tzinfo=UTC)


def test_a_search_begins_a_lag_before_the_newest_change() -> None:
    cursor = Cursor()
    assert cursor.since(LAG) is None
    cursor.is_new("a", NOON)
    assert cursor.since(LAG) == "2024-01-01T11:59:00.000+00:00"


def test_a_version_is_new_once_also_in_the_next_run() -> None:
    cursor = Cursor()
    assert cursor.is_new("a", NOON)
    assert not cursor.is_new("a", NOON)
    after = Cursor.parse(cursor.mark(LAG))
    assert not after.is_new("a", NOON)
    assert after.is_new("b", NOON - LAG / 2)


def test_what_lies_before_the_lag_is_forgotten() -> None:
    cursor = Cursor()
    cursor.is_new("old", NOON - LAG * 2)
    cursor.is_new("new", NOON)
    assert Cursor.parse(cursor.mark(LAG)).seen.keys() == {"new"}


def test_a_mark_that_is_read_and_written_again_is_the_same() -> None:
    cursor = Cursor()
    cursor.is_new("a", NOON)
    mark = cursor.mark(LAG)
    assert Cursor.parse(mark).mark(LAG) == mark
