"""Who has a port: this platform, somebody else, nobody."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from clinical_ai.adapters.listeners import check_port, is_free, listens, port_of
from clinical_ai.errors import NeedsOperator
from tests.support.listener import Listener

only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes somebody else")


@pytest.fixture
def somebody() -> Iterator[Listener]:
    with Listener() as listener:
        yield listener


@pytest.fixture
def ours(tmp_path: Path) -> Iterator[Listener]:
    with Listener(CLINICAL_AI_STATE=str(tmp_path), CLINICAL_AI_SPEC="x") as listener:
        yield listener


def refused(api: str, root: Path, inner: tuple[int, ...] = ()) -> NeedsOperator:
    with pytest.raises(NeedsOperator) as met:
        check_port(api, root, inner)
    return met.value


def test_only_a_process_of_this_folder_makes_a_port_ours(
    ours: Listener, somebody: Listener, tmp_path: Path
) -> None:
    assert listens(tmp_path, ours.port)
    assert not listens(tmp_path / "other", ours.port)
    assert not listens(tmp_path, somebody.port)
    assert not is_free(ours.port)


def test_a_port_of_ours_is_no_fault_and_one_of_another_is_told_with_its_process(
    ours: Listener, somebody: Listener, tmp_path: Path
) -> None:
    assert check_port(ours.api, tmp_path) == f"port {ours.port}"
    told = refused(somebody.api, tmp_path)
    assert told.problem.startswith(f"port {somebody.port} is taken by process ")
    assert f" {somebody.process.pid} (" in told.problem
    assert told.remedy.endswith(f"make up PORT={somebody.port + 1}")
    assert f"port {ours.port} is taken" in str(refused(ours.api, tmp_path / "other"))
    ours.end()
    assert check_port(ours.api, tmp_path / "other") == f"port {ours.port}", "it is free again"


def test_the_database_does_not_share_its_port(ours: Listener, tmp_path: Path) -> None:
    told = refused(ours.api, tmp_path, (ours.port,))
    assert told.problem == f"port {ours.port} is that of another part of this platform"


def test_a_port_that_is_bound_and_does_not_listen_is_taken_too(tmp_path: Path) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        told = refused(f"http://127.0.0.1:{port}/api", tmp_path)
    assert told.problem == f"port {port} is taken by a process that does not listen yet"


def test_no_port_is_offered_that_does_not_exist(tmp_path: Path) -> None:
    with socket.socket() as last:
        last.bind(("127.0.0.1", 65535))
        last.listen()
        told = refused("http://127.0.0.1:65535/api", tmp_path)
    assert told.remedy.endswith("PORT=65534")


@only_root
def test_a_port_of_another_user_is_taken_though_nobody_may_see_by_whom(
    somebody: Listener, nobodys_folder: Path
) -> None:
    told = refused(somebody.api, nobodys_folder)
    assert told.problem == f"port {somebody.port} is taken by a process of another user"


def test_a_low_port_is_for_root(nobodys_folder: Path) -> None:
    assert "port 1 is for root only" in str(refused("http://127.0.0.1:1/api", nobodys_folder))


def test_an_address_without_a_port_has_that_of_http() -> None:
    assert [port_of(a) for a in ("http://h/api", "http://h:81/api")] == [80, 81]
