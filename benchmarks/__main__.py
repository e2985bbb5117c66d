"""`make bench`: measures each claim and writes benchmarks/RESULTS.md.

Everything runs on this machine's loopback, in state folders of its own, and stops by itself.
"""

import argparse
import os
import platform
import sys
from pathlib import Path

from benchmarks import by_hand, imports, registration, rest, up

RESULTS = Path(__file__).resolve().parent / "RESULTS.md"


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--rest", type=int, default=300, help="seconds to watch both at rest")
    parser.add_argument("--rounds", type=int, default=3, help="repetitions of each")
    options = parser.parse_args(arguments)
    load = os.getloadavg()[0]
    rows = [*imports.measure()]
    rows += up.measure(options.rounds, by_hand.install)
    rows += registration.measure(options.rounds)
    rows += rest.measure(options.rest)
    text = _document(rows, load)
    RESULTS.write_text(text)
    sys.stdout.write(text)
    return 0 if all(row.held for row in rows) else 1


def _document(rows: list[imports.Row], load: float) -> str:
    lines = [
        "# Results",
        "",
        f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, "
        f"Python {platform.python_version()}. Ratios of medians in one run; figures of one machine "
        f"vary by a third. Others kept {load:.1f} cores busy when it began.",
        "",
        "| claim | ours | by hand | ratio | at most | held |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    lines += [row.line() for row in rows]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
