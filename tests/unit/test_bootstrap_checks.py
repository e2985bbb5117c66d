"""Each fault that stands in the way, met by real means: disks, owners, sockets, processes."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp

import pytest
from certifi import where

from bootstrap import checks
from bootstrap.request import Request, parse_request
from clinical_ai import names
from clinical_ai.adapters.file_secrets import FileSecrets
from clinical_ai.errors import ManyFaults, NeedsOperator
from clinical_ai.settings import Development, parse
from clinical_ai.state_folder import StateFolder
from clinical_ai.steps.local_secrets import ensure_secrets
from tests.support.listener import Listener

NOBODY = (65534, 65534)
only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root sees what others may do")


@pytest.fixture
def state() -> Iterator[StateFolder]:
    """A short path, open to everybody, where nothing is yet."""
    parent = Path(mkdtemp(prefix="cai-", dir="/tmp"))
    parent.chmod(0o755)
    yield StateFolder(parent / "s")
    rmtree(parent)


@pytest.fixture
def installed(state: StateFolder) -> StateFolder:
    """As an installation leaves it."""
    for folder in (state.root, *state.owned(), state.releases, state.postgres):
        folder.mkdir()
    ensure_secrets(FileSecrets(state.secrets), 15432)
    (state.data / "PG_VERSION").write_text("18\n")
    return state


def asked(state: StateFolder) -> Request:
    return parse_request(["--state", str(state.root)], {})


def fault(state: StateFolder, user: tuple[int, int] | None = None) -> NeedsOperator:
    with pytest.raises(NeedsOperator) as met:
        checks.check_folder(state, user)
    return met.value


def test_a_read_only_disk_is_told_even_to_root(read_only_disk: Path) -> None:
    for root in (read_only_disk, read_only_disk / "below"):
        told = fault(StateFolder(root))
        assert told.problem == f"{read_only_disk} can't be written: Read-only file system"
        assert "STATE=folder" in told.remedy


def test_a_full_disk_is_told_with_what_is_needed(small_disk: Path) -> None:
    with pytest.raises(NeedsOperator, match="has 0 MB free, 1500 MB are needed"):
        checks.check_disk(StateFolder(small_disk / "new"))
    old = StateFolder(small_disk)
    old.record.mkdir()
    old.instance.touch()
    with pytest.raises(NeedsOperator, match="has 0 MB free, 300 MB are needed"):
        checks.check_disk(old)
    few = ["mount", "-o", "remount,nr_inodes=4", str(small_disk)]
    subprocess.run(["/usr/bin/env", *few], check=True)
    (small_disk / "last").mkdir()
    told = fault(StateFolder(small_disk / "new"))
    assert told.problem == f"{small_disk} can't be written: No space left on device"
    assert told.remedy == "free some disk space"


@only_root
def test_a_folder_of_somebody_else_is_told_with_its_owner(
    installed: StateFolder, nobodys_folder: Path
) -> None:
    told = fault(installed)
    assert told.problem == f"{installed.root} can't be written: Permission denied"
    assert "belongs to uid 0" in told.remedy
    assert fault(StateFolder(installed.root.parent / "new")).problem.startswith(
        str(installed.root.parent)
    )
    os.seteuid(0)
    installed.root.chmod(0o777)
    os.seteuid(NOBODY[0])
    told = fault(installed)
    assert told.problem == f"{installed.root} belongs to uid 0"
    assert told.remedy == "run this as its owner, or as root"


def test_a_folder_that_the_caller_can_not_enter_is_a_fault_beside_the_others(
    nobodys_folder: Path,
) -> None:
    (closed := nobodys_folder / "closed").mkdir(mode=0)
    state = StateFolder(closed / "state")
    with pytest.raises(ManyFaults) as met:
        checks.check(asked(state), parse({"ca-bundle": "/nonexistent"}), None)
    told = str(met.value)
    assert f"{closed} can't be written: Permission denied" in told
    assert "ca-bundle /nonexistent can't be read" in told


@only_root
@pytest.mark.parametrize(
    ("owner", "mode", "enters"),
    [
        (NOBODY, 0o100, True),
        ((0, NOBODY[1]), 0o010, True),
        ((0, 0), 0o001, True),
        (NOBODY, 0o011, False),
        ((0, NOBODY[1]), 0o101, False),
        ((0, 0), 0o770, False),
    ],
)
def test_the_service_user_enters_by_his_own_bit_of_every_folder_above(
    state: StateFolder, owner: tuple[int, int], mode: int, *, enters: bool
) -> None:
    (above := state.root / "above").mkdir(parents=True)
    os.chown(above, *owner)
    above.chmod(mode)
    below = StateFolder(above / "state")
    if enters:
        assert checks.check_folder(below, NOBODY) == f"state folder {below.root}"
    else:
        told = fault(below, NOBODY)
        assert told.problem == f"the service user {names.SERVICE_USER} can't enter {above}"
        assert f"chmod o+x {above}" in told.remedy
    assert checks.check_folder(below, None)


@pytest.mark.parametrize("letter", [*checks.ODD_LETTERS, "\n", "\t", "\x7f"], ids=repr)
def test_a_path_that_configurations_can_not_hold_is_refused(
    state: StateFolder, letter: str
) -> None:
    told = fault(StateFolder(state.root / f"a{letter}b"))
    assert "STATE=folder" in told.remedy
    assert told.problem.isprintable()


@pytest.mark.parametrize("name", ["a b", "größe", "a,b=c"])
def test_other_paths_are_fine(state: StateFolder, name: str) -> None:
    assert checks.check_folder(StateFolder(state.root / name), None)


def test_a_link_that_leads_nowhere_is_not_a_folder(state: StateFolder) -> None:
    state.root.symlink_to("/nonexistent/x")
    assert fault(state).problem == f"{state.root} is not a folder"


def test_three_of_the_foreign_files_are_named(state: StateFolder) -> None:
    state.root.mkdir()
    for name in ("d", "b", "a", "c", "record", ".hidden"):
        (state.root / name).touch()
    assert "holds something else (a, b, c)" in fault(state).problem


def test_data_that_can_not_be_read_is_told(installed: StateFolder, nobodys_folder: Path) -> None:
    state = StateFolder(nobodys_folder)
    state.data.mkdir(mode=0)
    with pytest.raises(NeedsOperator, match="can't be read: Permission denied"):
        checks.check_data(state)


@pytest.mark.parametrize("version", [b"17\n", b"", b"\xff\0"], ids=["17", "empty", "binary"])
def test_data_of_another_or_no_version_is_refused(installed: StateFolder, version: bytes) -> None:
    assert checks.check_data(installed) == "PostgreSQL 18 data"
    (installed.data / "PG_VERSION").write_bytes(version)
    with pytest.raises(NeedsOperator, match="this release runs 18"):
        checks.check_data(installed)


@pytest.mark.parametrize("name", ["instance", "journal", "applied"])
def test_a_binary_record_is_damaged(installed: StateFolder, name: str) -> None:
    path: Path = getattr(installed, name)
    path.write_bytes(b"\xff\xfe\0{")
    with pytest.raises(ManyFaults, match=rf"{path} is damaged\. remove it"):
        checks.check(asked(installed), None, None)


def test_a_cut_off_or_binary_ledger_stops_nothing(installed: StateFolder) -> None:
    installed.ledger.write_bytes(b'{"release": "1"}\n\xff\xfe\n{"cut')
    assert checks.check_record(installed) == "1 ledger entries"


def test_a_secret_that_everybody_reads_is_told_once(installed: StateFolder) -> None:
    assert checks.check_secrets(installed) == "4 secrets"
    path = installed.secrets / names.DATABASE_URL.removeprefix("secret:")
    path.chmod(0o644)
    with pytest.raises(ManyFaults) as met:
        checks.check_secrets(installed)
    (told,) = met.value.faults
    assert told.problem == f"{path} is open to other users of this machine"
    assert told.remedy == f"run `chmod 600 '{path}'`"


@pytest.mark.parametrize("platform", ["win32", "freebsd14"])
def test_a_platform_without_postgresql_is_told(
    platform: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert checks.check_machine() == f"Python {sys.version.split()[0]} on {sys.platform}"
    monkeypatch.setattr(sys, "platform", platform)
    with pytest.raises(NeedsOperator, match=rf"\({platform}\).*use Linux or macOS"):
        checks.check_machine()


def test_everything_that_is_wrong_is_told_at_once_each_with_its_remedy(
    installed: StateFolder,
) -> None:
    (installed.root / "thesis.tex").touch()
    (installed.data / "PG_VERSION").write_text("17\n")
    installed.journal.write_text("{")
    installed.instance.write_text("[]")
    (installed.secrets / names.ENCRYPTION_KEY.removeprefix("secret:")).unlink()
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        settings = parse(
            {
                "prefect-api-url": f"https://127.0.0.1:{port}/api",
                "ca-bundle": "/nonexistent.pem",
                "minio-endpoint": "http://127.0.0.1:9000",
                "minio-access-key": "vault:kv/minio#key",
            }
        )
        with pytest.raises(ManyFaults) as met:
            checks.check(asked(installed), settings, None)
    lines = str(met.value).splitlines()
    wanted = [
        "holds something else (thesis.tex)",
        "was made by PostgreSQL 17",
        "instance.json is damaged",
        f"what opens it is gone: {names.ENCRYPTION_KEY}",
        "journal.json is damaged",
        "on the loopback only",
        "ca-bundle /nonexistent.pem can't be read: No such file or directory",
        "minio-access-key is a vault: reference",
        "minio-secret-key: secret:",
        f"port {port} is taken by process {os.getpid()}",
    ]
    assert len(lines) == len(wanted)
    for line, text in zip(lines, wanted, strict=True):
        assert text in line
    assert all(one.remedy for one in met.value.faults)


def test_a_sound_folder_is_found_good_and_left_as_it_is(installed: StateFolder) -> None:
    before = sorted(installed.root.rglob("*"))
    free = Listener()
    free.end()
    found = checks.check(asked(installed), Development(prefect_api_url=free.api), None)
    assert f"state folder {installed.root}" in found
    assert found[-1] == f"port {free.port}"
    assert sorted(installed.root.rglob("*")) == before


@only_root
def test_a_bundle_that_only_root_reads_is_no_bundle_of_the_service_user(
    state: StateFolder, tmp_path: Path
) -> None:
    bundle = tmp_path / "ca.pem"
    bundle.write_text(Path(where()).read_text())
    settings = Development(ca_bundle=str(bundle))
    secrets = FileSecrets(state.secrets)
    tmp_path.chmod(0o700)
    with pytest.raises(ManyFaults, match=r"ca\.pem can't be read by the service user"):
        checks.check_settings(settings, secrets, {}, NOBODY)
    assert checks.check_settings(settings, secrets, {}, None)
