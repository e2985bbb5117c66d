"""Kills of `up`, of processes and of everything on one machine, each healed by `up`."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from clinical_ai.adapters.orphans import flow_runs_of, processes_of
from clinical_ai.steps.runs import lost_runs
from clinical_ai.steps.verify import POOLS
from clinical_ai.waiting import Sighting, wait_until
from clinical_ai.wiring import Platform, open_platform

CHECKOUT = Path(__file__).resolve().parent.parent.parent
EXPECTED = {"trial": 2139, "patient": 22, "observation": 64}


class Machine:
    """A platform in a folder of its own."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._root = Path(tempfile.mkdtemp(prefix="clinical-ai-faults-"))
        self._root.chmod(0o755)
        self._state = self._root / "state"
        self._hurt = False

    @property
    def place(self) -> str:
        return str(self._root)

    def hurt(self, chance: random.Random) -> str:
        """One fault; what it was."""
        if self._hurt and chance.random() < 0.2:  # a first installation now and then
            self._run("destroy", "--yes")
        self._hurt = True
        victims = processes_of(self._state)
        choice = chance.random()
        if choice < 0.6 or not victims:
            return self._interrupt_up(chance)
        if choice < 0.85:
            victim = chance.choice(victims)
            told = " ".join(victim.cmdline()[1:4])[-30:]
            victim.kill()
            return f"SIGKILL of {told}"
        for victim in victims:
            victim.kill()
        return f"SIGKILL of all {len(victims)}"

    def heal(self) -> str:
        """Run `up` to its end; what is wrong afterwards, or nothing."""
        healed = self._run("up", "--port", str(self._port))
        if healed.returncode:
            return f"up failed: {(healed.stderr or healed.stdout)[-600:]}"
        if "Traceback" in healed.stderr:
            return f"traceback: {healed.stderr[-600:]}"
        platform = open_platform(self._state)
        for table, wanted in EXPECTED.items():
            rows = platform.database.query(f"select count(*) as n from demonstration.{table}")
            if rows[0]["n"] != wanted:
                return f"{table} has {rows[0]['n']} rows, not {wanted}"
        wait_until("runs without a process to be settled", lambda: _settled(platform), seconds=150)
        status = self._run("status", "--json")
        healthy = json.loads(status.stdout)["healthy"]
        return "" if healthy else f"not healthy: {status.stdout[-600:]}"

    def remove(self) -> None:
        """Nothing runs any more, and the folder is gone."""
        self._run("destroy", "--yes")
        shutil.rmtree(self._root)

    def _interrupt_up(self, chance: random.Random) -> str:
        """Kill `up` at a random moment, of what is left when the platform was touched before."""
        if chance.random() < 0.5 and (self._state / "instance.json").exists():
            for victim in processes_of(self._state):
                victim.kill()
        seconds = chance.uniform(0.05, 20)
        how = chance.choice([signal.SIGINT, signal.SIGKILL])
        process = subprocess.Popen(
            self._command("up", "--port", str(self._port)),
            cwd=CHECKOUT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, how)
            process.wait()
        return f"{how.name} to up after {seconds:.1f} s"

    def _command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "clinical_ai.cli", *words, "--state", str(self._state)]

    def _run(self, *words: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            self._command(*words), cwd=CHECKOUT, capture_output=True, text=True, check=False
        )


def _settled(platform: Platform) -> Sighting:
    living = flow_runs_of(platform.state.root)
    lost = [row["name"] for pool in POOLS for row in lost_runs(platform.api, pool, living)]
    return Sighting(done=not lost, summary=f"{len(lost)} lost runs")
