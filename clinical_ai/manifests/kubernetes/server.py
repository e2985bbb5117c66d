"""Prefect's server."""

from typing import Any, Final

from clinical_ai import names
from clinical_ai.manifests.kubernetes import environment, pods, workloads
from clinical_ai.manifests.kubernetes.metadata import Manifest, cluster_of
from clinical_ai.release import Release
from clinical_ai.settings import Settings

# A rolling update keeps the old pod until the new one is ready; the old one goes on answering
# until every proxy has heard that it is no endpoint any more.
_STRATEGY: Final = {
    "type": "RollingUpdate",
    "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1},
}
_SECONDS_BEFORE_STOP: Final = 10
_SECONDS_TO_STOP: Final = 45
_START_SECONDS: Final = 240
_SECONDS_TO_CONNECT: Final = "30"


def server(settings: Settings, release: Release) -> list[Manifest]:
    """Service, disruption budget and Kubernetes Deployment, which tells the revision it needs."""
    deployment = workloads.deployment(settings, release, _work(settings), _STRATEGY)
    deployment["metadata"]["annotations"] = {names.REVISION_ANNOTATION: release.revision}
    return [
        workloads.service(settings, names.SERVER, "api", names.API_PORT),
        workloads.budget(settings, names.SERVER),
        deployment,
    ]


def database(settings: Settings) -> list[environment.Variable]:
    """What Prefect needs to find its database."""
    return [
        environment.secret("PREFECT_SERVER_DATABASE_CONNECTION_URL", names.PREFECT_DATABASE_URL),
        *environment.plain(
            {
                "PREFECT_SERVER_DATABASE_SQLALCHEMY_CONNECT_ARGS_SEARCH_PATH": names.PREFECT_SCHEMA,
                # A Job of its own migrates, and fails hard.
                "PREFECT_SERVER_DATABASE_MIGRATE_ON_START": "false",
                # Of its own 5 s, one is lost when a new pod's first packets meet no policy yet.
                "PREFECT_SERVER_DATABASE_CONNECTION_TIMEOUT": _SECONDS_TO_CONNECT,
            }
        ),
        *environment.python(settings),
    ]


def _work(settings: Settings) -> pods.Work:
    return pods.Work(
        name=names.SERVER,
        container=_container(settings),
        requests=("200m", "512Mi"),
        limits=("2", "1Gi"),
        parts=_leases(settings),
        seconds_to_stop=_SECONDS_TO_STOP,
    )


def _container(settings: Settings) -> dict[str, Any]:
    return {
        "name": "prefect-server",
        "command": [
            *("python", "-m", "prefect", "server", "start"),
            *("--host", "0.0.0.0", "--port", str(names.API_PORT)),  # noqa: S104 - of the pod
        ],
        "env": _variables(settings),
        "ports": [{"name": "api", "containerPort": names.API_PORT, "protocol": "TCP"}],
        "startupProbe": pods.probe("/api/ready", "api", every=3, times=_START_SECONDS // 3),
        "readinessProbe": pods.probe("/api/ready", "api", every=5, times=3),
        # Health never looks at the database: its outage is no reason to restart the server.
        "livenessProbe": pods.probe("/api/health", "api", every=15, times=4),
        "lifecycle": {"preStop": {"exec": {"command": ["sleep", str(_SECONDS_BEFORE_STOP)]}}},
    }


def _variables(settings: Settings) -> list[environment.Variable]:
    return [
        *database(settings),
        environment.secret("PREFECT_SERVER_ENCRYPTION_KEY", names.ENCRYPTION_KEY),
        *_password(settings),
        *environment.plain(
            {
                # Leases in memory are lost with the server, and their slots stay taken for good.
                "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": (
                    "prefect.server.concurrency.lease_storage.filesystem"
                ),
                "PREFECT_SERVER_REGISTER_BLOCKS_ON_START": "false",
                # Relative: the pages find the API wherever they were loaded from.
                "PREFECT_SERVER_UI_API_URL": "/api",
                # Else the server unpacks its pages into the image, which can't be written.
                "PREFECT_SERVER_UI_STATIC_DIRECTORY": f"{environment.SCRATCH}/ui",
            }
        ),
    ]


def _password(settings: Settings) -> list[environment.Variable]:
    """What the API asks for. Its clients have it anyway, so that this is the server's alone."""
    asked = environment.secret("PREFECT_SERVER_API_AUTH_STRING", names.API_AUTH)
    return [asked] if settings.auth == "basic" else []


def _leases(settings: Settings) -> pods.Parts:
    """A volume for leases, when the settings name one; else they live as long as the pod."""
    claim = cluster_of(settings).lease_claim
    if not claim:
        return pods.Parts()
    return pods.Parts(
        mounts=[{"name": "leases", "mountPath": environment.LEASES}],
        volumes=[{"name": "leases", "persistentVolumeClaim": {"claimName": claim}}],
    )
