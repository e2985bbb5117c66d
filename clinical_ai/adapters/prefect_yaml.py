"""What a release registers: prefect.yaml with the schemas its flows have.

Run once a release, by the release's own interpreter (`python -m clinical_ai.adapters.prefect_yaml
FOLDER`), because it imports Prefect and every flow; prints JSON.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

import yaml


def render(folder: Path) -> dict[str, Any]:
    """Deployments, block type and schema, and the process worker's base job template."""
    from prefect.workers.process import ProcessWorker

    os.chdir(folder)
    wanted = yaml.safe_load((folder / "prefect.yaml").read_text())
    return {
        "deployments": [_deployment(entry, wanted["pull"]) for entry in wanted["deployments"]],
        "block": _block(),
        "revision": _revision(),
        "job_template": ProcessWorker.get_default_base_job_template(),
    }


def _deployment(entry: dict[str, Any], pull: list[dict[str, Any]]) -> dict[str, Any]:
    """The body Prefect's own `deploy` would send, as far as this file uses its keys."""
    from prefect.flows import load_flow_from_entrypoint
    from prefect.utilities.callables import parameter_schema

    flow: Any = load_flow_from_entrypoint(entry["entrypoint"], use_placeholder_flow=False)
    limit = entry.get("concurrency_limit")
    return {
        "flow_name": flow.name,
        "name": entry["name"],
        "entrypoint": entry["entrypoint"],
        "path": None,
        "version": entry["version"],
        "description": entry["description"],
        "tags": entry["tags"],
        "parameters": entry.get("parameters", {}),
        "parameter_openapi_schema": parameter_schema(flow).model_dump(exclude_unset=True),
        "enforce_parameter_schema": entry["enforce_parameter_schema"],
        "pull_steps": pull,
        "job_variables": entry["work_pool"].get("job_variables", {}),
        "work_pool_name": entry["work_pool"]["name"],
        "work_queue_name": entry["work_pool"]["work_queue_name"],
        "concurrency_limit": limit["limit"] if limit else None,
        "concurrency_options": (
            {"collision_strategy": limit["collision_strategy"]} if limit else None
        ),
        "schedules": [_schedule(schedule) for schedule in entry.get("schedules", [])],
    }


def _schedule(entry: dict[str, Any]) -> dict[str, Any]:
    timing = {key: entry[key] for key in ("cron", "interval", "rrule", "timezone") if key in entry}
    rest: dict[str, Any] = {
        key: entry[key] for key in ("slug", "parameters", "active") if key in entry
    }
    return {"schedule": timing, **rest}


def _revision() -> str:
    """The newest revision of Prefect's PostgreSQL schema, read from its migrations."""
    import prefect.server.database
    from alembic.script import ScriptDirectory

    folder = (
        Path(prefect.server.database.__file__).parent / "_migrations" / "versions" / "postgresql"
    )
    scripts = ScriptDirectory(str(folder.parent.parent), version_locations=[str(folder)])
    return str(scripts.get_current_head())


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
    json.dump(render(Path(sys.argv[1])), sys.stdout)
