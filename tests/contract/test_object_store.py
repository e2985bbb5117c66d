"""What every ObjectStore promises, the fake included."""

import string
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from clinical_ai.adapters.folder_storage import FolderStore
from clinical_ai.adapters.s3 import S3Store
from clinical_ai.adapters.s3_access import Access
from clinical_ai.change import Did
from clinical_ai.errors import NeedsOperator
from clinical_ai.ports import ObjectStore
from tests.support.fakes import MemoryStore
from tests.support.s3 import S3Server

CANARY = "erika-mustermann-1964"
_PARTS = some.text(string.ascii_letters + string.digits + " -_.äß=+%", min_size=1, max_size=8)
_NAMES = some.lists(_PARTS.filter(lambda part: set(part) != {"."}), min_size=1, max_size=3)


@pytest.fixture(params=["memory", "folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ObjectStore]:
    if request.param == "memory":
        yield MemoryStore()
    elif request.param == "folder":
        yield FolderStore(tmp_path)
    else:
        server: S3Server = request.getfixturevalue("s3_server")
        keys = server.admin
        yield S3Store(Access(keys.access, keys.secret, endpoint=server.url))


def content(store: ObjectStore, bucket: str, name: str) -> bytes:
    with store.open(bucket, name) as stream:
        return stream.read()


def names_in(store: ObjectStore, bucket: str, prefix: str = "") -> list[str]:
    return [found.name for found in store.list(bucket, prefix)]


def test_a_new_store_has_no_bucket(store: ObjectStore) -> None:
    assert store.buckets() == []


def test_buckets_are_listed_in_order_of_their_names(store: ObjectStore) -> None:
    for bucket in ("raw", "archive", "inbound.2026"):
        store.ensure_bucket(bucket)
    assert store.buckets() == ["archive", "inbound.2026", "raw"]


def test_ensuring_a_bucket_twice_changes_nothing_the_second_time(store: ObjectStore) -> None:
    assert store.ensure_bucket("raw").did is Did.CREATED
    store.put("raw", "kept", b"1")
    assert store.ensure_bucket("raw").did is Did.UNCHANGED
    assert content(store, "raw", "kept") == b"1"


@pytest.mark.parametrize(
    "bucket", ["", "..", "a/b", "Raw", "ab", "raw_data", "-raw", "a..b", "x" * 64]
)
def test_a_bucket_that_s3_would_not_make_is_refused(store: ObjectStore, bucket: str) -> None:
    with pytest.raises(NeedsOperator):
        store.ensure_bucket(bucket)
    assert store.buckets() == []


@pytest.mark.parametrize("data", [b"", b"1", b"\0\xff\r\n", b"0123456789" * 300_000])
def test_what_was_put_is_what_is_read(store: ObjectStore, data: bytes) -> None:
    store.ensure_bucket("raw")
    store.put("raw", "folder/file.bin", data)
    assert content(store, "raw", "folder/file.bin") == data


def test_a_stream_gives_lines_and_pieces(store: ObjectStore) -> None:
    store.ensure_bucket("raw")
    store.put("raw", "file.ndjson", b'{"a": 1}\n{"a": 2}\n')
    with store.open("raw", "file.ndjson") as stream:
        assert stream.readline() == b'{"a": 1}\n'
        assert stream.read(4) == b'{"a"'
        assert list(stream) == [b": 2}\n"]


def test_a_second_put_replaces_the_whole_object(store: ObjectStore) -> None:
    store.ensure_bucket("raw")
    store.put("raw", "file", b"long content")
    store.put("raw", "file", b"short")
    assert content(store, "raw", "file") == b"short"
    assert names_in(store, "raw") == ["file"]


def test_the_etag_changes_with_the_content_and_stays_without(store: ObjectStore) -> None:
    store.ensure_bucket("raw")
    store.put("raw", "file", b"aaaa")
    (first,) = store.list("raw")
    assert list(store.list("raw")) == [first]
    store.put("raw", "file", b"bbbb")
    (second,) = store.list("raw")
    assert first.etag != second.etag


def test_a_listing_tells_size_and_time(store: ObjectStore) -> None:
    store.ensure_bucket("raw")
    store.put("raw", "file", b"12345")
    (found,) = store.list("raw")
    assert found.size == 5
    assert abs(datetime.now(UTC) - found.modified) < timedelta(minutes=1)


@pytest.mark.parametrize(
    ("prefix", "expected"),
    [
        ("", ["a", "b/c/d", "b/c2", "b0", "ä"]),
        ("b", ["b/c/d", "b/c2", "b0"]),
        ("b/", ["b/c/d", "b/c2"]),
        ("b/c", ["b/c/d", "b/c2"]),
        ("b/c/", ["b/c/d"]),
        ("b/c/d", ["b/c/d"]),
        ("b/c/d/", []),
        ("nothing/here", []),
        ("/", []),
        ("../", []),
    ],
)
def test_a_prefix_is_the_beginning_of_names_not_a_folder(
    store: ObjectStore, prefix: str, expected: list[str]
) -> None:
    store.ensure_bucket("raw")
    for name in ("ä", "b0", "b/c2", "b/c/d", "a"):
        store.put("raw", name, b"1")
    assert names_in(store, "raw", prefix) == expected


def test_deleting_twice_leaves_nothing_and_is_no_error(store: ObjectStore) -> None:
    store.ensure_bucket("raw")
    store.put("raw", "folder/file", b"1")
    store.delete("raw", "folder/file")
    store.delete("raw", "folder/file")
    store.delete("raw", "never/there")
    assert names_in(store, "raw") == []


def test_buckets_do_not_share_objects(store: ObjectStore) -> None:
    store.ensure_bucket("raw")
    store.ensure_bucket("archive")
    store.put("raw", "file", b"1")
    assert names_in(store, "archive") == []


def test_an_absent_object_is_refused_without_its_name(store: ObjectStore) -> None:
    store.ensure_bucket("raw")
    with pytest.raises(NeedsOperator) as refused:
        store.open("raw", f"{CANARY}.json")
    assert "raw" in str(refused.value)
    assert CANARY not in f"{refused.value!r} {refused.value}"


def test_an_absent_bucket_is_refused_by_name(store: ObjectStore) -> None:
    for use in (
        lambda: list(store.list("absent")),
        lambda: store.open("absent", CANARY),
        lambda: store.put("absent", CANARY, b"1"),
        lambda: store.delete("absent", CANARY),
    ):
        with pytest.raises(NeedsOperator) as refused:
            use()
        assert "absent" in str(refused.value)
        assert CANARY not in f"{refused.value!r} {refused.value}"
    assert store.buckets() == []


def test_an_object_needs_a_name(store: ObjectStore) -> None:
    store.ensure_bucket("raw")
    with pytest.raises(NeedsOperator):
        store.put("raw", "", b"1")
    assert names_in(store, "raw") == []


def test_any_usual_name_is_kept_to_the_letter(store: ObjectStore) -> None:
    store.ensure_bucket("raw")

    @settings(
        max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), database=None
    )
    @given(parts=_NAMES)
    def kept(parts: list[str]) -> None:
        name = "/".join(parts)
        store.put("raw", name, name.encode())
        assert names_in(store, "raw", name)[0] == name
        assert content(store, "raw", name) == name.encode()
        store.delete("raw", name)

    kept()
