"""What a release registers: prefect.yaml with the schemas its flows have.

Run once a release, by the release's own interpreter (`python -m clinical_ai.adapters.prefect_yaml
FOLDER`), because it imports Prefect and every flow; prints JSON.
"""

import gc
import json
import os
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from clinical_ai.adapters.deployment_file import read
from clinical_ai.adapters.prefect_revisions import newest_revision


def render(folder: Path) -> dict[str, Any]:
    """Deployments, block type and schema, and the process worker's base job template."""
    from prefect.workers.process import ProcessWorker

    os.chdir(folder)
    with redirect_stdout(sys.stderr):
        found = read(folder / "prefect.yaml")
    if found["faults"]:
        told = [f"prefect.yaml:{f['line']}: {f['problem']}; {f['remedy']}" for f in found["faults"]]
        sys.exit("\n".join(told))
    return {
        "deployments": found["deployments"],
        "block": _block(),
        "revision": newest_revision(),
        "job_template": ProcessWorker.get_default_base_job_template(),
    }


def _block() -> dict[str, Any]:
    from importlib import import_module

    # By name: blocks lie above this layer, and only this separate process needs the class.
    block = import_module("blocks.settings").ClinicalAiSettings
    return {
        "type": block._to_block_type().model_dump(
            mode="json", include={"name", "slug", "logo_url", "description", "code_example"}
        ),
        "fields": block.model_json_schema(),
        "checksum": block._calculate_schema_checksum(),
        "capabilities": sorted(block.get_block_capabilities()),
        "version": block.get_block_schema_version(),
    }


if __name__ == "__main__":
    gc.disable()  # a sixth of the time, in a process that ends before it needs memory back
    json.dump(render(Path(sys.argv[1])), sys.stdout)
