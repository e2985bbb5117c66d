"""Files of the state folder: whole or not at all, owned by whoever runs the platform."""

import errno
import os
from contextlib import suppress
from pathlib import Path

from clinical_ai.errors import NeedsOperator


def write_atomically(
    path: Path, text: str, user: tuple[int, int] | None = None, *, mode: int = 0o600
) -> None:
    """The file holds `text`, whole, or is as it was before. `user`: uid and gid of its owner."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        with os.fdopen(descriptor, "w") as file:
            if user:
                os.fchown(file.fileno(), *user)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):  # a read-only disk refuses this as well
            temporary.unlink()
        raise unwritable(path, error) from error


def unwritable(path: object, error: OSError) -> NeedsOperator:
    """What an operator does about a file that can't be written."""
    remedies = {
        errno.ENOSPC: "free some disk space there and run it again",
        errno.EDQUOT: "free some disk space there and run it again",
        errno.EROFS: "choose another state folder (STATE=folder), this one is read-only",
        errno.EACCES: "choose another state folder (STATE=folder) or correct its owner",
        errno.EPERM: "choose another state folder (STATE=folder) or correct its owner",
    }
    remedy = remedies.get(error.errno or 0, "see whether the disk is sound")
    return NeedsOperator(f"{path} can't be used: {error.strerror}", remedy)
