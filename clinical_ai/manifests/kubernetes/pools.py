"""Both work pools of a cluster.

A deployment may choose how long its Job stays, and what it takes of a node. What decides whose
rights a run has (image, ServiceAccount, namespace, security) is the platform's alone.
"""

from collections.abc import Mapping
from typing import Any, Final

from clinical_ai import names
from clinical_ai.manifests import orchestration
from clinical_ai.manifests.kubernetes import credentials, environment, pods, vault_agent
from clinical_ai.manifests.kubernetes.metadata import cluster_of, labels
from clinical_ai.release import Release
from clinical_ai.settings import Settings

_REQUESTS: Final = ("200m", "384Mi")
_LIMITS: Final = ("1", "1Gi")
_KEPT_SECONDS: Final = 3600
# The shape that prefect-kubernetes gives its own variables.
_TEXT: Final = {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None}
_WHOLE: Final = {"anyOf": [{"type": "integer"}, {"type": "null"}], "default": None}
_WORDS: Final = {"type": "object", "additionalProperties": {"type": "string"}}


def pools(
    settings: Settings, release: Release, template: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Both pools; `template` is the process worker's own base job template."""
    return [
        {
            "name": names.POOL,
            "type": "process",
            "description": "Clinical runs.",
            "concurrency_limit": settings.worker_concurrency,
            "base_job_template": orchestration.process_template(
                template, names.IMAGE_CODE, "python"
            ),
        },
        {
            "name": names.PLATFORM_POOL,
            "type": "kubernetes",
            "description": "Runs of the platform's own flows.",
            "concurrency_limit": settings.platform_concurrency,
            "base_job_template": platform_template(settings, release),
        },
    ]


def platform_template(settings: Settings, release: Release) -> dict[str, Any]:
    """The Kubernetes worker's base job template."""
    manifest = job(settings, release)
    container = manifest["spec"]["template"]["spec"]["containers"][0]
    container["resources"], chosen = _overridable(container["resources"])
    return {
        "job_configuration": {
            "name": "{{ name }}",
            "command": "{{ command }}",
            "env": "{{ env }}",
            "labels": "{{ labels }}",
            "annotations": "{{ annotations }}",
            "namespace": cluster_of(settings).namespace,
            "job_manifest": manifest,
            "job_watch_timeout_seconds": "{{ job_watch_timeout_seconds }}",
            "pod_watch_timeout_seconds": "{{ pod_watch_timeout_seconds }}",
            "stream_output": "{{ stream_output }}",
        },
        "variables": {"type": "object", "properties": _variables(chosen)},
    }


def job(settings: Settings, release: Release) -> dict[str, Any]:
    """The Job of one run, with the worker's placeholders in it."""
    pod = pods.template(settings, release, work(settings, release))
    pod["spec"] |= {
        # Not fields of a pod, but the worker refuses a template without them; the API drops them.
        "parallelism": 1,
        "completions": 1,
        "restartPolicy": "Never",
    }
    pod["spec"]["containers"][0]["args"] = "{{ command }}"
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "generateName": "{{ name }}-",
            "namespace": cluster_of(settings).namespace,
            "labels": labels(settings, names.PLATFORM_JOB),
        },
        "spec": {
            # A run that lost its pod is brought back by Prefect, not by the Job.
            "backoffLimit": 0,
            "ttlSecondsAfterFinished": "{{ finished_job_ttl }}",
            "template": pod,
        },
    }


def work(settings: Settings, release: Release) -> pods.Work:
    """What a run of the platform's own flows is given."""
    own = (names.PREFECT_DATABASE_URL, names.API_AUTH)
    volumes, mounts = credentials.mounted(settings, *own, heals=True)
    return pods.Work(
        name=names.PLATFORM_JOB,
        container={
            "name": "prefect-job",
            # Prefect's own settings are the worker's, which copies them; its folders are not.
            "env": [
                *environment.python(settings),
                *environment.clinical(settings, needed=False),
                # deploy/self applies the release that it runs from.
                *environment.plain(
                    {names.IMAGE_VARIABLE: release.image, names.CONTENT_VARIABLE: release.content}
                ),
            ],
        },
        requests=_REQUESTS,
        limits=_LIMITS,
        parts=pods.joined(
            [
                pods.Parts(volumes=volumes, mounts=mounts),
                vault_agent.containers(settings, sidecar=False),
            ]
        ),
        seconds_to_stop=60,
        scratch="4Gi",
        api_access=True,
    )


def _variables(amounts: Mapping[str, str]) -> dict[str, Any]:
    """What a deployment may choose, with the names that prefect-kubernetes gives it."""
    return {
        "name": {**_TEXT, "title": "Name"},
        "env": {**_WORDS, "title": "Environment Variables"},
        "labels": {**_WORDS, "title": "Labels"},
        "annotations": {**_WORDS, "title": "Annotations"},
        "command": {**_TEXT, "title": "Command"},
        "finished_job_ttl": {**_WHOLE, "title": "Finished Job TTL", "default": _KEPT_SECONDS},
        "job_watch_timeout_seconds": {**_WHOLE, "title": "Job Watch Timeout Seconds"},
        "pod_watch_timeout_seconds": {
            "type": "integer",
            "title": "Pod Watch Timeout Seconds",
            "default": 300,
        },
        "stream_output": {"type": "boolean", "title": "Stream Output", "default": True},
        **{
            name: {**_TEXT, "title": name.replace("_", " "), "default": amount}
            for name, amount in amounts.items()
        },
    }


def _overridable(resources: dict[str, dict[str, str]]) -> tuple[dict[str, Any], dict[str, str]]:
    """The resources with placeholders, and what stands for each when nothing is chosen."""
    chosen = {
        f"{what}_{kind}": resources[f"{kind}s"][what]
        for what in ("cpu", "memory")
        for kind in ("request", "limit")
    }
    placeholders = {
        kind: {
            name: f"{{{{ {name}_{kind.removesuffix('s')} }}}}" if name in ("cpu", "memory") else of
            for name, of in amounts.items()
        }
        for kind, amounts in resources.items()
    }
    return placeholders, chosen
