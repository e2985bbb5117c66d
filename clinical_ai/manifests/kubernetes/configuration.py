"""The ConfigMap with the guide's keys."""

import json
from hashlib import sha256

from clinical_ai import names
from clinical_ai.manifests.kubernetes.metadata import Manifest, made
from clinical_ai.settings import Production, Settings


def config_map(settings: Settings) -> Manifest:
    """What pods and people read of the settings."""
    return made("v1/ConfigMap", names.CONFIGURATION, settings, {"data": values(settings)})


def values(settings: Settings) -> dict[str, str]:
    """The guide's keys."""
    place = (
        {"aws-region": settings.aws_region}
        if isinstance(settings, Production)
        else {"minio-endpoint": settings.minio_endpoint or ""}
    )
    return {
        "storage-environment": settings.storage_environment,
        **place,
        "prefect-api-url": settings.prefect_api_url,
    }


def digest(settings: Settings) -> str:
    """Changes when a value does: pods read the ConfigMap once, so they are replaced."""
    return sha256(json.dumps(values(settings), sort_keys=True).encode()).hexdigest()[:16]
