"""One change of a platform at a time; the second caller learns who holds the lock."""

import fcntl
import getpass
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clinical_ai.adapters.files import unwritable
from clinical_ai.errors import NeedsOperator


@contextmanager
def change_lock(path: Path, what: str) -> Iterator[None]:
    """Hold the lock while the block runs; the kernel frees it when the process dies.

    Raises NeedsOperator with the holder's pid, user, command and time when somebody has it.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise unwritable(path, error) from error
    with os.fdopen(descriptor, "r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise NeedsOperator(
                f"another change is under way: {_holder(file.read())}", "wait until it has ended"
            ) from None
        file.truncate(0)
        json.dump(
            {
                "pid": os.getpid(),
                "who": getpass.getuser(),
                "what": what,
                "since": time.strftime("%Y-%m-%d %H:%M:%S"),
            },
            file,
        )
        file.flush()
        yield


def _holder(text: str) -> str:
    try:
        holder = json.loads(text)
    except ValueError:
        return "its holder is just starting"
    return f"{holder['what']} by {holder['who']}, process {holder['pid']}, since {holder['since']}"
