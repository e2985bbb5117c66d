"""`prefect deploy` from a checkout, as a person who knows only Prefect would do it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from clinical_ai import names
from clinical_ai.adapters.port_forward import forwarded
from clinical_ai.steps.runs import run_to_end
from tests.support.cluster_site import CHECKOUT
from tests.support.production_site import ProductionSite

pytestmark = [pytest.mark.cluster, pytest.mark.parts, pytest.mark.timeout(900)]


def prefect_deploy(site: ProductionSite, home: Path) -> None:
    with forwarded(os.environ, site.namespace, names.SERVER, names.API_PORT) as port:
        environment = {
            **site.environment,
            "PREFECT_HOME": str(home),
            "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
            "PREFECT_API_AUTH_STRING": site.password(),
        }
        done = subprocess.run(
            [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"],
            cwd=CHECKOUT,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
    assert done.returncode == 0, done.stdout + done.stderr


def test_prefect_deploy_all_changes_nothing_that_matters(
    production: ProductionSite, tmp_path: Path
) -> None:
    prefect_deploy(production, tmp_path)
    production.quiet_schedules()  # it has switched them on
    told = production.deploy(report_only=True)
    assert told.run.completed, told.run.message
    assert told.differing == {}
    with production.reach() as api:
        for deployment in (names.CANARY, names.PLATFORM_CANARY):
            run = run_to_end(api, deployment, {"token": "e2e"}, seconds=180)
            assert run.completed, run.message
