"""The file that tells everybody else where this platform is."""

from pathlib import Path

import pytest

from clinical_ai.errors import NeedsOperator
from clinical_ai.instance import Instance, document, find_instance, get_instance, parse_instance
from clinical_ai.state_folder import StateFolder

INSTANCE = Instance(
    api_url="http://127.0.0.1:4200/api",
    auth=True,
    database_port=15432,
    worker_health_port=18080,
    platform_worker_health_port=18081,
    release="0123456789ab",
)


@pytest.fixture
def state(tmp_path: Path) -> StateFolder:
    found = StateFolder(tmp_path)
    found.record.mkdir()
    return found


def test_an_instance_comes_back_from_its_file(state: StateFolder) -> None:
    state.instance.write_text(document(INSTANCE))
    assert find_instance(state) == INSTANCE == get_instance(state)
    assert INSTANCE.ui_url == "http://127.0.0.1:4200"


def test_nothing_installed_is_an_answer_and_for_who_needs_one_an_error(tmp_path: Path) -> None:
    assert find_instance(StateFolder(tmp_path / "absent")) is None
    (file := tmp_path / "file").touch()
    assert find_instance(StateFolder(file)) is None
    with pytest.raises(NeedsOperator, match=r"no platform is installed in .*run `make up` first"):
        get_instance(StateFolder(tmp_path))


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"\xff\xfe\0",
        b"[]",
        b"null",
        b'{"api_url": "http://h/api"}',
        document(INSTANCE).encode()[:-9],
        document(INSTANCE).replace("15432", '"many"').encode(),
        document(INSTANCE).replace('"auth"', '"more": 1, "auth"').encode(),
    ],
    ids=["empty", "binary", "list", "null", "keys missing", "cut off", "type", "unknown key"],
)
def test_a_damaged_file_is_refused_with_what_to_do(state: StateFolder, damage: bytes) -> None:
    state.instance.write_bytes(damage)
    with pytest.raises(NeedsOperator, match="is damaged") as told:
        find_instance(state)
    assert str(state.instance) in told.value.problem
    assert "no data is in it" in told.value.remedy
    with pytest.raises(NeedsOperator):
        parse_instance("{", state.instance)


def test_a_platform_of_another_user_is_told(nobodys_folder: Path) -> None:
    state = StateFolder(nobodys_folder)
    state.record.mkdir(mode=0)
    with pytest.raises(NeedsOperator, match="belongs to another user"):
        find_instance(state)
