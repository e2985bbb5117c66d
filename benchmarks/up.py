"""`make up` against the same work by hand, and a second `make up`."""

import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from benchmarks.imports import Row, run
from clinical_ai.wiring import Platform, open_platform

PORT = 4470


def measure(rounds: int, by_hand: Callable[[], float]) -> list[Row]:
    """Alternating, so that noise meets both."""
    first, second, hand, writes = [], [], [], 0
    for number in range(rounds):
        with Place(PORT + number) as place:
            first.append(place.up())
            before = snapshot(place.platform())
            second.append(place.up())
            writes += snapshot(place.platform()) != before
        hand.append(by_hand())
    return [
        Row("`make up`, environment made", median(first), median(hand), 1.0),
        Row("second `make up` against the first", median(second), median(first), 0.25),
        Row("writes to Prefect by a second `make up`", float(writes), 1.0, 0.0, "changed"),
    ]


class Place:
    """A platform of its own in a temporary state folder, gone at the end."""

    def __init__(self, port: int) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="clinical-ai-bench-"))
        self.root.chmod(0o755)
        self.state = self.root / "state"
        self._port = port

    def __enter__(self) -> "Place":
        return self

    def __exit__(self, *_: object) -> None:
        self._run("destroy", "--yes")
        shutil.rmtree(self.root)

    def up(self, *options: str) -> float:
        """Seconds."""
        started = time.perf_counter()
        self._run("up", "--port", str(self._port), *options)
        return time.perf_counter() - started

    def platform(self) -> Platform:
        return open_platform(self.state)

    def _run(self, *words: str) -> None:
        command = [sys.executable, "-m", "clinical_ai.cli", *words, "--state", str(self.state)]
        run(command, env=_environment())


def snapshot(platform: Platform) -> str:
    """When each deployment, block, pool and automation was last written, and all runs."""
    api = platform.api
    rows = {
        "deployments": api.pages("/deployments/filter"),
        "blocks": api.pages("/block_documents/filter"),
        "pools": api.pages("/work_pools/filter"),
        "automations": api.pages("/automations/filter"),
    }
    written = {
        name: sorted((row["id"], row["updated"]) for row in each) for name, each in rows.items()
    }
    runs = sorted(row["id"] for row in api.pages("/flow_runs/filter") if row["start_time"])
    return json.dumps([written, runs])


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
