"""A run that is killed anywhere leaves nothing that the next one does not put right."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import SecretStr

from clinical_ai.adapters.folder_storage import FolderStore
from clinical_ai.waiting import Sighting, wait_until
from tests.support.connector import SCHEMA, Bench
from tests.support.killed_run import POINTS

ROWS = 300


@pytest.mark.parametrize("point", POINTS)
def test_after_a_kill_the_next_run_is_complete_and_doubles_nothing(
    point: str, database_url: SecretStr, tmp_path: Path
) -> None:
    storage, waiting = tmp_path / "storage", tmp_path / "waiting"
    storage.mkdir()
    waiting.mkdir()
    bench = Bench(database_url, FolderStore(storage))
    bench.destination()
    bench.source("fhir")
    for kind in ("Patient", "Observation"):
        texts = [json.dumps({"resourceType": kind, "id": f"{n}"}) for n in range(ROWS)]
        bench.put(f"{kind}.ndjson", *texts)

    killed = subprocess.run(
        [sys.executable, "-m", "tests.support.killed_run", point, str(storage)],
        input=database_url.get_secret_value().encode(),
        env={**os.environ, "TMPDIR": str(waiting)},
        cwd=Path(__file__).parents[2],
        timeout=60,
        check=False,
        capture_output=True,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    wait_until("PostgreSQL to see the end of it", lambda: unlocked(bench), seconds=30, every=0.05)

    outcome = bench.run("fhir")
    counted = [
        bench.database.query(f"select count(*) as n, count(distinct id) as d from {SCHEMA}.{table}")
        for table in ("patient", "observation")
    ]
    assert counted == [[{"n": ROWS, "d": ROWS}]] * 2
    assert outcome.summary()["rows_read"] == (0 if point == POINTS[-1] else 2 * ROWS)
    assert bench.run("fhir").summary()["rows_read"] == 0


def unlocked(bench: Bench) -> Sighting:
    """A dead session's lock goes a moment after its connection."""
    sql = "select count(*) as n from pg_locks where locktype = 'advisory' and database = "
    sql += "(select oid from pg_database where datname = current_database())"
    held = bench.database.query(sql)[0]["n"]
    return Sighting(done=held == 0, summary=f"{held} locks are held")
