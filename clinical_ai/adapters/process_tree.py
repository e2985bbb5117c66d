"""A process of which nothing is left when it has ended, whatever it has started (Linux).

What is started in a session of its own, by a parent that has ended, belongs to nobody: it would
be left. The kernel gives such a process to the nearest ancestor that asks for them.
"""

import ctypes
import os
import signal
from contextlib import suppress
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
    if _is_alone():
        return
    import psutil  # seldom needed, and not by the child

    deadline = monotonic() + _SECONDS
    while not _is_alone() and monotonic() < deadline:
        for process in psutil.Process().children(recursive=True):
            with suppress(psutil.Error):
                process.kill()
        sleep(0.005)


def _is_alone() -> bool:
    """Whether no process is below this one; those that have ended are buried."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return True
    return False
