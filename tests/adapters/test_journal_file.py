"""What a state folder remembers beside Prefect's database."""

import os
from pathlib import Path

import pytest

from clinical_ai.adapters.journal_file import StateFiles
from clinical_ai.errors import ManyFaults, NeedsOperator
from clinical_ai.plans import Journal, Stage
from clinical_ai.settings import Development, Production
from clinical_ai.state_folder import StateFolder


@pytest.fixture
def state(tmp_path: Path) -> StateFolder:
    found = StateFolder(tmp_path)
    found.record.mkdir()
    return found


def test_a_new_folder_remembers_nothing(state: StateFolder) -> None:
    files = StateFiles(state)
    assert files.find_journal() is None
    assert files.find_applied() is None
    assert files.ledger() == []


def test_a_journal_is_there_for_the_next_process(state: StateFolder) -> None:
    journal = Journal("1", "make up", "now").held({"default": False})
    StateFiles(state).write_journal(journal)
    assert StateFiles(state).find_journal() == journal
    StateFiles(state).write_journal(journal.ended(Stage.DONE, "fine").told())
    found = StateFiles(state).find_journal()
    assert found is not None
    assert not found.open
    assert found.reported


@pytest.mark.parametrize(
    "settings", [Development(auth="none"), Production(aws_region="eu-central-1")], ids=type
)
def test_applied_settings_come_back_in_their_environment(
    state: StateFolder, settings: Development | Production
) -> None:
    StateFiles(state).write_applied(settings)
    assert StateFiles(state).find_applied() == settings


def test_the_ledger_grows_and_forgets_only_what_a_crash_cut_off(state: StateFolder) -> None:
    files = StateFiles(state)
    for number in range(3):
        files.write_ledger({"number": number, "text": "größe\nzwei"})
    with state.ledger.open("ab") as file:
        file.write(b'\xff{"number": 3, "cut')
    files.write_ledger({"number": 4})
    assert [entry["number"] for entry in files.ledger()] == [0, 1, 2, 4]
    assert files.ledger()[0]["text"] == "größe\nzwei"


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "3", '{"id": 1}', '{"id":1,"reason":1,"started":1,"stage":"no"}']
)
def test_a_damaged_journal_is_refused_with_what_to_do(state: StateFolder, text: str) -> None:
    state.journal.write_text(text)
    with pytest.raises(NeedsOperator) as met:
        StateFiles(state).find_journal()
    assert met.value.problem == f"{state.journal} is damaged"
    assert met.value.remedy == "remove it and run `make up`; no data is in it"


def test_applied_settings_that_somebody_misspelled_are_named(state: StateFolder) -> None:
    state.applied.write_text('{"log-levle": "INFO"}')
    with pytest.raises(ManyFaults, match=rf"{state.applied}: unknown key 'log-levle'.*log-level"):
        StateFiles(state).find_applied()


def test_a_record_that_can_not_be_read_is_told(state: StateFolder) -> None:
    state.journal.mkdir()
    with pytest.raises(NeedsOperator, match=r"journal.json can't be used: Is a directory"):
        StateFiles(state).find_journal()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root writes for another user")
def test_what_root_writes_belongs_to_the_service_user(state: StateFolder) -> None:
    files = StateFiles(state, (65534, 65534))
    files.write_journal(Journal("1", "r", "s"))
    files.write_applied(Development())
    files.write_ledger({})
    for path in (state.journal, state.applied, state.ledger):
        assert path.stat().st_uid == 65534
        assert path.stat().st_mode & 0o777 == 0o600
