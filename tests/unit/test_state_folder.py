"""Where a platform keeps what it owns, and which folder it takes when none is named."""

from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from clinical_ai import names
from clinical_ai.errors import NeedsOperator
from clinical_ai.state_folder import StateFolder, default_root, process_order

ROOT = StateFolder(Path("/srv/platform"))
_PATHS = some.from_regex(r"/[a-z]{1,8}(/[a-z]{1,8})?", fullmatch=True)


def test_every_path_is_below_the_root_and_no_two_are_the_same() -> None:
    properties = [name for name, kind in vars(StateFolder).items() if isinstance(kind, property)]
    paths = [getattr(ROOT, name) for name in properties] + [ROOT.spec("a"), ROOT.log("a")]
    assert all(path.is_relative_to(ROOT.root) and path != ROOT.root for path in paths)
    assert len({*paths}) == len(paths)
    assert [field.name for field in fields(StateFolder)] == ["root"]


def test_the_service_user_may_not_write_programs_and_releases() -> None:
    for folder in (ROOT.releases, ROOT.postgres):
        assert not any(folder.is_relative_to(owned) for owned in ROOT.owned())
    for file in (ROOT.instance, ROOT.applied, ROOT.journal, ROOT.ledger, ROOT.lock, ROOT.socket):
        assert file.parent in ROOT.owned()


def test_the_database_starts_first_and_the_clinical_worker_last() -> None:
    assert process_order()[0] == names.POSTGRES
    assert process_order()[-1] == names.WORKER
    assert process_order().index(names.SERVER) == 1


@given(chosen=_PATHS, data=_PATHS, home=_PATHS, root=some.booleans())
def test_a_named_folder_wins_and_root_never_uses_a_home(
    chosen: str, data: str, home: str, *, root: bool
) -> None:
    environ = {"HOME": home, "XDG_DATA_HOME": data}
    assert default_root({**environ, names.STATE_VARIABLE: chosen}, root=root) == Path(chosen)
    expected = Path("/var/lib") if root else Path(data)
    assert default_root(environ, root=root) == expected / names.PRODUCT
    if not root:
        assert default_root({"HOME": home}, root=False) == Path(home, ".local/share", names.PRODUCT)


def test_empty_variables_count_as_absent_and_a_relative_folder_is_made_absolute() -> None:
    empty = {names.STATE_VARIABLE: "", "XDG_DATA_HOME": "", "HOME": ""}
    assert default_root(empty, root=False) == Path("/.local/share", names.PRODUCT)
    assert default_root(empty, root=True) == Path("/var/lib", names.PRODUCT)
    relative = default_root({names.STATE_VARIABLE: "here"}, root=True)
    assert relative == Path.cwd() / "here"
    assert default_root({names.STATE_VARIABLE: "~/x"}, root=True) == Path("~/x").expanduser()


def test_a_folder_of_a_user_that_does_not_exist_is_told() -> None:
    with pytest.raises(NeedsOperator, match=r"'~nosuchuser/x'.*does not know.*STATE=folder"):
        default_root({names.STATE_VARIABLE: "~nosuchuser/x"}, root=True)
