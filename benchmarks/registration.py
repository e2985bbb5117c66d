"""200 deployments registered, against `prefect deploy --all` of one file to one server."""

import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.imports import CHECKOUT, Row, run
from benchmarks.up import PORT, Place
from clinical_ai.adapters.prefect_rest import PrefectRest
from clinical_ai.steps.registration import follow, look, read_deployments, register
from clinical_ai.wiring import Platform

COUNT = 200
FLOWS = """
from prefect import flow


@flow
def load(source: str = "", rows: int = 1):
    pass
"""
HEAD = """\
name: many
pull:
  - prefect.deployments.steps.set_working_directory: {directory: /app}
deployments:
"""
ENTRY = """\
  - name: load-{number}
    entrypoint: flows.py:load
    description: {description}
    tags: ["owner:benchmark"]
    parameters: {{rows: {number}}}
    work_pool: {{name: default, work_queue_name: default}}
"""
SCHEDULE = """\
    schedules:
      - {{slug: daily, cron: "{minute} 5 * * *", timezone: UTC}}
"""


def measure(rounds: int) -> list[Row]:
    """Alternating, so that noise meets both."""
    with Place(PORT + 8) as place, _folder() as folder:
        place.up("--no-demonstration")
        platform, environment = place.platform(), _environment(place)

        def deploy() -> None:
            command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"]
            run(command, cwd=folder, env=environment)

        def ours() -> None:
            _register(platform, folder)

        def command_line() -> None:
            words = ["register", str(folder / "prefect.yaml"), "--state", str(place.state)]
            run([sys.executable, "-m", "clinical_ai.cli", *words])

        times: dict[str, list[float]] = {}
        for number in range(rounds):
            _write(folder, COUNT, f"of round {number}")
            _time(times, "deploy", deploy)
            _time(times, "deploy again", deploy)
            _time(times, "ours again", ours)
            _time(times, "command line again", command_line)
            _write(folder, COUNT, f"of round {number}, other")
            _time(times, "ours", ours)
            _unschedule(platform)
            _write(folder, COUNT, f"of round {number}, third", schedule="")
            _time(times, "deploy unscheduled", deploy)
            _write(folder, COUNT, f"of round {number}, fourth", schedule="")
            _time(times, "ours unscheduled", ours)
        told = {name: median(each) for name, each in times.items()}
        what, again = f"register {COUNT} deployments", told["deploy again"]
        return [
            Row(f"{what}, nothing to do, in a running process", told["ours again"], again, 0.05),
            Row(f"{what}, nothing to do, command line", told["command line again"], again, 0.1),
            Row(
                f"{what} without schedules, all changed",
                told["ours unscheduled"],
                told["deploy unscheduled"],
                0.2,
            ),
            # About a fifth: the server's own work on runs that are made anew is half of it.
            Row(f"{what} with a schedule each, all changed", told["ours"], told["deploy"], 0.28),
            *_requests(platform, folder),
        ]


def _time(times: dict[str, list[float]], name: str, job: Callable[[], None]) -> None:
    started = time.perf_counter()
    job()
    times.setdefault(name, []).append(time.perf_counter() - started)


def _requests(platform: Platform, folder: Path) -> list[Row]:
    """Requests for 10, 100 and 500: reads by page, writes by deployment."""
    unchanged, changed = [], []
    for number in (10, 100, 500):
        _write(folder, number, f"of {number}")
        _register(platform, folder)
        unchanged.append(_requests_of(platform, folder))
        _write(folder, number, f"other of {number}")
        changed.append(_requests_of(platform, folder))
    few, many, most = changed
    told = "requests to Prefect, 500 deployments against"
    return [
        Row(f"{told} 10, nothing to do", unchanged[2], unchanged[0], 2.0, "requests"),
        Row(f"{told} 100, all changed", most, many, 5.0, "requests"),
        Row(f"{told} 10, all changed", most, few, 50.0, "requests"),
    ]


def _requests_of(platform: Platform, folder: Path) -> int:
    counting = _Counting(platform.api)
    with platform.reading([folder / "prefect.yaml"], os.environ) as read:
        register(counting, read(), "benchmark", confirmed=True)
    return counting.count


class _Counting(PrefectRest):
    """The same connection, with its requests counted."""

    def __init__(self, api: Any) -> None:
        vars(self).update(vars(api))
        self.count = 0

    def _send(self, method: str, path: str, body: object = None) -> Any:
        self.count += 1
        return super()._send(method, path, body)


def _unschedule(platform: Platform) -> None:
    """A schedule that is in no file stays; those of the rows before would."""
    for found in read_deployments(platform.api):
        for schedule in found.row["schedules"] if found.row["name"].startswith("load-") else ():
            platform.api.delete(f"/deployments/{found.row['id']}/schedules/{schedule['id']}")


def _write(folder: Path, count: int, description: str, schedule: str = SCHEDULE) -> None:
    (folder / "flows.py").write_text(FLOWS)
    entries = "".join(
        (ENTRY + schedule).format(number=number, description=description, minute=number % 60)
        for number in range(count)
    )
    (folder / "prefect.yaml").write_text(HEAD + entries)


def _register(platform: Platform, folder: Path) -> None:
    """As register/flows does it."""
    reading = platform.reading([folder / "prefect.yaml"], os.environ)
    wanted, steps = look(platform.api, reading)
    follow(platform.api, wanted, steps, "benchmark", confirmed=True)


def _environment(place: Place) -> dict[str, str]:
    """What `clinical-ai env` tells a person to export."""
    words = [sys.executable, "-m", "clinical_ai.cli", "env", "--state", str(place.state)]
    done = subprocess.run(words, cwd=CHECKOUT, capture_output=True, text=True, check=True)
    lines = [shlex.split(line)[-1] for line in done.stdout.splitlines()]
    told = dict(line.split("=", 1) for line in lines)
    return {"PATH": os.environ["PATH"], "HOME": str(place.root), "DO_NOT_TRACK": "1", **told}


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="clinical-ai-many-") as folder:
        yield Path(folder)
