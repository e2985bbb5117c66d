"""`make faults`: seeded faults, each healed by running again what an operator runs.

Bounded: `--rounds` rounds on platforms of its own, which are removed at the end. Not part of
`make test`: a round takes half a minute on one machine, some minutes on Kubernetes.
"""

import argparse
import random
import signal
import subprocess
import sys
import traceback
from time import monotonic
from typing import Protocol

from clinical_ai.errors import PlatformError
from tests.faults.machine import Machine


class Victim(Protocol):
    """A platform that is hurt and healed, again and again. `place`: where to look at it."""

    @property
    def place(self) -> str: ...

    def hurt(self, chance: random.Random) -> str:
        """One fault; what it was."""

    def heal(self) -> str:
        """What an operator does; what is wrong afterwards, or nothing."""

    def remove(self) -> None:
        """Nothing of it is left."""


def main(arguments: list[str]) -> int:
    """0 when every round healed; the first round that did not is told with its seed."""
    parser = argparse.ArgumentParser(prog="make faults", description=__doc__)
    parser.add_argument("--runtime", choices=("local", "kubernetes"), default="local")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--port", type=int, default=4390, help="of the platform on this machine")
    options = parser.parse_args(arguments)
    # A job in the background of a script ignores it, and so would all that is started here.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    victim, chance = _victim(options), random.Random(options.seed)
    try:
        for number in range(1, options.rounds + 1):
            if not _round(number, victim, chance):
                _tell(f"seed {options.seed}, round {number}: kept in {victim.place}")
                return 1
    except KeyboardInterrupt:
        _tell("interrupted")
    victim.remove()
    return 0


def _victim(options: argparse.Namespace) -> Victim:
    if options.runtime == "local":
        return Machine(options.port)
    from tests.faults.cluster import Namespaces

    return Namespaces()


def _round(number: int, victim: Victim, chance: random.Random) -> bool:
    """Whether it healed; its line is told."""
    started, told, wrong = monotonic(), "", ""
    try:
        told = victim.hurt(chance)
        wrong = victim.heal()
    except (AssertionError, OSError, PlatformError, subprocess.SubprocessError) as error:
        frames = traceback.extract_tb(error.__traceback__)
        wrong = f"{type(error).__name__}: {error} ({' > '.join(it.name for it in frames)})"
    seconds = monotonic() - started
    _tell(f"{number:3} {told:<42} {wrong or 'healed'}  {seconds:.0f} s")
    return not wrong


def _tell(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
