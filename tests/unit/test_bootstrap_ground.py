"""Folders and ports of one platform, beside others on the same machine."""

import os
import socket
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from bootstrap.ground import Ground, choose_instance, ensure_folders, lost_a_port
from clinical_ai.change import Did
from clinical_ai.errors import NeedsOperator
from clinical_ai.instance import Instance, document
from clinical_ai.settings import Development
from clinical_ai.state_folder import StateFolder

NOBODY = (65534, 65534)


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    return Ground(StateFolder(tmp_path / "state"), tmp_path, None)


@contextmanager
def taken(*ports: int) -> Iterator[None]:
    with ExitStack() as held:
        for port in ports:
            other = held.enter_context(socket.socket())
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            other.bind(("127.0.0.1", port))
            other.listen()
        yield


def kept(ground: Ground, instance: Instance) -> None:
    ground.state.record.mkdir(parents=True, exist_ok=True)
    ground.state.instance.write_text(document(instance))


def test_folders_are_made_once_and_closed_to_others(ground: Ground) -> None:
    made = ensure_folders(ground)
    assert {change.did for change in made} == {Did.CREATED}
    for path in (ground.state.root, *ground.state.owned()):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert {change.did for change in ensure_folders(ground)} == {Did.UNCHANGED}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives folders away")
def test_the_service_user_owns_what_it_writes_and_enters_the_rest(ground: Ground) -> None:
    ensure_folders(Ground(ground.state, ground.checkout, NOBODY))
    state = ground.state
    for path in state.owned():
        seen = path.stat()
        assert (seen.st_uid, seen.st_gid, stat.S_IMODE(seen.st_mode)) == (*NOBODY, 0o700)
    for path in (state.root, state.releases, state.postgres):
        seen = path.stat()
        assert (seen.st_uid, stat.S_IMODE(seen.st_mode)) == (0, 0o755)
    os.chown(state.logs, 0, 0)
    ensure_folders(Ground(state, ground.checkout, NOBODY))
    assert state.logs.stat().st_uid == NOBODY[0], "what somebody changed is mended"


def test_a_file_where_a_folder_belongs_is_told(ground: Ground) -> None:
    ground.state.root.mkdir()
    ground.state.logs.touch()
    with pytest.raises(NeedsOperator, match=r"logs can't be used: File exists"):
        ensure_folders(ground)


def test_a_first_installation_takes_ports_that_nobody_has(ground: Ground) -> None:
    settings = Development(prefect_api_url="http://127.0.0.1:4999/api", auth="none")
    first = choose_instance(ground, settings, "0123", stopped=True)
    assert len({*first.inner_ports}) == 3
    assert (first.api_url, first.auth, first.release) == (settings.prefect_api_url, False, "0123")
    with taken(*first.inner_ports):
        second = choose_instance(ground, Development(), "0123", stopped=True)
    assert not {*first.inner_ports} & {*second.inner_ports}
    assert second.auth


def test_a_platform_keeps_its_ports_(ground: Ground) -> None:
    before = choose_instance(ground, Development(), "old", stopped=True)
    kept(ground, before)
    for stopped in (True, False):
        after = choose_instance(ground, Development(), "new", stopped=stopped)
        assert after.inner_ports == before.inner_ports
        assert after.release == "new"


def test_only_a_stopped_platform_moves_away_from_a_port_that_somebody_took(
    ground: Ground,
) -> None:
    before = choose_instance(ground, Development(), "old", stopped=True)
    kept(ground, before)
    with taken(before.database_port):
        running = choose_instance(ground, Development(), "old", stopped=False)
        stopped = choose_instance(ground, Development(), "old", stopped=True)
    assert running.inner_ports == before.inner_ports, "while it runs, it is itself who has them"
    assert stopped.database_port not in before.inner_ports
    assert stopped.inner_ports[1:] == before.inner_ports[1:]


def test_a_part_never_takes_the_port_of_the_api(ground: Ground) -> None:
    free = choose_instance(ground, Development(), "new", stopped=True)
    for port in free.inner_ports:
        settings = Development(prefect_api_url=f"http://127.0.0.1:{port}/api")
        assert port not in choose_instance(ground, settings, "new", stopped=True).inner_ports


def test_platforms_that_are_installed_at_the_same_moment_try_other_ports(ground: Ground) -> None:
    states = [StateFolder(Path(f"/srv/{number}")) for number in range(5)]
    grounds = [Ground(state, ground.checkout, None) for state in states]
    chosen = [choose_instance(one, Development(), "new", stopped=True) for one in grounds]
    assert len({port for instance in chosen for port in instance.inner_ports}) == 15


def test_a_port_that_somebody_else_has_is_lost(ground: Ground) -> None:
    found = choose_instance(ground, Development(), "old", stopped=True)
    assert not lost_a_port(found, ground.state.root)
    with taken(found.inner_ports[1]):
        assert lost_a_port(found, ground.state.root)


@pytest.mark.parametrize("which", [0, 1, 2])
def test_no_two_processes_get_the_same_port_after_a_move(ground: Ground, which: int) -> None:
    before = choose_instance(ground, Development(), "old", stopped=True)
    kept(ground, before)
    with taken(before.inner_ports[which]):
        after = choose_instance(ground, Development(), "old", stopped=True)
    assert len({*after.inner_ports}) == 3
    assert after.inner_ports[which] != before.inner_ports[which]
