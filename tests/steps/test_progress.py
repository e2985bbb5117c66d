"""How far a change is stands in one row of its run; a server that is away hinders nothing."""

import logging
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from clinical_ai.ports import PrefectApi
from clinical_ai.steps.progress import progress, unheard
from clinical_ai.waiting import Sighting, wait_until
from tests.support.clock import Clock
from tests.support.fake_prefect import FakePrefect

RUN = "11111111-1111-4111-8111-111111111111"


@pytest.fixture(autouse=True)
def level(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """As in a run, where waits are logged."""
    with caplog.at_level(logging.INFO, "clinical_ai.waiting"):
        yield


def rows(api: PrefectApi) -> list[tuple[Any, Any]]:
    wanted = {"flow_run_id": {"any_": [RUN]}, "key": {"any_": ["a-change"]}}
    found = api.post("/artifacts/filter", {"artifacts": wanted})
    return [(row["data"], row["description"]) for row in found]


def wait_for(what: str, *seen: str) -> None:
    """A wait that sees this, and then its end."""
    looks = iter(
        [*(Sighting(done=False, summary=it) for it in seen), Sighting(done=True, summary="up")]
    )
    wait_until(what, lambda: next(looks), seconds=9)


def test_all_that_is_told_is_one_row_with_the_last_of_it() -> None:
    api = FakePrefect()
    with progress(api, "a-change", RUN) as tell:
        assert rows(api) == []
        tell(0, "begins")
        assert rows(api) == [(0.0, "begins")]
        tell(1 / 3, "a third")
        assert rows(api) == [(33.3, "a third")]
        tell(1, "done")
    assert rows(api) == [(100.0, "done")]
    assert [row["type"] for row in api.artifacts] == ["progress"]


def test_a_change_without_anything_to_tell_leaves_no_row() -> None:
    api = FakePrefect()
    with progress(api, "a-change", RUN):
        unheard(1, "for nobody")
    assert api.artifacts == []


def test_what_a_wait_sees_is_told_at_the_share_that_was_reached(clock: Clock) -> None:
    api, seen = FakePrefect(), list[list[tuple[Any, Any]]]()
    clock.happens(*[lambda: seen.append(rows(api))] * 2)
    with progress(api, "a-change", RUN) as tell:
        tell(0.5, "a workload")
        wait_for("pods", "1 of 2", "2 of 2")
    assert seen == [[(50.0, f"waiting for pods: {it}")] for it in ("1 of 2", "2 of 2")]


def test_waits_of_others_are_not_told_afterwards(clock: Clock) -> None:
    api = FakePrefect()
    with suppress(KeyboardInterrupt), progress(api, "a-change", RUN) as tell:
        tell(0, "begins")
        raise KeyboardInterrupt
    wait_for("others", "not yet")
    assert rows(api) == [(0.0, "begins")]


def test_what_a_server_misses_that_is_away_is_left_out_and_the_change_goes_on() -> None:
    api = FakePrefect()
    with progress(api, "a-change", RUN) as tell:
        api.down = True
        tell(0.1, "unheard")
        api.down = False
        tell(0.2, "heard")
        api.down = True
        tell(0.9, "unheard again")
        api.down = False
        assert rows(api) == [(20.0, "heard")]
        tell(1, "done")
    assert rows(api) == [(100.0, "done")]


def test_a_row_that_somebody_deletes_hinders_nothing() -> None:
    api = FakePrefect()
    with progress(api, "a-change", RUN) as tell:
        tell(0, "begins")
        api.artifacts.clear()
        tell(1, "done")
    assert api.artifacts == []
