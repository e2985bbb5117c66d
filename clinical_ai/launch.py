"""Starts one process of the platform: waits for what it needs, fetches its secrets, becomes it.

Run by the supervisor as `python -m clinical_ai.launch SPEC`. Secrets go from their files straight
into the environment of the process; they are in no configuration and no argument list.
"""

import http.client
import json
import logging
import os
import runpy
import signal
import sys
from base64 import b64encode
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from clinical_ai import names
from clinical_ai.errors import PlatformError
from clinical_ai.waiting import Sighting, wait_until

_SECONDS: Final = 120  # after that the supervisor tries again
log = logging.getLogger("clinical_ai.launch")


def main(arguments: list[str]) -> int:
    """Become the Prefect process that the spec file describes."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    spec = json.loads(Path(arguments[0]).read_text())
    kept = {"CLINICAL_AI_SPEC": os.environ.get("CLINICAL_AI_SPEC", "")}
    os.environ.clear()
    # Before pydantic is imported: zoneinfo reads PYTHONTZPATH then, and never again.
    os.environ.update(spec["environment"] | kept)
    if spec["secrets"]:
        from clinical_ai.adapters.file_secrets import FileSecrets

        store = FileSecrets(Path(spec["environment"][names.STATE_VARIABLE]) / "secrets")
        spec["environment"] |= {
            variable: store.get(reference).get_secret_value()
            for variable, reference in spec["secrets"].items()
        }
        os.environ.update(spec["environment"])
    return _become_prefect(spec)


def _become_prefect(spec: dict[str, Any]) -> int:
    """Run Prefect's command line in this very process, imported while others still start."""
    import prefect.cli

    if "worker" in spec["command"]:
        import prefect.workers.process  # noqa: F401 - imported early, used by the command line
    _await(spec)
    if spec["settles"]:
        from clinical_ai.steps.runs import settle_lost_runs
        from clinical_ai.wiring import open_api, running_flow_runs

        state = Path(spec["environment"][names.STATE_VARIABLE])
        for change in settle_lost_runs(open_api(state), spec["settles"], running_flow_runs(state)):
            log.info("%s", change)
    # A shell in the background may have left SIGINT ignored; Prefect turns SIGTERM into it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.argv = ["prefect", *spec["command"][3:]]
    runpy.run_module("prefect", run_name="__main__")
    return 0


def _await(spec: dict[str, Any]) -> None:
    environment = spec["environment"]
    for needed in spec["waits_for"]:
        if needed in environment:
            look = partial(_look_at_database, environment[needed])
        else:
            look = partial(_look_at_api, needed, environment.get("PREFECT_API_AUTH_STRING"))
        wait_until(needed, look, seconds=_SECONDS, every=0.25)


def _look_at_database(url: str) -> Sighting:
    """Whether this process may log in; on a first start its role is made meanwhile."""
    import psycopg2

    try:
        psycopg2.connect(url.replace("+asyncpg", ""), connect_timeout=5).close()
    except psycopg2.OperationalError:
        return Sighting(done=False, summary="the database does not let this process in yet")
    return Sighting(done=True, summary="logged in")


def _look_at_api(address: str, auth: str | None) -> Sighting:
    """Whether an `http://` address answers below 400."""
    parts = urlsplit(address)
    headers = {"Authorization": f"Basic {b64encode(auth.encode()).decode()}"} if auth else {}
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port or 80, timeout=10)
    try:
        connection.request("GET", parts.path, headers=headers)
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return Sighting(done=False, summary=type(error).__name__)
    finally:
        connection.close()
    return Sighting(done=status < 400, summary=f"answers {status}")


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except PlatformError as error:
        sys.exit(f"{type(error).__name__}: {error}")
