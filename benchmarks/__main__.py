"""`make bench`: measures each claim and writes benchmarks/RESULTS.md.

With `--runtime kubernetes` those of a cluster, into RESULTS-kubernetes.md: on the cluster that
KUBECONFIG names, with kubectl and helm on the PATH. Everything runs in state folders or namespaces
of its own, and stops by itself.
"""

import argparse
import os
import platform
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.imports import Row

FOLDER = Path(__file__).resolve().parent


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--runtime", choices=("local", "kubernetes"), default="local")
    parser.add_argument("--rest", type=int, default=300, help="seconds to watch both at rest")
    parser.add_argument("--rounds", type=int, default=3, help="repetitions of each")
    options = parser.parse_args(arguments)
    load = os.getloadavg()[0]
    measure = _local if options.runtime == "local" else _kubernetes
    name = "RESULTS.md" if options.runtime == "local" else "RESULTS-kubernetes.md"
    rows: list[Row] = []
    for found in measure(options.rounds, options.rest):
        rows += found
        # What comes next takes minutes, and may fail.
        (FOLDER / name).write_text(_document(rows, load))
        sys.stdout.write("".join(f"{row.line()}\n" for row in found))
        sys.stdout.flush()
    return 0 if all(row.held for row in rows) else 1


def _local(rounds: int, rest_seconds: int) -> Iterator[list[Row]]:
    from benchmarks import by_hand, imports, registration, rest, up

    yield imports.measure()
    yield up.measure(rounds, by_hand.install)
    yield registration.measure(rounds)
    yield rest.measure(rest_seconds)


def _kubernetes(rounds: int, rest_seconds: int) -> Iterator[list[Row]]:
    from benchmarks import cluster_install, cluster_rest, reconcile

    yield reconcile.measure()
    yield cluster_install.measure(rounds)
    yield cluster_rest.measure(rest_seconds)


def _document(rows: list[Row], load: float) -> str:
    lines = [
        "# Results",
        "",
        f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, "
        f"Python {platform.python_version()}. Ratios of medians in one run; figures of one machine "
        f"vary by a third. Others kept {load:.1f} cores busy when it began.",
        "",
        "| claim | ours | against | ratio | at most | held |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    lines += [row.line() for row in rows]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
