"""`python -m bootstrap`: brings the platform up on this machine; safe to run again."""

import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from bootstrap.install import check_only, show_difference, up
from bootstrap.request import Request, parse_request, take_environment
from bootstrap.terminal import Terminal
from clinical_ai.adapters.files import unwritable
from clinical_ai.errors import ManyFaults, PlatformError


def main(arguments: Sequence[str]) -> int:
    """0 when the platform is up, 1 with what stands in the way, 130 when interrupted."""
    terminal, environ = Terminal(), take_environment()
    return guarded(terminal, lambda: run(parse_request(arguments, environ), terminal))


def run(request: Request, terminal: Terminal) -> int:
    """What the request asks for."""
    if request.runtime == "kubernetes":
        from bootstrap.cluster.install import run as run_in_cluster

        return run_in_cluster(request, terminal)
    if request.check:
        return check_only(request, terminal)
    if request.diff:
        return show_difference(request, terminal)
    return up(request, terminal)


class _Notes(logging.Handler):
    """What a long wait sees, as notes below the step."""

    def __init__(self, terminal: Terminal) -> None:
        super().__init__()
        self._terminal = terminal

    def emit(self, record: logging.LogRecord) -> None:
        self._terminal.note(record.getMessage())


@contextmanager
def _telling_waits(terminal: Terminal) -> Iterator[None]:
    waits, notes = logging.getLogger("clinical_ai.waiting"), _Notes(terminal)
    before = waits.level, waits.propagate
    waits.addHandler(notes)
    waits.setLevel(logging.INFO)
    waits.propagate = False
    try:
        yield
    finally:
        waits.removeHandler(notes)
        waits.setLevel(before[0])
        waits.propagate = before[1]


def guarded(terminal: Terminal, work: Callable[[], int]) -> int:
    """Errors of this project as sentences, without a backtrace."""
    try:
        with _telling_waits(terminal):
            return work()
    except ManyFaults as error:
        many = len(error.faults) > 1
        count = f"{len(error.faults)} things stand" if many else "One thing stands"
        terminal.fault(f"{count} in the way:\n{error}")
    except PlatformError as error:
        terminal.fault(str(error))
    except BrokenPipeError:
        # Whoever read our lines has had enough of them, as `head` does.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        terminal.fault(str(unwritable(error.filename or "a file of the platform", error)))
    except KeyboardInterrupt:
        terminal.fault("interrupted; run it again, it goes on where it was")
        return 130
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
