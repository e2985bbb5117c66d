"""How errors read, and that they survive Prefect's pickling."""

import pickle

import pytest

from clinical_ai.errors import (
    ManyFaults,
    NeedsOperator,
    PlatformError,
    TimedOut,
    Transient,
    nearest,
)


@pytest.mark.parametrize(
    ("problem", "remedy", "sentences"),
    [
        ("the disk is full", "free some space", "the disk is full. free some space."),
        ("the disk is full.", "free some space.", "the disk is full. free some space."),
        ("unknown key 'a'", "did you mean 'b'?", "unknown key 'a'. did you mean 'b'?"),
        ("it stopped!", "start it", "it stopped! start it."),
        ("nothing can be done", "", "nothing can be done."),
    ],
)
def test_problem_and_remedy_read_as_two_sentences(
    problem: str, remedy: str, sentences: str
) -> None:
    assert str(NeedsOperator(problem, remedy)) == sentences


def test_many_faults_are_told_a_line_each() -> None:
    faults = ManyFaults([NeedsOperator("a is wrong", "mend a"), NeedsOperator("b", "mend b")])
    assert str(faults) == "- a is wrong. mend a.\n- b. mend b."


@pytest.mark.parametrize(
    "error",
    [
        Transient("away"),
        TimedOut("late"),
        NeedsOperator("a is wrong", "mend a"),
        ManyFaults([NeedsOperator("a is wrong", "mend a")]),
    ],
)
def test_every_error_survives_pickling(error: PlatformError) -> None:
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert getattr(copy, "remedy", None) == getattr(error, "remedy", None)


def test_an_expired_wait_may_be_tried_again() -> None:
    assert issubclass(TimedOut, Transient)


@pytest.mark.parametrize(
    ("wrong", "known", "offer"),
    [
        ("minio-endpont", ["minio-endpoint", "aws-region"], "did you mean 'minio-endpoint'?"),
        ("zzz", ["b", "a"], "known are: a, b"),
        ("zzz", [], "none is known yet"),
    ],
)
def test_the_nearest_name_is_offered_or_all_are_listed(
    wrong: str, known: list[str], offer: str
) -> None:
    assert nearest(wrong, known) == offer
