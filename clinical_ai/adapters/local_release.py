"""Releases of one machine: code copied, packages linked, never changed afterwards."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Final

from clinical_ai import __version__
from clinical_ai.adapters.files import unwritable, write_atomically
from clinical_ai.adapters.local_postgres import readable
from clinical_ai.adapters.source_files import content_of, files_of
from clinical_ai.change import Change, Did
from clinical_ai.errors import NeedsOperator
from clinical_ai.manifests import release as manifest
from clinical_ai.state_folder import StateFolder

_PINNED: Final = re.compile(r"^([A-Za-z0-9._-]+)(\[[^]]*\])?==([^ ;\\]+)")


def release_hash(checkout: Path, python: Path) -> str:
    """The name of the release that this checkout would make."""
    made_by = f"{sys.version_info.major}.{sys.version_info.minor} {python}"
    return content_of(checkout, manifest.LOCAL, made_by)


def ensure_release(
    state: StateFolder, checkout: Path, python: Path, user: tuple[int, int] | None
) -> tuple[str, Change]:
    """The release of this checkout, complete; made in a folder beside it, then renamed."""
    name = release_hash(checkout, python)
    target = state.releases / name
    if (target / "release.json").exists():
        return name, Change(f"release {name}", Did.UNCHANGED)
    for left in state.releases.glob(".new.*"):
        _remove(left)
    fresh = state.releases / f".new.{name}"
    try:
        fresh.mkdir()
        _copy_code(checkout, fresh / "code")
        _link_environment(fresh / "venv", python, checkout / "requirements.lock", target / "code")
        readable(fresh / "code")
        _try(fresh / "venv" / "bin" / "python", user)
        write_atomically(fresh / "release.json", _facts(name, python), mode=0o644)
        fresh.chmod(0o755)
        fresh.rename(target)
    except OSError as error:
        _remove(fresh)
        raise unwritable(target, error) from error
    except BaseException:
        _remove(fresh)
        raise
    return name, Change(f"release {name}", Did.CREATED, f"version {__version__}")


def find_versions(release: Path) -> dict[str, str]:
    """Versions of the project, Prefect and Python inside a release; empty when it is gone."""
    try:
        facts = json.loads((release / "release.json").read_text())
    except (OSError, ValueError):
        return {}
    return {name: str(facts[name]) for name in ("version", "prefect", "python") if name in facts}


def find_python(user: tuple[int, int] | None) -> Path:
    """The interpreter of the virtual environment, when whoever runs the platform can run it."""
    python = Path(os.path.realpath(sys.executable))
    if not _runs(python, user):
        raise NeedsOperator(
            f"the service user can't run {python}",
            "install Python for the whole system, remove .venv and run this again, "
            "or run it as an ordinary user",
        )
    return python


def _runs(python: Path, user: tuple[int, int] | None) -> bool:
    uid, gid = user or (None, None)
    try:
        tried = subprocess.run(
            [str(python), "-I", "-c", "import ssl, sqlite3, ctypes"],
            cwd="/",
            env={},
            capture_output=True,
            check=False,
            user=uid,
            group=gid,
            extra_groups=None if uid is None else [],
        )
    except OSError:
        return False
    return tried.returncode == 0


def _copy_code(checkout: Path, target: Path) -> None:
    for path in files_of(checkout, manifest.LOCAL):
        copy = target / path.relative_to(checkout)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)


def _link_environment(venv: Path, python: Path, lock: Path, code: Path) -> None:
    """A virtual environment with the packages of the lock, hard links where the disk allows.

    Linked files are made read-only, so that an editor that writes in place can't change a release
    through the checkout; installers replace files and are not hindered.
    """
    packages = (
        venv / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    )
    (venv / "bin").mkdir(parents=True)
    packages.mkdir(parents=True)
    (venv / "bin" / "python").symlink_to(python)
    (venv / "bin" / "python3").symlink_to("python")
    (venv / "pyvenv.cfg").write_text(
        f"home = {python.parent}\ninclude-system-site-packages = false\n"
    )
    (packages / "release.pth").write_text(f"{code}\n")
    made: set[Path] = set()
    for source, relative in _package_files(lock):
        target = packages / relative
        if target.parent not in made:
            target.parent.mkdir(parents=True, exist_ok=True)
            made.add(target.parent)
        _link(source, target)


def _package_files(lock: Path) -> Iterator[tuple[Path, str]]:
    """Every file of every locked package that is installed, and its path in site-packages."""
    for line in lock.read_text().splitlines():
        pinned = _PINNED.match(line)
        if not pinned:
            continue
        name, version = pinned.group(1), pinned.group(3)
        try:
            found = distribution(name)
        except PackageNotFoundError:
            if ";" in line:
                continue  # the lock serves other systems too
            raise NeedsOperator(f"package {name} is not installed", "run `make .venv`") from None
        if found.version != version and ";" not in line:
            raise NeedsOperator(
                f"package {name} is {found.version}, the lock says {version}",
                "remove .venv and run `make .venv`",
            )
        if found.version != version:
            continue
        for file in found.files or ():
            if not file.parts[0].startswith(".."):
                source = Path(str(found.locate_file(file)))
                if source.exists():
                    yield source, str(file)


def _link(source: Path, target: Path) -> None:
    mode = source.stat().st_mode
    wanted = 0o555 if mode & 0o100 else 0o444
    if mode & 0o777 != wanted:
        source.chmod(wanted)
    try:
        os.link(source, target)
    except FileExistsError:
        return  # two packages may ship the same file
    except OSError:
        shutil.copyfile(source, target)
        target.chmod(wanted)


def _try(python: Path, user: tuple[int, int] | None) -> None:
    if not _runs(python, user):
        raise NeedsOperator(
            f"the release's {python} does not run",
            "see that the state folder allows programs (mount option noexec) and can be entered",
        )


def _facts(name: str, python: Path) -> str:
    facts = {
        "release": name,
        "version": __version__,
        "prefect": distribution("prefect").version,
        "python": f"{sys.version_info.major}.{sys.version_info.minor}.{sys.version_info.micro}",
        "interpreter": str(python),
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    return json.dumps(facts, indent=1) + "\n"


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)
