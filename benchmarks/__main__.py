"""`make bench`: measures each claim and writes benchmarks/RESULTS.md.

With `--runtime kubernetes` those of a cluster, into RESULTS-kubernetes.md: on the cluster that
KUBECONFIG names, with kubectl and helm on the PATH. Everything runs in state folders or namespaces
of its own, and stops by itself.
"""

import argparse
import os
import platform
import sys
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
    rows = measure(options.rounds, options.rest)
    text = _document(rows, load)
    name = "RESULTS.md" if options.runtime == "local" else "RESULTS-kubernetes.md"
    (FOLDER / name).write_text(text)
    sys.stdout.write(text)
    return 0 if all(row.held for row in rows) else 1


def _local(rounds: int, rest_seconds: int) -> list[Row]:
    from benchmarks import by_hand, imports, registration, rest, up

    return [
        *imports.measure(),
        *up.measure(rounds, by_hand.install),
        *registration.measure(rounds),
        *rest.measure(rest_seconds),
    ]


def _kubernetes(rounds: int, rest_seconds: int) -> list[Row]:
    from benchmarks import cluster_install, cluster_rest, reconcile

    return [
        *reconcile.measure(),
        *cluster_install.measure(rounds),
        *cluster_rest.measure(rest_seconds),
    ]


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
