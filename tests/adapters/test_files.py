"""Small files of the state folder: whole or as before."""

import errno
import os
from pathlib import Path

import pytest

from clinical_ai.adapters.files import unwritable, write_atomically
from clinical_ai.errors import NeedsOperator


def test_a_file_is_replaced_whole_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = tmp_path / "record"
    write_atomically(path, "first, which is longer\n")
    write_atomically(path, "größer\n")
    assert path.read_text() == "größer\n"
    assert list(tmp_path.iterdir()) == [path]


def test_who_has_the_old_file_open_goes_on_reading_it(tmp_path: Path) -> None:
    path = tmp_path / "record"
    write_atomically(path, "old")
    with path.open() as reader:
        write_atomically(path, "new")
        assert reader.read() == "old"


def test_only_the_owner_reads_it_unless_said_otherwise(tmp_path: Path) -> None:
    write_atomically(tmp_path / "closed", "x")
    write_atomically(tmp_path / "open", "x", mode=0o644)
    assert (tmp_path / "closed").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "open").stat().st_mode & 0o777 == 0o644


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_it_belongs_to_whoever_runs_the_platform(tmp_path: Path) -> None:
    write_atomically(tmp_path / "record", "x", (65534, 65534))
    seen = (tmp_path / "record").stat()
    assert (seen.st_uid, seen.st_gid) == (65534, 65534)


def test_a_read_only_disk_is_told(read_only_disk: Path) -> None:
    with pytest.raises(NeedsOperator) as met:
        write_atomically(read_only_disk / "record", "x")
    assert "record can't be used: Read-only file system" in met.value.problem
    assert "STATE=folder" in met.value.remedy
    assert list(read_only_disk.iterdir()) == []


def test_a_full_disk_leaves_the_old_file_and_no_half_one(small_disk: Path) -> None:
    path = small_disk / "record"
    write_atomically(path, "old")
    with pytest.raises(NeedsOperator, match=r"No space left on device\. free some disk space"):
        write_atomically(path, "x" * 1_000_000)
    assert path.read_text() == "old"
    assert list(small_disk.iterdir()) == [path]


def test_a_folder_of_somebody_else_is_told(nobodys_folder: Path) -> None:
    nobodys_folder.chmod(0o500)
    with pytest.raises(NeedsOperator, match=r"Permission denied.*correct its owner"):
        write_atomically(nobodys_folder / "record", "x")


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "free some disk space"),
        (errno.EDQUOT, "free some disk space"),
        (errno.EROFS, "read-only"),
        (errno.EPERM, "correct its owner"),
        (errno.EIO, "see whether the disk is sound"),
        (None, "see whether the disk is sound"),
    ],
)
def test_each_cause_has_its_remedy(number: int | None, remedy: str) -> None:
    met = OSError(number, os.strerror(number)) if number else OSError()
    assert remedy in unwritable("/srv/x", met).remedy
