"""Which processes one machine runs for given settings and release."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from clinical_ai import names
from clinical_ai.ports import ProcessSpec
from clinical_ai.settings import Development, Production
from clinical_ai.state_folder import StateFolder

# Heartbeats of runs, and how long the zombie automation waits for the next one, in seconds.
HEARTBEAT_SECONDS: Final = 30
SILENCE_SECONDS: Final = 75
START_SECONDS: Final = 300  # from a worker's word that it takes a run to the run's begin

_QUIET: Final = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "RUNTIME__DLTHUB_TELEMETRY": "false",
    "PREFECT_CLI_COLORS": "false",
}


@dataclass(frozen=True)
class Place:
    """Where this platform stands: its state folder, its release and its ports."""

    state: StateFolder
    release: Path
    postgres: Path
    database_port: int
    worker_health_port: int
    platform_worker_health_port: int

    @property
    def python(self) -> str:
        """The release's interpreter."""
        return str(self.release / "venv" / "bin" / "python")

    @property
    def code(self) -> str:
        """Working directory of every process and flow run."""
        return str(self.release / "code")


def processes(settings: Development | Production, place: Place) -> list[ProcessSpec]:
    """All processes, in the order of starting."""
    return [
        database(place),
        server(settings, place),
        worker(names.PLATFORM_WORKER, settings, place),
        worker(names.WORKER, settings, place),
        roll(place),
    ]


def database(place: Place) -> ProcessSpec:
    """PostgreSQL; SIGINT is its fast shutdown."""
    return ProcessSpec(
        name=names.POSTGRES,
        command=(str(place.postgres / "bin" / "postgres"), "-D", str(place.state.data)),
        environment={names.STATE_VARIABLE: str(place.state.root), "LC_ALL": "C"},
        stop_signal="INT",
        stop_seconds=60,
    )


def server(settings: Development | Production, place: Place) -> ProcessSpec:
    """Prefect's server with its services."""
    address = urlsplit(settings.prefect_api_url)
    secrets = {
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": names.PREFECT_DATABASE_URL,
        "PREFECT_SERVER_ENCRYPTION_KEY": names.ENCRYPTION_KEY,
    }
    if settings.auth == "basic":
        secrets["PREFECT_SERVER_API_AUTH_STRING"] = names.API_AUTH
    return ProcessSpec(
        name=names.SERVER,
        command=(
            *(place.python, "-m", "prefect", "server", "start"),
            *("--host", address.hostname or "127.0.0.1", "--port", str(address.port or 80)),
        ),
        environment={
            **_environment(settings, place),
            # Leases in memory are lost with the server, and their slots stay taken for good.
            "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": (
                "prefect.server.concurrency.lease_storage.filesystem"
            ),
            "PREFECT_SERVER_DATABASE_SQLALCHEMY_CONNECT_ARGS_SEARCH_PATH": names.PREFECT_SCHEMA,
            "PREFECT_SERVER_UI_API_URL": settings.prefect_api_url,
            # Else the server unpacks its pages into the release, which nobody may write.
            "PREFECT_SERVER_UI_STATIC_DIRECTORY": str(place.state.prefect / "ui"),
        },
        secrets=secrets,
        waits_for=("PREFECT_SERVER_DATABASE_CONNECTION_URL",),
        stop_seconds=30,
    )


def worker(name: str, settings: Development | Production, place: Place) -> ProcessSpec:
    """A process worker with a fixed name, so that a restart leaves no row of a dead one."""
    pool, port = {
        names.WORKER: (names.POOL, place.worker_health_port),
        names.PLATFORM_WORKER: (names.PLATFORM_POOL, place.platform_worker_health_port),
    }[name]
    return ProcessSpec(
        name=name,
        command=(
            *(place.python, "-m", "prefect", "worker", "start", "--type", "process"),
            *("--pool", pool, "--name", name, "--with-healthcheck"),
            *("--no-create-pool-if-not-found", "--install-policy", "never"),
        ),
        environment={
            **_client(settings, place),
            "PREFECT_WORKER_QUERY_SECONDS": str(settings.worker_query_seconds),
            "PREFECT_WORKER_WEBSERVER_HOST": "127.0.0.1",
            "PREFECT_WORKER_WEBSERVER_PORT": str(port),
            "STORAGE_ENVIRONMENT": settings.storage_environment,
        },
        secrets=_client_secrets(settings) | {"DATABASE_URL": names.DATABASE_URL},
        waits_for=(f"{settings.prefect_api_url}/work_pools/{pool}",),
        settles=pool,
        stop_seconds=20,
    )


def roll(place: Place) -> ProcessSpec:
    """The detached one-shot that restarts what a flow may not restart under itself.

    No setting is in it: a change of settings would replace the roll while it applies them.
    """
    return ProcessSpec(
        name=names.ROLL,
        command=(place.python, "-m", "clinical_ai.cli", "roll"),
        environment={names.STATE_VARIABLE: str(place.state.root), "PYTHONUNBUFFERED": "1"},
        one_shot=True,
    )


def _environment(settings: Development | Production, place: Place) -> dict[str, str]:
    """What every Python process gets: its own home, no telemetry, the operator's proxies."""
    proxies: Mapping[str, str | None] = {
        "HTTP_PROXY": settings.http_proxy,
        "HTTPS_PROXY": settings.https_proxy,
        "NO_PROXY": with_loopback(settings.no_proxy) if _proxied(settings) else None,
        "SSL_CERT_FILE": settings.ca_bundle,
        "REQUESTS_CA_BUNDLE": settings.ca_bundle,
        "AWS_CA_BUNDLE": settings.ca_bundle,
    }
    return {
        names.STATE_VARIABLE: str(place.state.root),
        "HOME": str(place.state.scratch),
        "TMPDIR": str(place.state.scratch),
        "LANG": "C.UTF-8",
        "PATH": f"{Path(place.python).parent}:/usr/local/bin:/usr/bin:/bin",
        "PYTHONUNBUFFERED": "1",
        # Time zones of the release: Prefect reads the list of the system's anew, file by file,
        # for every schedule that it reads or writes, 15 ms each.
        "PYTHONTZPATH": "",
        "PREFECT_HOME": str(place.state.prefect),
        "PREFECT_LOGGING_LEVEL": settings.log_level,
        **_QUIET,
        **{name: value for name, value in proxies.items() if value},
    }


def with_loopback(no_proxy: str | None) -> str:
    """The list of addresses that go past a proxy: always this machine's own, too."""
    named = [word.strip() for word in (no_proxy or "").split(",") if word.strip()]
    return ",".join(dict.fromkeys([*named, "127.0.0.1", "localhost"]))


def _client(settings: Development | Production, place: Place) -> dict[str, str]:
    return {
        **_environment(settings, place),
        "PREFECT_API_URL": settings.prefect_api_url,
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT_SECONDS),
        "PREFECT_LOGGING_EXTRA_LOGGERS": "clinical_ai",
    }


def _client_secrets(settings: Development | Production) -> dict[str, str]:
    return {"PREFECT_API_AUTH_STRING": names.API_AUTH} if settings.auth == "basic" else {}


def _proxied(settings: Development | Production) -> bool:
    return bool(settings.http_proxy or settings.https_proxy or settings.no_proxy)
