"""What outlives a run is read as it was written, and damage is told rather than guessed at."""

import gzip
import json
from base64 import b64encode
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from clinical_ai import names
from clinical_ai.errors import NeedsOperator, Transient
from clinical_ai.plans import Journal, Stage
from clinical_ai.ports_cluster import Ref
from clinical_ai.steps.cluster.records import Records
from tests.support.fake_cluster import FakeCluster
from tests.support.objects import config, deployment

JOURNAL = Journal("1", "a worker is replaced", "2026-01-01T00:00:00+00:00")
PACKED = b64encode(gzip.compress(json.dumps([config(a="1")]).encode(), mtime=0))
_TEXT = some.text(max_size=8)
_JOURNALS = some.builds(
    Journal,
    id=_TEXT,
    reason=_TEXT,
    started=_TEXT,
    stage=some.sampled_from(Stage),
    processes=some.lists(_TEXT, max_size=3).map(tuple),
    paused_before=some.dictionaries(_TEXT, some.booleans(), max_size=3),
    outcome=_TEXT,
    reported=some.booleans(),
)


@pytest.fixture
def records() -> Records:
    return Records(FakeCluster().open())


def keep(cluster: Any, name: str, field: str, key: str, value: str) -> None:
    about = {"name": name}
    cluster.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": about, field: {key: value}})


def test_before_the_first_time_there_is_nothing(records: Records) -> None:
    assert records.find_journal() is None
    assert records.read_ledger() == []
    assert records.find_objects() == []


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck), database=None)
@given(journal=_JOURNALS)
def test_a_journal_is_read_as_it_was_written(journal: Journal) -> None:
    records = Records(FakeCluster().open())
    records.write_journal(JOURNAL)
    records.write_journal(journal)
    assert records.find_journal() == journal


def test_the_ledger_keeps_the_order_and_forgets_the_oldest(records: Records) -> None:
    for number in range(53):
        records.write_ledger({"run": number, "by": "ann"})
    assert [entry["run"] for entry in records.read_ledger()] == list(range(3, 53))
    assert records.read_ledger()[-1] == {"run": 52, "by": "ann"}


def test_an_entry_that_is_written_again_since_the_answer_was_lost_is_there_once() -> None:
    fake = FakeCluster()
    records, answer = Records(fake.open()), fake.handle_request

    def cut(request: httpx.Request) -> httpx.Response:
        answered = answer(request)
        if request.method == "PATCH":
            raise httpx.ReadError("reset")
        return answered

    records.write_ledger({"at": "09:00", "run": 1})
    fake.handle_request = cut  # type: ignore[method-assign]
    with pytest.raises(Transient):
        records.write_ledger({"at": "10:00", "run": 2, "changes": ["web updated"]})
    fake.handle_request = answer  # type: ignore[method-assign]
    records.write_ledger({"at": "10:01", "run": 2, "changes": ["web updated"]})
    assert [entry["at"] for entry in records.read_ledger()] == ["09:00", "10:00"]
    records.write_ledger({"at": "11:00", "run": 3, "changes": ["web updated"]})
    assert [entry["run"] for entry in records.read_ledger()] == [1, 2, 3]


def test_the_ledger_of_long_entries_stays_small_enough_for_a_config_map(records: Records) -> None:
    """Else no deploy/self could end well any more."""
    long = ["Deployment web updated: " + "x" * 2_000] * 20
    for number in range(50):
        records.write_ledger({"run": number, "changes": long})
    runs = [entry["run"] for entry in records.read_ledger()]
    assert runs == list(range(runs[0], 50))
    found = records.cluster.find(Ref("v1", "ConfigMap", names.LEDGER))
    assert len(json.dumps(found)) < 1_000_000


def test_good_objects_are_read_as_they_were_written(records: Records) -> None:
    records.write_objects([config(a="1"), deployment(replicas=2)])
    assert records.find_objects() == [config(a="1"), deployment(replicas=2)]
    records.write_objects([config(a="2")])
    assert records.find_objects() == [config(a="2")]


def test_objects_that_were_good_before_are_not_written_again() -> None:
    fake = FakeCluster()
    records = Records(fake.open())
    records.write_objects([config(a="1")])
    fake.requests.clear()
    records.write_objects([config(a="1")])
    assert fake.writes == []


def test_the_same_objects_of_something_else_that_was_wanted_are_written_with_its_mark(
    records: Records,
) -> None:
    assert records.find_mark() == ""
    records.write_objects([config(a="1")], "one")
    records.write_objects([config(a="1")], "other")
    assert (records.find_mark(), records.find_objects()) == ("other", [config(a="1")])


def test_many_objects_fit_into_one_config_map(records: Records) -> None:
    """A ConfigMap holds a megabyte."""
    several = [config(f"c{n}", text="policy " * 1000) for n in range(200)]
    records.write_objects(several)
    found = records.cluster.get(Ref("v1", "ConfigMap", names.GOOD_OBJECTS))
    assert len(json.dumps(found)) < 1_000_000
    assert records.find_objects() == several


@pytest.mark.parametrize(
    ("name", "key", "read"),
    [
        (names.JOURNAL, "journal.json", Records.find_journal),
        (names.LEDGER, "entries.json", Records.read_ledger),
    ],
)
@pytest.mark.parametrize("text", ["", "oops", "{", "1", '{"stage": "odd", "processes": []}', '"x"'])
def test_a_damaged_record_is_told_with_its_name(
    records: Records, name: str, key: str, read: Callable[[Records], object], text: str
) -> None:
    keep(records.cluster, name, "data", key, text)
    with pytest.raises(NeedsOperator, match=f"ConfigMap {name} is damaged") as refused:
        read(records)
    space = records.cluster.namespace
    assert f"`kubectl delete configmap {name} -n {space}`" in refused.value.remedy


@pytest.mark.parametrize(
    "packed",
    [
        b64encode(b"oops"),
        b64encode(gzip.compress(b"oops")),
        b64encode(gzip.compress(b'{"kind": "ConfigMap"}')),
        b64encode(gzip.compress(b"[{}]")),
        b64encode(gzip.compress(b'[{"apiVersion": "v1", "kind": 1, "metadata": {"name": "a"}}]')),
        b64encode(gzip.compress(b'[{"kind": "ConfigMap", "metadata": {"name": "a"}}]')),
        b64encode(gzip.compress(b'[{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {}}]')),
        b64encode(gzip.compress(b'[{"apiVersion": "v1", "kind": "ConfigMap", "metadata": "a"}]')),
        PACKED[:40],
        PACKED[:20] + b"AAAA" + PACKED[24:],
    ],
    ids=[
        "no archive",
        "no JSON",
        "no list",
        "empty",
        "kind",
        "version",
        "name",
        "metadata",
        "cut off",
        "overwritten",
    ],
)
def test_damaged_good_objects_are_told_and_not_taken_for_none(
    records: Records, packed: bytes
) -> None:
    keep(records.cluster, names.GOOD_OBJECTS, "binaryData", "objects.json.gz", packed.decode())
    for use in (records.find_objects, lambda: records.write_objects([])):
        with pytest.raises(NeedsOperator, match=f"ConfigMap {names.GOOD_OBJECTS} is damaged"):
            use()


@given(place=some.integers(0, len(PACKED) - 1), letter=some.sampled_from("AQz9+/="))
@settings(max_examples=60, deadline=None, database=None)
def test_no_damage_goes_by_unnoticed(place: int, letter: str) -> None:
    damaged = PACKED[:place] + letter.encode() + PACKED[place + 1 :]
    cluster = FakeCluster().open()
    keep(cluster, names.GOOD_OBJECTS, "binaryData", "objects.json.gz", damaged.decode())
    with suppress(NeedsOperator):
        assert Records(cluster).find_objects() == [config(a="1")]


def test_each_record_is_told_to_be_the_platforms(records: Records) -> None:
    records.write_journal(JOURNAL)
    records.write_ledger({})
    records.write_objects([config()])
    for name in (names.JOURNAL, names.LEDGER, names.GOOD_OBJECTS):
        found = records.cluster.get(Ref("v1", "ConfigMap", name))
        assert found["metadata"]["labels"] == {"app.kubernetes.io/part-of": names.PRODUCT}
