"""One change of a platform at a time; the second caller learns who holds the lock."""

import fcntl
import getpass
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from clinical_ai.adapters.files import unwritable
from clinical_ai.errors import NeedsOperator, TimedOut
from clinical_ai.waiting import Sighting, wait_until


@contextmanager
def change_lock(path: Path, what: str, *, seconds: float = 0) -> Iterator[None]:
    """Hold the lock while the block runs; the kernel frees it when the process dies.

    Raises NeedsOperator with the holder's pid, user, command and time when somebody still has it
    after `seconds`.
    """
    text = json.dumps(
        {
            "pid": os.getpid(),
            "who": who(),
            "what": what,
            "since": time.strftime("%Y-%m-%d %H:%M:%S"),
        }
    )
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise unwritable(path, error) from error
    with os.fdopen(descriptor, "r+", errors="replace") as file:
        if os.geteuid() == 0:  # the service user's own changes take the same lock
            folder = path.parent.stat()
            os.fchown(file.fileno(), folder.st_uid, folder.st_gid)
        try:
            wait_until("the lock", lambda: _take(file, text), seconds=seconds)
        except TimedOut:
            raise NeedsOperator(
                f"another change is under way: {_holder(file)}", "wait until it has ended"
            ) from None
        try:
            yield
        finally:
            file.truncate(0)


def _take(file: TextIO, note: str) -> Sighting:
    """The lock is taken, and the note about it written at once."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return Sighting(done=False, summary=_holder(file))
    file.seek(0)
    file.truncate(0)
    file.write(note)
    file.flush()
    return Sighting(done=True, summary="taken")


def who() -> str:
    """The name of the user, or its number."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a uid without a name, as in a container
        return f"uid {os.getuid()}"


def _holder(file: TextIO) -> str:
    file.seek(0)
    try:
        holder = json.loads(file.read())
        return "{what} by {who}, process {pid}, since {since}".format(**holder)
    except (ValueError, KeyError, TypeError):
        return "its holder is just starting"
