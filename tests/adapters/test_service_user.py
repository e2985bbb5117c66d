"""Root installs for a user of its own; everybody else for himself."""

import os
import pwd
from pathlib import Path

import pytest

from clinical_ai import names
from clinical_ai.adapters import service_user
from clinical_ai.adapters.service_user import ensure_service_user, find_service_user
from clinical_ai.errors import NeedsOperator

only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has a service user")


@only_root
def test_root_gets_one_user_who_may_do_nothing_else() -> None:
    user = ensure_service_user()
    assert user is not None
    assert user == ensure_service_user() == find_service_user()
    entry = pwd.getpwnam(names.SERVICE_USER)
    assert (entry.pw_uid, entry.pw_gid) == user
    assert 0 not in user
    assert entry.pw_shell.endswith("nologin")
    assert not Path(entry.pw_dir).exists()


def test_an_ordinary_user_needs_none_and_makes_none(nobodys_folder: Path) -> None:
    assert find_service_user() is None
    assert ensure_service_user() is None


@only_root
def test_no_such_user_is_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "SERVICE_USER", "no-such-user-here")
    assert find_service_user() is None


@only_root
def test_a_name_that_useradd_refuses_is_told_with_its_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(names, "SERVICE_USER", "not a name")
    with pytest.raises(NeedsOperator, match=r"useradd failed: .*invalid user name") as met:
        ensure_service_user()
    assert "or run this as an ordinary user" in met.value.remedy


@only_root
def test_a_system_without_useradd_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "SERVICE_USER", "no-such-user-here")
    monkeypatch.setattr(service_user.shutil, "which", lambda *_, **__: None)
    with pytest.raises(NeedsOperator, match=r"useradd is missing") as met:
        ensure_service_user()
    assert "no-such-user-here" in met.value.remedy
