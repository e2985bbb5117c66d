"""Releases of one machine: made once, whole, and out of reach of the checkout."""

import json
import os
import shutil
import stat
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from clinical_ai import __version__
from clinical_ai.adapters.local_release import (
    ensure_release,
    find_python,
    find_versions,
    release_hash,
)
from clinical_ai.change import Did
from clinical_ai.errors import NeedsOperator
from clinical_ai.state_folder import StateFolder

PYTHON = Path(os.path.realpath(sys.executable))
NOBODY = (65534, 65534)


def pin(name: str, wanted: str | None = None, marker: str = "") -> str:
    return f"{name}=={wanted or version(name)}{marker} \\\n    --hash=sha256:{'0' * 64}\n"


@pytest.fixture
def state(tmp_path: Path) -> StateFolder:
    found = StateFolder(tmp_path / "state folder")
    found.releases.mkdir(parents=True)
    return found


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A small checkout whose lock names two packages that are really installed."""
    folder = tmp_path / "checkout"
    for file, text in {
        "flows/one.py": "import idna\nTEXT = 'first'\n",
        "flows/queries/patients.sql": "select 1",
        "clinical_ai/steps/table.json": "{}",
        "tests/test_one.py": "",
        ".env": "SECRET=1\n",
        "prefect.yaml": "name: x\n",
        "requirements.lock": pin("idna") + pin("typing-extensions"),
    }.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(text)
    return folder


def said(release: Path, code: str) -> str:
    """What the release's interpreter prints, started from elsewhere."""
    ran = subprocess.run(
        [release / "venv/bin/python", "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd="/",
        env={},
    )
    return ran.stdout.strip()


def files_of(release: Path) -> list[Path]:
    return [path for path in release.rglob("*") if path.is_file() and not path.is_symlink()]


def test_a_release_holds_the_code_and_the_locked_packages_and_nothing_else(
    state: StateFolder, checkout: Path
) -> None:
    name, made = ensure_release(state, checkout, PYTHON, None)
    release = state.releases / name
    assert made.did is Did.CREATED
    assert name == release_hash(checkout, PYTHON)
    code = release / "code"
    assert sorted(str(p.relative_to(code)) for p in code.rglob("*") if p.is_file()) == [
        "clinical_ai/steps/table.json",
        "flows/one.py",
        "flows/queries/patients.sql",
        "prefect.yaml",
        "requirements.lock",
    ]
    packages = next((release / "venv/lib").glob("python3*/site-packages"))
    assert {path.name.partition("-")[0] for path in packages.iterdir()} - {"__pycache__"} == {
        "idna",
        "release.pth",
        "typing_extensions",
        "typing_extensions.py",
    }
    assert said(release, "import flows.one, typing_extensions; print(flows.one.TEXT)") == "first"
    assert said(release, "import idna; print(idna.__file__)").startswith(str(release))


def test_a_second_call_finds_it_and_touches_nothing(state: StateFolder, checkout: Path) -> None:
    name, _ = ensure_release(state, checkout, PYTHON, None)
    before = {p: p.lstat().st_mtime_ns for p in state.releases.rglob("*")}
    again, change = ensure_release(state, checkout, PYTHON, None)
    assert (again, change.did) == (name, Did.UNCHANGED)
    assert {p: p.lstat().st_mtime_ns for p in state.releases.rglob("*")} == before


def test_editing_the_checkout_changes_the_next_release_and_not_this_one(
    state: StateFolder, checkout: Path
) -> None:
    name, _ = ensure_release(state, checkout, PYTHON, None)
    with (checkout / "flows/one.py").open("a") as file:  # in place, as some editors do
        file.write("TEXT = 'second'\n")
    (checkout / "tests/test_one.py").write_text("what is not code decides nothing\n")
    other, made = ensure_release(state, checkout, PYTHON, None)
    assert made.did is Did.CREATED
    assert other != name
    assert said(state.releases / name, "import flows.one as one; print(one.TEXT)") == "first"
    assert said(state.releases / other, "import flows.one as one; print(one.TEXT)") == "second"
    shutil.rmtree(checkout)
    assert said(state.releases / name, "import flows.one as one; print(one.TEXT)") == "first"


def test_nobody_writes_into_a_release(state: StateFolder, checkout: Path) -> None:
    name, _ = ensure_release(state, checkout, PYTHON, None)
    own = {"release.json", "pyvenv.cfg", "release.pth"}
    for path in files_of(state.releases / name):
        if path.name not in own:
            assert not stat.S_IMODE(path.stat().st_mode) & 0o222, path


def test_packages_are_linked_where_the_disk_allows_and_copied_where_it_does_not(
    state: StateFolder, checkout: Path, small_disk: Path
) -> None:
    import iniconfig

    source = Path(str(iniconfig.__file__)).stat()
    (checkout / "requirements.lock").write_text(pin("iniconfig"))
    name, _ = ensure_release(state, checkout, PYTHON, None)
    linked = next(
        (state.releases / name).glob("venv/lib/*/site-packages/iniconfig/__init__.py")
    ).stat()
    elsewhere = StateFolder(small_disk)
    elsewhere.releases.mkdir()
    name, _ = ensure_release(elsewhere, checkout, PYTHON, None)
    copied = next(
        (elsewhere.releases / name).glob("venv/lib/*/site-packages/iniconfig/__init__.py")
    ).stat()
    if source.st_dev == linked.st_dev:
        assert linked.st_ino == source.st_ino
    assert copied.st_dev != source.st_dev
    assert copied.st_size == source.st_size
    assert stat.S_IMODE(copied.st_mode) == 0o444


def test_a_full_disk_leaves_no_half_release(checkout: Path, small_disk: Path) -> None:
    state = StateFolder(small_disk)
    state.releases.mkdir()
    (checkout / "flows/large.py").write_text("#" * 1_000_000)
    with pytest.raises(NeedsOperator, match=r"No space left on device\. free some disk space"):
        ensure_release(state, checkout, PYTHON, None)
    assert list(state.releases.iterdir()) == []


def test_what_a_kill_left_half_made_is_cleared(state: StateFolder, checkout: Path) -> None:
    name, _ = ensure_release(state, checkout, PYTHON, None)
    whole = files_of(state.releases / name)
    (state.releases / name).rename(state.releases / f".new.{name}")
    (state.releases / f".new.{name}" / "release.json").unlink()
    (state.releases / ".new.0123" / "code").mkdir(parents=True)
    again, made = ensure_release(state, checkout, PYTHON, None)
    assert (again, made.did) == (name, Did.CREATED)
    assert sorted(files_of(state.releases / name)) == sorted(whole)
    assert [path.name for path in state.releases.iterdir()] == [name]


@pytest.mark.parametrize(
    ("lock", "problem", "remedy"),
    [
        (pin("idna", "0.1"), f"package idna is {version('idna')}, the lock says 0.1", "remove"),
        (pin("no-such-package", "1"), "package no-such-package is not installed", "make .venv"),
        (pin("no-such[extra]", "1"), "package no-such is not installed", "make .venv"),
    ],
    ids=["version", "missing", "missing with an extra"],
)
def test_an_environment_that_does_not_fit_the_lock_is_named(
    state: StateFolder, checkout: Path, lock: str, problem: str, remedy: str
) -> None:
    (checkout / "requirements.lock").write_text(pin("typing-extensions") + lock)
    with pytest.raises(NeedsOperator) as met:
        ensure_release(state, checkout, PYTHON, None)
    assert met.value.problem == problem
    assert remedy in met.value.remedy
    assert list(state.releases.iterdir()) == []


def test_a_lock_may_name_what_only_other_systems_install(
    state: StateFolder, checkout: Path
) -> None:
    other = pin("no-such-package", "1", " ; sys_platform == 'win32'")
    older = pin("idna", "0.1", " ; python_version < '3.9'")
    lock = f"# a comment\n--only-binary :all:\n{other}{older}{pin('typing-extensions')}"
    (checkout / "requirements.lock").write_text(lock)
    name, _ = ensure_release(state, checkout, PYTHON, None)
    packages = next((state.releases / name).glob("venv/lib/*/site-packages"))
    assert (packages / "typing_extensions.py").exists()
    assert not (packages / "idna").exists()


def test_an_interpreter_that_does_not_run_makes_no_release(
    state: StateFolder, checkout: Path
) -> None:
    (broken := checkout / "python").write_text("#!/bin/false\n")
    broken.chmod(0o755)
    for python in (broken, checkout / "absent"):
        with pytest.raises(NeedsOperator, match=r"does not run\. see .*noexec"):
            ensure_release(state, checkout, python, None)
    assert list(state.releases.iterdir()) == []


def test_a_release_tells_its_versions_and_a_lost_one_none(
    state: StateFolder, checkout: Path
) -> None:
    name, _ = ensure_release(state, checkout, PYTHON, None)
    release = state.releases / name
    assert find_versions(release) == {
        "version": __version__,
        "prefect": version("prefect"),
        "python": sys.version.split()[0],
    }
    facts = json.loads((release / "release.json").read_text())
    assert (facts["release"], facts["interpreter"]) == (name, str(PYTHON))
    (release / "release.json").write_text('{"version": "1"}')
    assert find_versions(release) == {"version": "1"}
    (release / "release.json").write_bytes(b"\xff{")
    assert find_versions(release) == {}
    assert find_versions(state.releases / "gone") == {}


def test_another_interpreter_is_another_release(checkout: Path) -> None:
    assert release_hash(checkout, PYTHON) != release_hash(checkout, Path("/opt/python"))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root tries it as somebody else")
def test_the_service_user_runs_a_release_or_it_is_told(checkout: Path, state: StateFolder) -> None:
    assert find_python(NOBODY) == find_python(None) == PYTHON
    above = state.root.parent
    mode = stat.S_IMODE(above.stat().st_mode)
    try:
        above.chmod(0o700)
        with pytest.raises(NeedsOperator, match="does not run"):
            ensure_release(state, checkout, PYTHON, NOBODY)
    finally:
        above.chmod(mode)
    assert list(state.releases.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root tries it as somebody else")
def test_an_interpreter_that_the_service_user_can_not_run_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (hidden := tmp_path / "hidden").mkdir(mode=0o700)
    python = hidden / "python"
    python.write_text(f'#!/bin/sh\nexec {PYTHON} "$@"\n')
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    with pytest.raises(NeedsOperator, match=f"the service user can't run {python}"):
        find_python(NOBODY)
    assert find_python(None) == python
