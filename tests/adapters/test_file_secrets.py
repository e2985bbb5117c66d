"""What only a file has to promise: permissions, corrupt content, full disks."""

import os
import stat
import traceback
from pathlib import Path

import pytest
from pydantic import SecretStr

from clinical_ai.adapters.bootstrap_references import resolve
from clinical_ai.adapters.file_secrets import FileSecrets
from clinical_ai.errors import NeedsOperator

CANARY = "hunter2-canary"
REFERENCE = "secret:clinical-ai-test/key"
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to another user")


@pytest.fixture
def store(tmp_path: Path) -> FileSecrets:
    return FileSecrets(tmp_path)


@pytest.fixture
def file(store: FileSecrets, tmp_path: Path) -> Path:
    store.put(REFERENCE, SecretStr(CANARY))
    return tmp_path / "clinical-ai-test" / "key"


def everything_shown(error: BaseException) -> str:
    return "".join(traceback.format_exception(error)) + repr(error)


def test_files_are_private_from_the_start(file: Path) -> None:
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_secret_that_others_can_read_is_refused_with_the_command_to_run(
    store: FileSecrets, file: Path, mode: int
) -> None:
    file.chmod(mode)
    with pytest.raises(NeedsOperator) as refused:
        store.get(REFERENCE)
    assert f"chmod 600 '{file}'" in str(refused.value)
    assert CANARY not in everything_shown(refused.value)


def test_a_folder_where_others_can_plant_a_secret_is_refused(
    store: FileSecrets, file: Path
) -> None:
    file.parent.chmod(0o770)
    with pytest.raises(NeedsOperator, match="chmod 700"):
        store.get(REFERENCE)


@pytest.mark.parametrize("data", [b"", b"\n", b"\0\0\0\0", b"\xff\xfe", CANARY.encode() + b"\0"])
def test_a_corrupt_file_is_neither_a_value_nor_an_absence(
    store: FileSecrets, file: Path, data: bytes
) -> None:
    file.write_bytes(data)
    for use in (
        lambda: store.find(REFERENCE),
        lambda: store.get(REFERENCE),
        lambda: store.ensure(REFERENCE, SecretStr("new")),
    ):
        with pytest.raises(NeedsOperator, match="is damaged") as refused:
            use()
        assert CANARY not in everything_shown(refused.value)
    assert file.read_bytes() == data


def test_one_line_end_that_an_editor_added_is_no_part_of_the_value(
    store: FileSecrets, file: Path
) -> None:
    file.write_text(f"{CANARY}\n")
    assert store.get(REFERENCE).get_secret_value() == CANARY


def test_a_link_is_not_followed(store: FileSecrets, file: Path, tmp_path: Path) -> None:
    target = tmp_path / "elsewhere"
    target.write_text("other")
    target.chmod(0o600)
    file.unlink()
    file.symlink_to(target)
    with pytest.raises(NeedsOperator, match="links are not followed"):
        store.get(REFERENCE)


def test_a_full_disk_keeps_the_old_value(small_disk: Path) -> None:
    store = FileSecrets(small_disk)
    store.put(REFERENCE, SecretStr("old"))
    with pytest.raises(NeedsOperator, match="disk is full") as refused:
        store.put(REFERENCE, SecretStr(CANARY * 100_000))
    assert CANARY not in everything_shown(refused.value)
    assert store.get(REFERENCE).get_secret_value() == "old"


def test_a_missing_folder_is_told_when_a_secret_is_to_be_written(tmp_path: Path) -> None:
    store = FileSecrets(tmp_path / "absent")
    assert store.find(REFERENCE) is None
    with pytest.raises(NeedsOperator, match="clinical-ai up"):
        store.put(REFERENCE, SecretStr(CANARY))


def test_of_two_that_ensure_at_once_the_first_wins(
    store: FileSecrets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other process writes after we looked and before we write."""
    fsync = os.fsync

    def other_is_faster(handle: int) -> None:
        monkeypatch.setattr(os, "fsync", fsync)
        FileSecrets(tmp_path).ensure(REFERENCE, SecretStr("theirs"))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", other_is_faster)
    assert not store.ensure(REFERENCE, SecretStr("ours")).wrote
    assert store.get(REFERENCE).get_secret_value() == "theirs"


@pytest.mark.parametrize(
    ("reference", "told"),
    [
        (
            "vault:secret/data/prefect#url",
            "one machine reads no vault: references.*secret:NAME/KEY",
        ),
        ("env:DATABASE_URL", "read by bootstrap alone.*secret:NAME/KEY"),
        ("file:/run/secrets/url", "read by bootstrap alone.*secret:NAME/KEY"),
    ],
)
def test_references_of_other_places_say_what_to_write_here(
    store: FileSecrets, reference: str, told: str
) -> None:
    with pytest.raises(NeedsOperator, match=told):
        store.get(reference)


@as_root
def test_what_root_writes_belongs_to_the_owner_of_the_store(tmp_path: Path) -> None:
    os.chown(tmp_path, 65534, 65533)
    store = FileSecrets(tmp_path)
    store.ensure(REFERENCE, SecretStr(CANARY))
    store.put("secret:clinical-ai-test/other", SecretStr(CANARY))
    for path in tmp_path.rglob("*"):
        assert (path.stat().st_uid, path.stat().st_gid) == (65534, 65533)


def test_bootstrap_reads_a_variable_and_a_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(f"{CANARY}\n")
    assert resolve("env:KEY", {"KEY": CANARY}).get_secret_value() == CANARY
    assert resolve(f"file:{tmp_path}/key", {}).get_secret_value() == CANARY


@pytest.mark.parametrize(
    ("reference", "told"),
    [
        ("env:KEY", "variable KEY is not set. export KEY"),
        ("env:EMPTY", "variable EMPTY is empty"),
        ("file:/nowhere/key", "/nowhere/key cannot be read: No such file"),
        ("file:/", "/ cannot be read: Is a directory"),
        ("file:/dev/null", "holds no secret"),
        ("file:/dev/zero", "holds no secret"),
        ("file:a\0b", "holds no secret"),
        ("secret:a/b", "not read by bootstrap"),
        ("vault:a/b#c", "not read by bootstrap"),
        (CANARY, "not a reference"),
        (f"{CANARY}:{CANARY}", "not a reference"),
        ("env:", "not a reference"),
    ],
)
def test_a_reference_that_bootstrap_cannot_resolve_says_why_and_shows_no_value(
    reference: str, told: str
) -> None:
    with pytest.raises(NeedsOperator, match=told) as refused:
        resolve(reference, {"EMPTY": "", "OTHER": CANARY})
    assert CANARY not in str(refused.value)
