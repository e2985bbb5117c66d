"""A folder for one run's files on their way to the destination; rows never outlive their run."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from clinical_ai import names
from clinical_ai.errors import NeedsOperator

_LOCK: Final = ".in-use"


@contextmanager
def work_folder(parent: Path | None = None) -> Iterator[Path]:
    """A fresh folder that only this user can enter, removed at the end.

    Folders of runs that died (kill -9 leaves rows behind) are removed first: their lock is free.
    """
    home = _home(parent or Path(tempfile.gettempdir()))
    for left in home.iterdir():
        _remove_dead(left)
    folder = Path(tempfile.mkdtemp(dir=home))
    descriptor = os.open(folder / _LOCK, os.O_CREAT | os.O_RDWR, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


def _home(parent: Path) -> Path:
    """Below a folder that everybody may write to, one that is surely ours."""
    home = parent / f"{names.PRODUCT}-loads-{os.geteuid()}"
    try:
        with suppress(FileExistsError):
            home.mkdir(mode=0o700)
        seen = home.lstat()
    except OSError as error:
        raise NeedsOperator(
            f"{parent} can't be written: {error.strerror}", "set TMPDIR to a folder with free space"
        ) from None
    if home.is_symlink() or seen.st_uid != os.geteuid() or seen.st_mode & 0o077:
        raise NeedsOperator(
            f"{home} belongs to somebody else, or is open to others", f"remove {home}"
        )
    return home


def _remove_dead(folder: Path) -> None:
    """One without a lock is being made, or being removed, at this moment: left alone."""
    with suppress(OSError):
        descriptor = os.open(folder / _LOCK, os.O_RDWR)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(descriptor)
