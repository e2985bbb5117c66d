"""Slots whose leases went with the server's pod are free again, and no other."""

from datetime import UTC, datetime
from typing import Any

import pytest

from clinical_ai import names
from clinical_ai.change import Did
from clinical_ai.steps.cluster.leaked_slots import free_leaked_slots
from tests.support.deploying import Namespace
from tests.support.sleeping_runs import runs_without_process, sleeping_runs

BEFORE, BEGAN, AFTER = (f"2026-06-0{day}T00:00:00Z" for day in (1, 2, 3))


class Site(Namespace):
    """A namespace whose server has one pod, which began on the second day."""

    def __init__(self) -> None:
        super().__init__()
        self.pod("server-1", BEGAN)

    def pod(self, name: str, made: str, **about: Any) -> None:
        metadata = {"name": name, "labels": {"app": names.SERVER}, **about}
        self.fake.put({"apiVersion": "v1", "kind": "Pod", "metadata": metadata})
        place = ("v1", "Pod", "default", name)
        self.fake.objects.all[place].content["metadata"]["creationTimestamp"] = made

    def limit(self, name: str, slots: int, updated: str = BEFORE) -> None:
        body = {"name": name, "limit": 9, "active_slots": slots}
        self.prefect.post("/v2/concurrency_limits/", body)
        self.prefect.limits[name]["updated"] = updated

    def active(self, state: str, began: str | None, due: str = BEFORE) -> None:
        run = self.run(names.POOL)
        row = self.prefect.runs[run]
        row |= {"state_type": state, "start_time": began, "expected_start_time": due}

    def taken(self) -> dict[str, int]:
        return {name: row["active_slots"] for name, row in self.prefect.limits.items()}

    def free(self, *, write: bool = True) -> list[tuple[str, Did]]:
        changes = free_leaked_slots(self.cluster, self.prefect, write=write)
        return [(change.what.rpartition(" ")[2], change.did) for change in changes]


@pytest.fixture
def site() -> Site:
    return Site()


def test_slots_taken_before_the_servers_pod_began_are_free(site: Site) -> None:
    site.limit("old", 2)
    site.limit("new", 2, AFTER)
    site.limit("unused", 0)
    assert site.free(write=False) == [("old", Did.LEFT_OVER)]
    assert site.taken() == {"old": 2, "new": 2, "unused": 0}
    assert site.free() == [("old", Did.TIDIED)]
    assert site.taken() == {"old": 0, "new": 2, "unused": 0}
    assert site.free() == []


@pytest.mark.parametrize("state", ["RUNNING", "PENDING", "CANCELLING"])
def test_nothing_is_free_while_a_run_that_is_older_than_the_pod_goes_on(
    site: Site, state: str
) -> None:
    site.limit("old", 1)
    site.active(state, None if state == "PENDING" else BEFORE)
    assert site.free() == []
    assert site.taken() == {"old": 1}


@pytest.mark.parametrize("state", ["AwaitingRetry", "Paused"])
def test_nothing_is_free_while_an_older_run_sleeps_in_its_process(site: Site, state: str) -> None:
    site.limit("old", 1)
    asleep = sleeping_runs(site.prefect, names.POOL)
    for run in asleep.values():
        site.prefect.runs[run]["start_time"] = BEFORE
    run = asleep.pop(state)
    site.end(*asleep.values())
    assert site.free() == []
    site.end(run)
    assert site.free() == [("old", Did.TIDIED)]


def test_a_run_that_left_its_process_holds_no_slot(site: Site) -> None:
    site.limit("old", 1)
    for run in runs_without_process(site.prefect, names.POOL).values():
        site.prefect.runs[run] |= {"start_time": BEFORE, "expected_start_time": BEFORE}
    assert site.free() == [("old", Did.TIDIED)]


@pytest.mark.parametrize(
    ("state", "began"), [("RUNNING", AFTER), ("COMPLETED", BEFORE), ("CRASHED", BEFORE)]
)
def test_a_run_that_is_younger_or_has_ended_holds_no_old_slot(
    site: Site, state: str, began: str
) -> None:
    site.limit("old", 1)
    site.active(state, began, began)
    assert site.free() == [("old", Did.TIDIED)]


def test_the_oldest_pod_counts_while_two_servers_overlap(site: Site) -> None:
    site.pod("server-2", AFTER)
    site.limit("between", 1, "2026-06-02T12:00:00+00:00")
    assert site.free() == []
    assert site.taken() == {"between": 1}


def test_without_a_pod_of_the_server_nobody_knows_and_nothing_is_free(site: Site) -> None:
    site.fake.objects.all.pop(("v1", "Pod", "default", "server-1"))
    site.limit("old", 1)
    assert site.free() == []


def test_a_slot_that_is_taken_meanwhile_stays_taken(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.limit("old", 1)
    real = site.prefect.get

    def late(path: str) -> Any:
        site.prefect.limits["old"] |= {"active_slots": 2, "updated": datetime.now(UTC).isoformat()}
        return real(path)

    monkeypatch.setattr(site.prefect, "get", late)
    assert site.free() == [("old", Did.UNCHANGED)]
    assert site.taken() == {"old": 2}


def test_a_limit_that_vanishes_between_two_looks_is_no_fault(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.limit("old", 1)
    site.limit("older", 1)
    real = site.prefect.get

    def gone(path: str) -> Any:
        site.prefect.limits.pop("old", None)
        return real(path)

    monkeypatch.setattr(site.prefect, "get", gone)
    assert site.free() == [("old", Did.UNCHANGED), ("older", Did.TIDIED)]


def test_a_name_with_a_slash_is_no_hindrance(site: Site) -> None:
    site.limit("tag/with space?", 1)
    assert [did for _, did in site.free()] == [Did.TIDIED]
    assert site.taken() == {"tag/with space?": 0}
