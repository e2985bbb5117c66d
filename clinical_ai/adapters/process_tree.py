"""A process of which nothing is left when it has ended, whatever it has started (Linux).

What is started in a session of its own, by a parent that has ended, belongs to nobody: it would
be left. The kernel gives such a process to the nearest ancestor that asks for them.
"""

import ctypes
import os
import signal
from contextlib import suppress
from pathlib import Path
from time import monotonic, sleep
from typing import Final

_PR_SET_CHILD_SUBREAPER: Final = 36  # <linux/prctl.h>
_SECONDS: Final = 5  # for what the kernel holds, or what we may not end
_LOOK: Final = 1
_HEARD: Final = {signal.SIGCHLD, signal.SIGTERM, signal.SIGINT}


def fork_guarded() -> None:
    """Returns in a child in a session of its own, while the caller's process waits for its end.

    Then, at SIGTERM or Ctrl-C, or when its own parent is gone, that ends all below it, and itself
    with the child's exit code. Call it before there are threads.
    """
    parent = os.getppid()
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_BLOCK, _HEARD)
    child = os.fork()
    if child == 0:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _HEARD)
        os.setsid()
        return
    code = _wait(child, parent)
    _end_all()
    os._exit(code)


def _wait(child: int, parent: int) -> int:
    """The child's exit code; as a shell has it when a signal ended the child, or this."""
    while os.getppid() == parent:
        heard = signal.sigtimedwait(_HEARD, _LOOK)
        if heard is not None and heard.si_signo != signal.SIGCHLD:
            break
        # Others, which were given to this process, are left as they are until the end.
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code
    return 128 + signal.SIGTERM


def _end_all() -> None:
    deadline = monotonic() + _SECONDS
    while not _is_alone() and monotonic() < deadline:
        for pid in _below(os.getpid()):
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        sleep(0.005)


def _is_alone() -> bool:
    """Whether no process is below this one; those that have ended are buried."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return True
    return False


def _below(root: int) -> set[int]:
    """All processes that stem from this one."""
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended meanwhile
            # The name, in brackets, may hold anything.
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
    found, more = set[int](), {root}
    while more:
        more = {pid for pid, parent in parents.items() if parent in more} - found
        found |= more
    return found
