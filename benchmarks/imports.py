"""Imports of flows and `--help`, against Prefect's own."""

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

CHECKOUT = Path(__file__).resolve().parent.parent
ROUNDS = 7


@dataclass(frozen=True)
class Row:
    """One claim: ours and theirs in `unit`, and the largest allowed ratio."""

    claim: str
    ours: float
    theirs: float
    most: float
    unit: str = "s"

    @property
    def ratio(self) -> float:
        return self.ours / self.theirs

    @property
    def held(self) -> bool:
        return self.ratio <= self.most

    def line(self) -> str:
        return (
            f"| {self.claim} | {self.ours:.2f} {self.unit} | {self.theirs:.2f} {self.unit} "
            f"| {self.ratio:.2f} | {self.most:g} | {'yes' if self.held else 'NO'} |"
        )


def measure() -> list[Row]:
    base = "from prefect import flow, task; import prefect.blocks.core"
    flows = [f"flows.{name}" for name in ("deploy", "verify", "canary", "dlt_pipeline_flow")]
    jobs = {"base": _python(base), **{name: _python(f"import {name}") for name in flows}}
    jobs |= {
        "help": _command([str(CHECKOUT / ".venv/bin/clinical-ai"), "--help"]),
        "prefect help": _command([str(CHECKOUT / ".venv/bin/prefect"), "--help"]),
    }
    seconds = _interleaved(jobs)
    rows = [Row(f"import {name}", seconds[name], seconds["base"], 1.2) for name in flows]
    rows.append(Row("`clinical-ai --help`", seconds["help"], seconds["prefect help"], 0.1))
    rows.append(Row("`clinical-ai --help` in seconds", seconds["help"], 1.0, 0.3))
    return rows


def _interleaved(jobs: dict[str, Callable[[], None]]) -> dict[str, float]:
    """Medians; one round of all after the other, so that noise meets all of them."""
    taken: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(ROUNDS):
        for name, job in jobs.items():
            started = time.perf_counter()
            job()
            taken[name].append(time.perf_counter() - started)
    return {name: median(seconds) for name, seconds in taken.items()}


def _python(code: str) -> Callable[[], None]:
    return _command([sys.executable, "-c", code])


def _command(command: list[str]) -> Callable[[], None]:
    return lambda: run(command)


def run(command: list[str], *, cwd: Path = CHECKOUT, **options: object) -> None:
    """Run it to its end; RuntimeError with its last words when it fails."""
    done = subprocess.run(
        command,
        cwd=cwd,
        check=False,
        capture_output=True,
        text=True,
        **options,  # type: ignore[call-overload]
    )
    if done.returncode:
        last = (done.stderr or done.stdout)[-800:]
        raise RuntimeError(f"{' '.join(command[:6])} failed ({done.returncode}):\n{last}")
