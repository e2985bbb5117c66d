"""Both workers: of processes for the clinical pool, of Jobs for the platform's."""

from typing import Any, Final

from clinical_ai import names
from clinical_ai.manifests.kubernetes import (
    credentials,
    environment,
    pods,
    vault_agent,
    vault_token,
    workloads,
)
from clinical_ai.manifests.kubernetes.metadata import Manifest, cluster_of
from clinical_ai.release import Release
from clinical_ai.secret_references import parts
from clinical_ai.settings import Settings

_SECONDS_AFTER_DRAIN: Final = 60
# The clinical worker's own runs die with it, so one is gone before the next takes runs.
_ONE_BY_ONE: Final = {
    "type": "RollingUpdate",
    "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0},
}
_BESIDE: Final = {
    "type": "RollingUpdate",
    "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1},
}


def worker(settings: Settings, release: Release) -> list[Manifest]:
    """The clinical worker, which runs flows as processes of its own."""
    volumes, mounts = credentials.mounted(settings)
    work = pods.Work(
        name=names.WORKER,
        container=_container(
            settings,
            names.WORKER_CONTAINER,
            _command("process", names.POOL),
            [*environment.client(settings), *environment.clinical(settings)],
        ),
        requests=("250m", "512Mi"),
        limits=("2", _memory(settings)),
        parts=pods.joined(
            [
                pods.Parts(volumes=volumes, mounts=mounts),
                vault_agent.containers(settings, sidecar=True),
                vault_token.of_runs(settings),
            ]
        ),
        seconds_to_stop=settings.drain_seconds + _SECONDS_AFTER_DRAIN,
        scratch="20Gi",
        replicas=cluster_of(settings).worker_replicas,
    )
    return _with_service(settings, release, work, _ONE_BY_ONE)


def platform_worker(settings: Settings, release: Release) -> list[Manifest]:
    """The worker of the platform's own flows, which runs each as a Job."""
    # It would copy the password into each Job's manifest in clear: named, the Job refers to it.
    secret, key = parts(names.API_AUTH)
    integration = "PREFECT_INTEGRATIONS_KUBERNETES"
    own = {
        f"{integration}_WORKER_API_AUTH_STRING_SECRET_NAME": secret,
        f"{integration}_WORKER_API_AUTH_STRING_SECRET_KEY": key,
        f"{integration}_OBSERVER_NAMESPACES": cluster_of(settings).namespace,
    }
    work = pods.Work(
        name=names.PLATFORM_WORKER,
        container=_container(
            settings,
            "prefect-platform-worker",
            _command("kubernetes", names.PLATFORM_POOL),
            [*environment.client(settings), *environment.plain(own)],
        ),
        requests=("100m", "256Mi"),
        limits=("1", "512Mi"),
        seconds_to_stop=60,
        api_access=True,
    )
    return _with_service(settings, release, work, _BESIDE)


def _with_service(
    settings: Settings, release: Release, work: pods.Work, strategy: dict[str, Any]
) -> list[Manifest]:
    return [
        workloads.service(settings, work.name, "health", names.HEALTH_PORT),
        workloads.budget(settings, work.name),
        workloads.deployment(settings, release, work, strategy),
    ]


def _command(kind: str, pool: str) -> list[str]:
    """Started directly: a shell in between would swallow the signal to stop."""
    prefect = "clinical_ai.kubernetes_worker" if kind == "kubernetes" else "prefect"
    return [
        *("python", "-m", prefect, "worker", "start", "--type", kind, "--pool", pool),
        *("--name", "$(POD_NAME)", "--with-healthcheck"),
        *("--no-create-pool-if-not-found", "--install-policy", "never"),
    ]


def _container(
    settings: Settings, name: str, command: list[str], variables: list[environment.Variable]
) -> dict[str, Any]:
    return {
        "name": name,
        "command": command,
        "env": [
            *variables,
            *environment.plain(
                {
                    "PREFECT_WORKER_QUERY_SECONDS": str(settings.worker_query_seconds),
                    "PREFECT_WORKER_WEBSERVER_PORT": str(names.HEALTH_PORT),
                }
            ),
        ],
        "ports": [{"name": "health", "containerPort": names.HEALTH_PORT, "protocol": "TCP"}],
        "startupProbe": pods.probe("/health", "health", every=3, times=60),
        "readinessProbe": pods.probe("/health", "health", every=10, times=3),
        # Not /health: it fails when the server is away, and a restart would kill running work.
        "livenessProbe": pods.probe("/openapi.json", "health", every=20, times=6),
    }


def _memory(settings: Settings) -> str:
    """200 MiB for the worker; a run starts with 90 MiB and holds one page of rows."""
    return f"{512 + 384 * settings.worker_concurrency}Mi"
