"""`make faults`: seeded kills of `up`, of processes and of everything, each healed by `up`.

Bounded: `--rounds` rounds on one platform of its own, which is destroyed at the end. Not part of
`make test`: it takes about half a minute a round.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from time import monotonic

from clinical_ai.adapters.orphans import flow_runs_of, processes_of
from clinical_ai.steps.runs import lost_runs
from clinical_ai.steps.verify import POOLS
from clinical_ai.waiting import Sighting, wait_until
from clinical_ai.wiring import Platform, open_platform

CHECKOUT = Path(__file__).resolve().parent.parent
EXPECTED = {"trial": 2139, "patient": 22, "observation": 64}


def main(arguments: list[str]) -> int:
    """0 when every round healed; the first round that did not is told with its seed."""
    parser = argparse.ArgumentParser(prog="make faults", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--port", type=int, default=4390)
    options = parser.parse_args(arguments)
    root = Path(tempfile.mkdtemp(prefix="clinical-ai-faults-"))
    root.chmod(0o755)
    chance = random.Random(options.seed)
    try:
        for number in range(1, options.rounds + 1):
            started = monotonic()
            state = root / "state"
            if number > 1 and chance.random() < 0.2:  # a first installation now and then
                _run(["destroy", "--yes"], state)
            told = _break(chance, state, options.port)
            faults = _heal(state, options.port)
            seconds = monotonic() - started
            sys.stdout.write(f"{number:3} {told:<42} {faults or 'healed'}  {seconds:.0f} s\n")
            sys.stdout.flush()
            if faults:
                sys.stdout.write(f"seed {options.seed}, round {number}: kept in {root}\n")
                return 1
        _run(["destroy", "--yes"], root / "state")
    except KeyboardInterrupt:
        _run(["destroy", "--yes"], root / "state")
    shutil.rmtree(root)
    return 0


def _break(chance: random.Random, state: Path, port: int) -> str:
    """One fault; what it was."""
    victims = processes_of(state)
    choice = chance.random()
    if choice < 0.6 or not victims:
        return _interrupt_up(chance, state, port)
    if choice < 0.85:
        victim = chance.choice(victims)
        told = " ".join(victim.cmdline()[1:4])[-30:]
        victim.kill()
        return f"SIGKILL of {told}"
    for victim in victims:
        victim.kill()
    return f"SIGKILL of all {len(victims)}"


def _interrupt_up(chance: random.Random, state: Path, port: int) -> str:
    """Kill `up` at a random moment, of what is left when the platform was touched before."""
    if chance.random() < 0.5 and (state / "instance.json").exists():
        for victim in processes_of(state):
            victim.kill()
    seconds = chance.uniform(0.05, 20)
    how = chance.choice([signal.SIGINT, signal.SIGKILL])
    process = subprocess.Popen(_command(["up", "--port", str(port)], state), **_quiet())
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, how)
        process.wait()
    return f"{how.name} to up after {seconds:.1f} s"


def _heal(state: Path, port: int) -> str:
    """Run `up` to its end; what is wrong afterwards, or nothing."""
    healed = _run(["up", "--port", str(port)], state)
    if healed.returncode:
        return f"up failed: {(healed.stderr or healed.stdout)[-600:]}"
    if "Traceback" in healed.stderr:
        return f"traceback: {healed.stderr[-600:]}"
    platform = open_platform(state)
    for table, wanted in EXPECTED.items():
        rows = platform.database.query(f"select count(*) as n from demonstration.{table}")
        if rows[0]["n"] != wanted:
            return f"{table} has {rows[0]['n']} rows, not {wanted}"
    wait_until("runs without a process to be settled", lambda: _settled(platform), seconds=150)
    status = _run(["status", "--json"], state)
    return "" if json.loads(status.stdout)["healthy"] else f"not healthy: {status.stdout[-600:]}"


def _settled(platform: Platform) -> Sighting:
    living = flow_runs_of(platform.state.root)
    lost = [row["name"] for pool in POOLS for row in lost_runs(platform.api, pool, living)]
    return Sighting(done=not lost, summary=f"{len(lost)} lost runs")


def _command(words: list[str], state: Path) -> list[str]:
    return [sys.executable, "-m", "clinical_ai.cli", *words, "--state", str(state)]


def _run(words: list[str], state: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        _command(words, state), cwd=CHECKOUT, capture_output=True, text=True, check=False
    )


def _quiet() -> dict[str, object]:
    return {
        "cwd": CHECKOUT,
        "stdout": subprocess.DEVNULL,
        "stderr": subprocess.DEVNULL,
        "start_new_session": True,
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
