"""What a release registers, rendered once by the release's own interpreter."""

import json
import subprocess
from pathlib import Path
from typing import Any

from clinical_ai.adapters.files import write_atomically
from clinical_ai.errors import NeedsOperator
from clinical_ai.manifests.processes import Place

NAME = "rendered.json"


def find_rendered(release: Path) -> dict[str, Any] | None:
    """What was rendered before, or None."""
    try:
        found: dict[str, Any] = json.loads((release / NAME).read_text())
    except FileNotFoundError:
        return None
    except ValueError:
        raise NeedsOperator(f"{release / NAME} is damaged", "remove it and run `make up`") from None
    return found


def ensure_rendered(place: Place, user: tuple[int, int] | None) -> dict[str, Any]:
    """Deployments, block schema and job template of the release."""
    found = find_rendered(place.release)
    if found is not None:
        return found
    uid, gid = user or (None, None)
    made = subprocess.run(
        [place.python, "-m", "clinical_ai.adapters.prefect_yaml", place.code],
        cwd=place.state.scratch,
        env={
            "PATH": "/usr/bin:/bin",
            "LANG": "C.UTF-8",
            "PYTHONTZPATH": "",
            "HOME": str(place.state.scratch),
            "PREFECT_HOME": str(place.state.prefect),
            "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
        },
        capture_output=True,
        text=True,
        check=False,
        user=uid,
        group=gid,
        extra_groups=None if uid is None else [],
    )
    if made.returncode:
        last = (made.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise NeedsOperator(f"the release's flows can't be read: {last}", "correct that flow")
    write_atomically(place.release / NAME, made.stdout, mode=0o644)
    rendered: dict[str, Any] = json.loads(made.stdout)
    return rendered
