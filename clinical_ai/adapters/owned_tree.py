"""Files below a folder: no link is followed, written whole, owned like the folder."""

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from errno import EACCES, EDQUOT, EISDIR, ELOOP, ENAMETOOLONG, ENOENT, ENOSPC, ENOTDIR, EPERM, EROFS
from errno import errorcode as errno_names
from pathlib import Path
from secrets import token_hex
from time import time
from typing import BinaryIO, Final

from clinical_ai.errors import NeedsOperator

# What a killed writer leaves behind has such a name and is never taken for content.
UNFINISHED: Final = ".unfinished-"
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_NO_LINK: Final = os.O_NOFOLLOW | os.O_CLOEXEC


def plain(part: str) -> bool:
    """Whether this may be the name of one file or folder of a tree."""
    return (
        part not in {"", ".", ".."}
        and not {"/", "\0"} & set(part)
        and not part.startswith(UNFINISHED)
    )


class OwnedTree:
    """Files and folders below `root`, which has to exist. Every method may raise OSError.

    Each part of a path is opened relative to its parent and never through a symbolic link, so that
    whoever may write in the tree cannot make root write, or show, a file outside of it. What root
    writes belongs to the owner of `root`: the service user has to be able to write it later.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    @contextmanager
    def opened(self, parts: Sequence[str] = (), *, existing: int | None = None) -> Iterator[int]:
        """Descriptor of a folder; of its parts, those after the first `existing` are made."""
        at = os.open(self.root, _FOLDER)
        try:
            owner = os.fstat(at)
            for depth, part in enumerate(parts):
                make = existing is not None and depth >= existing
                below = _made(at, part, owner) if make else _entered(at, part)
                os.close(at)
                at = below
            yield at
        finally:
            os.close(at)

    def read(self, parts: Sequence[str]) -> BinaryIO:
        """A regular file as a stream."""
        with self.opened(parts[:-1]) as at:
            # Without O_NONBLOCK a named pipe would wait for its writer.
            handle = os.open(parts[-1], os.O_RDONLY | os.O_NONBLOCK | _NO_LINK, dir_fd=at)
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            os.close(handle)
            raise IsADirectoryError(EISDIR, "not a regular file")
        return os.fdopen(handle, "rb")

    def write(
        self, parts: Sequence[str], data: bytes, *, existing: int = 0, replace: bool = True
    ) -> None:
        """The file holds `data`, or what it held before; FileExistsError unless `replace`."""
        try:
            self._write(parts, data, existing=existing, replace=replace)
        except FileNotFoundError:  # `remove` took an empty folder away in between
            self._write(parts, data, existing=existing, replace=replace)

    def _write(self, parts: Sequence[str], data: bytes, *, existing: int, replace: bool) -> None:
        unfinished = UNFINISHED + token_hex(8)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_LINK
        with self.opened(parts[:-1], existing=existing) as at:
            with os.fdopen(os.open(unfinished, flags, 0o600, dir_fd=at), "wb") as file:
                try:
                    _give(file.fileno(), self.root.stat())
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                    _publish(at, unfinished, parts[-1], replace=replace)
                finally:
                    with suppress(FileNotFoundError):
                        os.unlink(unfinished, dir_fd=at)
            os.fsync(at)

    def remove(self, parts: Sequence[str], *, existing: int = 0) -> None:
        """The file is gone, and so are the folders after the first `existing` that it leaves empty.

        FileNotFoundError when it was not there.
        """
        with self.opened(parts[:-1]) as at:
            os.unlink(parts[-1], dir_fd=at)
            os.fsync(at)
        with suppress(OSError):  # not empty, or filled or removed by somebody else meanwhile
            for depth in range(len(parts) - 1, existing, -1):
                with self.opened(parts[: depth - 1]) as at:
                    os.rmdir(parts[depth - 1], dir_fd=at)

    def sweep(self, parts: Sequence[str], *, seconds: float) -> None:
        """What killed writers left in this folder, longer ago than that, is gone."""
        with self.opened(parts) as at:
            for _, _, files, inside in os.fwalk(dir_fd=at):
                for file in filter(lambda name: name.startswith(UNFINISHED), files):
                    with suppress(FileNotFoundError):
                        if os.stat(file, dir_fd=inside).st_mtime < time() - seconds:
                            os.unlink(file, dir_fd=inside)


def _publish(at: int, unfinished: str, name: str, *, replace: bool) -> None:
    if replace:
        os.rename(unfinished, name, src_dir_fd=at, dst_dir_fd=at)
    else:  # a link, unlike a rename, fails when somebody else was first
        os.link(unfinished, name, src_dir_fd=at, dst_dir_fd=at, follow_symlinks=False)


def _entered(at: int, part: str) -> int:
    return os.open(part, _FOLDER | _NO_LINK, dir_fd=at)


def _made(at: int, part: str, owner: os.stat_result) -> int:
    with suppress(FileExistsError):
        os.mkdir(part, 0o700, dir_fd=at)
        os.fsync(at)
    below = _entered(at, part)
    try:
        _give(below, owner)  # also one that was made just before a kill
    except OSError:
        os.close(below)
        raise
    return below


def _give(handle: int, owner: os.stat_result) -> None:
    """Root gives what it made to the tree's owner; what another user made keeps its owner."""
    if os.geteuid() == 0 and os.fstat(handle).st_uid == 0 and owner.st_uid != 0:
        os.fchown(handle, owner.st_uid, owner.st_gid)


def explain(met: OSError, where: str) -> NeedsOperator:
    """The same fault for a person; `where` is all it says about the place."""
    match met.errno:
        case e if e in {ENOSPC, EDQUOT}:
            return NeedsOperator(f"{where}: the disk is full", "free some space, then try again")
        case e if e == EROFS:
            return NeedsOperator(
                f"{where}: the file system is read-only", "mount it so that it can be written"
            )
        case e if e in {EACCES, EPERM}:
            return NeedsOperator(
                f"{where}: user {os.geteuid()} is not permitted to use it",
                "give folder and files to the user that the platform runs as",
            )
        case e if e in {ELOOP, ENOTDIR, EISDIR}:
            return NeedsOperator(
                f"{where}: a link, a file or a folder is where something else belongs",
                "put real folders and files there; links are not followed",
            )
        case e if e == ENAMETOOLONG:
            return NeedsOperator(f"{where}: the name is too long", "use a shorter name")
        case e if e == ENOENT:
            return NeedsOperator(
                f"{where}: a folder is not there", "run `clinical-ai up`, which makes it"
            )
        case unknown:
            kind = errno_names.get(unknown or 0, "unknown error")
            return NeedsOperator(f"{where}: {kind}", "check the disk and the kernel's log")
