"""Everything that could stop an installation, found before anything is written."""

import errno
import os
import shutil
import sys
from collections.abc import Callable, Container, Iterator
from pathlib import Path
from typing import Final

from bootstrap.request import Request
from clinical_ai import names
from clinical_ai.adapters.file_secrets import FileSecrets
from clinical_ai.adapters.journal_file import StateFiles
from clinical_ai.adapters.listeners import check_port
from clinical_ai.adapters.local_postgres import data_version
from clinical_ai.errors import ManyFaults, NeedsOperator, PlatformError, all_found
from clinical_ai.instance import find_instance
from clinical_ai.manifests.postgres import MAJOR
from clinical_ai.ports import SecretStore
from clinical_ai.settings import Development, Production
from clinical_ai.state_folder import StateFolder
from clinical_ai.steps.local_secrets import OPENING, find_password
from clinical_ai.steps.settings_check import settings_faults

_PLATFORMS: Final = {"linux", "darwin"}
_FIRST_BYTES: Final = 1_500_000_000
_LATER_BYTES: Final = 300_000_000
ODD_LETTERS: Final = ":;#%\"'\\"  # in PATH, supervisor's file, a run's command line, dlt's paths
_SOCKET_BYTES: Final = 100  # of a Unix socket's path, less than the kernel's 107 (104 on macOS)


def check(
    request: Request,
    settings: Development | Production | None,
    user: tuple[int, int] | None,
    kept: Container[str] = (),
) -> list[str]:
    """What was looked at and found good; ManyFaults with all that is wrong, each with its remedy.

    `settings` is None when they themselves are at fault, which the caller adds; `kept` are
    references to secrets that are about to exist.
    """
    return all_found(_looks(request, settings, user, kept))


def _looks(
    request: Request,
    settings: Development | Production | None,
    user: tuple[int, int] | None,
    kept: Container[str],
) -> Iterator[Callable[[], str]]:
    state = request.state
    yield check_machine
    yield lambda: check_folder(state, user)
    yield lambda: check_disk(state)
    yield lambda: check_data(state)
    yield lambda: check_instance(state)
    yield lambda: check_secrets(state)
    yield lambda: check_record(state)
    if settings is not None:
        yield lambda: check_settings(settings, FileSecrets(state.secrets), kept, user)
        yield lambda: check_port(settings.prefect_api_url, state.root)


def check_machine() -> str:
    """The platform is one that this release runs on; `bootstrap.environment` checked Python."""
    if sys.platform not in _PLATFORMS:
        raise NeedsOperator(
            f"this platform ({sys.platform}) has no PostgreSQL to embed", "use Linux or macOS"
        )
    return f"Python {sys.version.split()[0]} on {sys.platform}"


def check_folder(state: StateFolder, user: tuple[int, int] | None) -> str:
    """The state folder is ours or free, writable, and the service user can get to it."""
    root = state.root
    if len(os.fsencode(state.socket)) > _SOCKET_BYTES:
        raise NeedsOperator(
            f"the path of the state folder {root} is too long for a socket",
            "choose a shorter one with STATE=folder",
        )
    if not str(root).isprintable() or any(letter in str(root) for letter in ODD_LETTERS):
        raise NeedsOperator(
            f"the path of the state folder {str(root)!r} has a colon, semicolon, quote, backslash, "
            "%, # or something that can't be printed",
            "choose another with STATE=folder",
        )
    existing = next(path for path in (root, *root.parents) if os.path.lexists(path))
    if not existing.is_dir():
        raise NeedsOperator(f"{existing} is not a folder", "choose another with STATE=folder")
    _check_writable(existing)
    if existing == root:
        check_content(state)
    if user is not None:
        _check_enterable(root, user)
    return f"state folder {root}"


def _check_writable(folder: Path) -> None:
    """By trying: access(2) says yes to root on a read-only file system."""
    probe = folder / f".probe.{os.getpid()}"
    try:
        probe.mkdir()
        probe.rmdir()
    except OSError as error:
        owner = folder.stat().st_uid
        if error.errno == errno.ENOSPC:
            remedy = "free some disk space"
        elif error.errno == errno.EROFS:
            remedy = "choose another with STATE=folder"
        else:
            remedy = f"it belongs to uid {owner}: choose another with STATE=folder or its owner"
        raise NeedsOperator(f"{folder} can't be written: {error.strerror}", remedy) from None


def check_content(state: StateFolder) -> None:
    """The folder holds a platform of ours or nothing, and is the caller's to change."""
    known = {path.name for path in (*state.owned(), state.releases, state.postgres)}
    foreign = [
        path.name
        for path in state.root.iterdir()
        if path.name not in known and not path.name.startswith(".")
    ]
    if foreign:
        raise NeedsOperator(
            f"{state.root} holds something else ({', '.join(sorted(foreign)[:3])})",
            "choose an empty folder with STATE=folder",
        )
    owner = state.root.stat().st_uid
    if os.geteuid() not in {0, owner}:
        raise NeedsOperator(
            f"{state.root} belongs to uid {owner}", "run this as its owner, or as root"
        )


def _check_enterable(root: Path, user: tuple[int, int]) -> None:
    for folder in reversed(root.parents):
        if not os.path.lexists(folder):
            return
        if not _may(user, folder, 1):
            raise NeedsOperator(
                f"the service user {names.SERVICE_USER} can't enter {folder}",
                f"choose another state folder with STATE=folder, or `chmod o+x {folder}`",
            )


def _may(user: tuple[int, int], path: Path, bit: int) -> bool:
    """Whether a uid and gid have this permission (4: read, 1: enter) by the file's mode."""
    seen = path.stat()
    place = 6 if seen.st_uid == user[0] else 3 if seen.st_gid == user[1] else 0
    return bool(seen.st_mode & bit << place)


def check_disk(state: StateFolder) -> str:
    """Enough free space for what will be written."""
    # Path.exists raises where a folder can't be entered, which another check tells.
    existing = next(p for p in (state.root, *state.root.parents) if os.path.exists(p))  # noqa: PTH110
    needed = _LATER_BYTES if os.path.exists(state.instance) else _FIRST_BYTES  # noqa: PTH110
    free = shutil.disk_usage(existing).free
    if free < needed:
        raise NeedsOperator(
            f"{existing} has {free // 1_000_000} MB free, {needed // 1_000_000} MB are needed",
            "free some disk space or choose another state folder with STATE=folder",
        )
    return f"{free // 1_000_000_000} GB free"


def check_data(state: StateFolder) -> str:
    """The data folder, if there is one, is of this PostgreSQL."""
    found = data_version(state)
    made = found or "of an unknown version"
    if found not in {None, MAJOR}:
        raise NeedsOperator(
            f"{state.data} was made by PostgreSQL {made}, this release runs {MAJOR}",
            "move it away, or use the release that made it and dump it there",
        )
    return f"PostgreSQL {MAJOR} data" if found else "no data yet"


def check_instance(state: StateFolder) -> str:
    """The state file can be read."""
    return "installed before" if find_instance(state) else "first installation"


def check_secrets(state: StateFolder) -> str:
    """What opens the data is there and can be read; without it the data is lost."""
    if data_version(state) is None:
        return "no secrets yet"
    secrets = FileSecrets(state.secrets)
    faults, missing = [], []
    for reference in OPENING:
        try:
            if secrets.find(reference) is None:
                missing.append(reference)
        except NeedsOperator as fault:
            faults.append(fault)
    for reference in (names.DATABASE_URL, names.PREFECT_DATABASE_URL):
        try:
            find_password(secrets, reference)
        except NeedsOperator as fault:
            if str(fault) not in map(str, faults):
                faults.append(fault)
    if missing:
        faults.append(
            NeedsOperator(
                f"{state.data} holds data, but what opens it is gone: {', '.join(missing)}",
                f"restore {state.secrets} from a backup, or `make destroy` and start anew",
            )
        )
    if faults:
        raise ManyFaults(faults)
    return f"{len(OPENING)} secrets"


def check_record(state: StateFolder) -> str:
    """Journal and applied settings can be read."""
    files = StateFiles(state)
    files.find_journal()
    files.find_applied()
    return f"{len(files.ledger())} ledger entries"


def check_settings(
    settings: Development | Production,
    secrets: SecretStore,
    kept: Container[str],
    user: tuple[int, int] | None,
) -> str:
    """What one machine can do with these settings."""
    faults = settings_faults(settings, secrets, kept)
    if user is not None:
        for key, path in settings.ca_bundles.items():
            faults += _unreadable(key, Path(path), user)
    if faults:
        raise ManyFaults(faults)
    return f"settings for {settings.storage_environment}"


def _unreadable(key: str, path: Path, user: tuple[int, int]) -> list[NeedsOperator]:
    """A file that root reads, and the service user may not."""
    if not path.is_file() or (_may(user, path, 4) and all(_may(user, p, 1) for p in path.parents)):
        return []
    problem = f"{key} {path} can't be read by the service user {names.SERVICE_USER}"
    return [NeedsOperator(problem, "put it where everybody may read it, as /etc/ssl/certs")]


def as_faults(error: PlatformError) -> list[NeedsOperator]:
    """The faults inside an error."""
    if isinstance(error, ManyFaults):
        return error.faults
    return [error if isinstance(error, NeedsOperator) else NeedsOperator(str(error), "try again")]
