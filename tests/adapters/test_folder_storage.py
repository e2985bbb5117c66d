"""What only a folder has to promise: permissions, links, full disks, kills."""

import errno
import os
import stat
import time
import traceback
from pathlib import Path

import pytest

from clinical_ai.adapters.folder_storage import FolderStore
from clinical_ai.adapters.owned_tree import explain
from clinical_ai.errors import NeedsOperator

CANARY = "erika-mustermann-1964"
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to another user")


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    store = FolderStore(tmp_path)
    store.ensure_bucket("raw")
    return store


@pytest.fixture
def outside(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("outside")
    (folder / "secret").write_text(CANARY)
    return folder


def names_in(store: FolderStore, bucket: str = "raw", prefix: str = "") -> list[str]:
    return [found.name for found in store.list(bucket, prefix)]


def everything_shown(error: BaseException) -> str:
    return "".join(traceback.format_exception(error)) + repr(error)


@pytest.mark.parametrize(
    "name",
    ["/etc/passwd", "../other", "a/../../b", "a//b", "a/", ".", "a/./b", "a\0b", ".unfinished-1"],
)
def test_a_name_that_is_no_path_below_the_bucket_is_refused(store: FolderStore, name: str) -> None:
    for use in (
        lambda: store.put("raw", name, b"1"),
        lambda: store.open("raw", name),
        lambda: store.delete("raw", name),
    ):
        with pytest.raises(NeedsOperator, match="not a path below the bucket") as refused:
            use()
        assert name == "." or name not in str(refused.value)
    assert names_in(store) == []


@pytest.mark.parametrize("bucket", ["..", ".", "raw/..", "/", ".hidden", "raw\0"])
def test_a_bucket_is_never_another_folder(store: FolderStore, tmp_path: Path, bucket: str) -> None:
    (tmp_path / ".hidden").mkdir()
    with pytest.raises(NeedsOperator, match="there is no bucket"):
        store.put(bucket, "file", b"1")
    assert store.buckets() == ["raw"]


def test_a_link_to_a_file_outside_is_neither_listed_nor_read_nor_written(
    store: FolderStore, tmp_path: Path, outside: Path
) -> None:
    (tmp_path / "raw" / "link").symlink_to(outside / "secret")
    assert names_in(store) == []
    with pytest.raises(NeedsOperator, match="links are not followed"):
        store.open("raw", "link")
    store.put("raw", "link", b"1")
    assert (outside / "secret").read_text() == CANARY


def test_a_link_to_a_folder_outside_is_not_entered(
    store: FolderStore, tmp_path: Path, outside: Path
) -> None:
    (tmp_path / "raw" / "link").symlink_to(outside)
    assert names_in(store) == []
    assert names_in(store, prefix="link/") == []
    for use in (
        lambda: store.open("raw", "link/secret"),
        lambda: store.put("raw", "link/new", b"1"),
        lambda: store.put("raw", "link/below/new", b"1"),
        lambda: store.delete("raw", "link/secret"),
    ):
        with pytest.raises(NeedsOperator, match="links are not followed"):
            use()
    assert [path.name for path in outside.iterdir()] == ["secret"]


def test_a_link_is_no_bucket(store: FolderStore, tmp_path: Path, outside: Path) -> None:
    (tmp_path / "link").symlink_to(outside)
    assert store.buckets() == ["raw"]
    with pytest.raises(NeedsOperator, match="links are not followed"):
        store.ensure_bucket("link")


def test_a_named_pipe_is_no_object_and_nobody_waits_for_it(
    store: FolderStore, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "raw" / "pipe")
    assert names_in(store) == []
    with pytest.raises(NeedsOperator):
        store.open("raw", "pipe")


def test_an_object_cannot_be_where_a_folder_is(store: FolderStore) -> None:
    store.put("raw", "a/b", b"1")
    with pytest.raises(NeedsOperator, match="where something else belongs"):
        store.put("raw", "a", b"2")
    with pytest.raises(NeedsOperator, match="where something else belongs"):
        store.put("raw", "a/b/c", b"2")
    assert names_in(store) == ["a/b"]


def test_no_error_tells_the_name_of_an_object(store: FolderStore, tmp_path: Path) -> None:
    (tmp_path / "raw" / CANARY).mkdir()
    for use in (
        lambda: store.put("raw", CANARY, b"1"),
        lambda: store.open("raw", CANARY),
        lambda: store.open("raw", f"{CANARY}-absent"),
        lambda: store.open("raw", f"{CANARY}/../x"),
        lambda: store.put("raw", CANARY * 20, b"1"),
    ):
        with pytest.raises(NeedsOperator) as refused:
            use()
        assert CANARY not in everything_shown(refused.value)


def test_what_a_killed_writer_left_is_no_object_and_is_swept(
    store: FolderStore, tmp_path: Path
) -> None:
    left, running = (tmp_path / "raw" / f".unfinished-{n}" for n in "12")
    for path in (left, running):
        path.write_bytes(b"half")
    os.utime(left, (time.time() - 7200,) * 2)
    assert names_in(store) == []
    store.ensure_bucket("raw")
    assert not left.exists()
    assert running.exists()


def test_an_edit_in_place_of_the_same_size_changes_the_etag(
    store: FolderStore, tmp_path: Path
) -> None:
    store.put("raw", "file", b"aaaa")
    path = tmp_path / "raw" / "file"
    os.utime(path, (1, 1))
    (before,) = store.list("raw")
    path.write_bytes(b"bbbb")
    os.utime(path, (1, 1))
    (after,) = store.list("raw")
    assert (before.size, before.modified) == (after.size, after.modified)
    assert before.etag != after.etag


def test_a_full_disk_keeps_the_old_object_and_says_what_to_do(small_disk: Path) -> None:
    store = FolderStore(small_disk)
    store.ensure_bucket("raw")
    store.put("raw", CANARY, b"old")
    with pytest.raises(NeedsOperator, match="disk is full") as refused:
        store.put("raw", CANARY, b"x" * 1_000_000)
    assert CANARY not in everything_shown(refused.value)
    with store.open("raw", CANARY) as stream:
        assert stream.read() == b"old"
    assert [path.name for path in (small_disk / "raw").iterdir()] == [CANARY]
    store.put("raw", "small", b"x" * 1000)


def test_a_read_only_disk_is_told(read_only_disk: Path) -> None:
    with pytest.raises(NeedsOperator, match="read-only"):
        FolderStore(read_only_disk).ensure_bucket("raw")


def test_a_fault_of_the_disk_is_told_by_its_name_alone() -> None:
    told = explain(OSError(errno.EIO, CANARY, CANARY), "bucket raw")
    assert str(told) == "bucket raw: EIO. check the disk and the kernel's log."


def test_a_store_without_its_folder_is_not_an_empty_store(tmp_path: Path) -> None:
    with pytest.raises(NeedsOperator, match="clinical-ai up"):
        FolderStore(tmp_path / "absent").buckets()


def test_a_folder_that_may_not_be_read_is_not_an_empty_one(nobodys_folder: Path) -> None:
    store = FolderStore(nobodys_folder)
    store.ensure_bucket("raw")
    store.put("raw", f"{CANARY}/file", b"1")
    (nobodys_folder / "raw" / CANARY).chmod(0)
    for use in (
        lambda: list(store.list("raw")),
        lambda: store.open("raw", f"{CANARY}/file"),
        lambda: store.put("raw", f"{CANARY}/other", b"1"),
    ):
        with pytest.raises(NeedsOperator, match="not permitted") as refused:
            use()
        assert CANARY not in everything_shown(refused.value)


def test_nobody_else_on_the_machine_can_read_an_object(store: FolderStore, tmp_path: Path) -> None:
    store.put("raw", "a/b", b"1")
    for path in (tmp_path / "raw", tmp_path / "raw" / "a", tmp_path / "raw" / "a" / "b"):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0


@as_root
def test_what_root_writes_belongs_to_the_owner_of_the_store(tmp_path: Path) -> None:
    os.chown(tmp_path, 65534, 65533)
    store = FolderStore(tmp_path)
    store.ensure_bucket("raw")
    store.put("raw", "a/b", b"1")
    for path in tmp_path.rglob("*"):
        assert (path.stat().st_uid, path.stat().st_gid) == (65534, 65533)


@as_root
def test_a_folder_that_a_killed_root_made_is_given_to_the_owner_after_all(tmp_path: Path) -> None:
    (tmp_path / "raw" / "a").mkdir(parents=True)
    os.chown(tmp_path, 65534, 65534)
    os.chown(tmp_path / "raw", 65534, 65534)
    FolderStore(tmp_path).put("raw", "a/b", b"1")
    assert (tmp_path / "raw" / "a").stat().st_uid == 65534
