"""A team's deployment in the clinical pool of a cluster: its runs take as long as they are told."""

import base64
from typing import Final

from clinical_ai import names
from clinical_ai.ports import PrefectApi
from clinical_ai.steps.runs import get_run, start_run
from clinical_ai.waiting import Sighting, wait_until

_FLOW: Final = """
import time
from prefect import flow

@flow(name="patient")
def patient(seconds: int):
    for _ in range(seconds):
        time.sleep(1)
"""
_FOLDER: Final = "/tmp/patient"  # noqa: S108 - of a pod
_CODE: Final = base64.b64encode(_FLOW.encode()).decode()
_WRITE: Final = (
    f"import base64, pathlib; folder = pathlib.Path('{_FOLDER}'); folder.mkdir(exist_ok=True); "
    f"(folder / 'patient.py').write_bytes(base64.b64decode('{_CODE}'))"
)
_STEPS: Final = "prefect.deployments.steps"


def deploy_patient(api: PrefectApi) -> str:
    """The id of the deployment, which whoever made it deletes."""
    made = api.post(
        "/deployments/",
        {
            "name": "patient",
            "flow_id": api.post("/flows/", {"name": "patient"})["id"],
            "work_pool_name": names.POOL,
            "entrypoint": "patient.py:patient",
            "pull_steps": [
                {f"{_STEPS}.run_shell_script": {"script": f'python -c "{_WRITE}"'}},
                {f"{_STEPS}.set_working_directory": {"directory": _FOLDER}},
            ],
        },
    )
    return str(made["id"])


def begin(api: PrefectApi, *seconds: int) -> list[str]:
    """The ids of runs that have begun."""
    ids = [start_run(api, "patient/patient", {"seconds": each}) for each in seconds]

    def look() -> Sighting:
        states = [get_run(api, each).state for each in ids]
        return Sighting(set(states) == {"RUNNING"}, f"they are {', '.join(states)}")

    wait_until("clinical runs to begin", look, seconds=180)
    return ids
