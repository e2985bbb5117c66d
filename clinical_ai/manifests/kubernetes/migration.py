"""The Job that brings Prefect's database to the release's revision, and fails hard."""

import json
from hashlib import sha256
from typing import Final

from clinical_ai import names
from clinical_ai.manifests.kubernetes import pods, server
from clinical_ai.manifests.kubernetes.metadata import Manifest, made
from clinical_ai.release import Release
from clinical_ai.settings import Settings

DROP: Final = "--drop"  # the argument that ends in an empty database
_SECONDS: Final = 1800


def migration(settings: Settings, release: Release) -> Manifest:
    """Named by what it does: one that was carried out is found, another release is another Job.

    One attempt: a migration that failed half-way is for a person or for the undo to look at.
    """
    work = pods.Work(
        name=names.MIGRATION,
        container={
            "name": "migration",
            "command": ["python", "-m", "clinical_ai.migrate"],
            "env": server.database(settings),
        },
        requests=("200m", "256Mi"),
        limits=("1", "512Mi"),
    )
    template = pods.template(settings, release, work)
    template["spec"]["restartPolicy"] = "Never"
    body = {
        "backoffLimit": 0,
        "activeDeadlineSeconds": _SECONDS,
        "completions": 1,
        "parallelism": 1,
        "template": template,
    }
    digest = sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:8]
    name = f"{names.MIGRATION}-{release.content}-{digest}"
    return made("batch/v1/Job", name, settings, {"spec": body}, of=names.MIGRATION)
