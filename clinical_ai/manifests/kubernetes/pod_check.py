"""The Job that looks at the database and the storage from inside the cluster."""

import json
from dataclasses import replace

from clinical_ai import names
from clinical_ai.manifests.kubernetes import environment, pods, pools
from clinical_ai.manifests.kubernetes.metadata import Manifest, made
from clinical_ai.release import Release
from clinical_ai.settings import Settings, dump

_SECONDS: int = 300


def pod_check(settings: Settings, release: Release) -> Manifest:
    """As a run of the platform's own flows is started, without rights in the cluster."""
    work = pools.work(settings, release)
    settings_text = json.dumps(dump(settings), sort_keys=True)  # references, never a secret
    settings_text = settings_text.replace("$", "\\u0024")  # or the kubelet replaces $(NAME)
    container = {
        **work.container,
        "name": "check",
        "command": ["python", "-m", "clinical_ai.pod_check"],
        "env": [
            *work.container["env"],
            *environment.plain({names.SETTINGS_VARIABLE: settings_text}),
        ],
    }
    work = replace(work, container=container, api_access=False, scratch="100Mi")
    template = pods.template(settings, release, work)
    template["spec"]["restartPolicy"] = "Never"
    body = {
        "backoffLimit": 0,
        "activeDeadlineSeconds": _SECONDS,
        "ttlSecondsAfterFinished": _SECONDS,
        "template": template,
    }
    return made("batch/v1/Job", names.POD_CHECK, settings, {"spec": body}, of=names.PLATFORM_JOB)
