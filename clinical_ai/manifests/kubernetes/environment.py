"""Environment variables of containers. Secrets are named; the kubelet fetches their values."""

from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from clinical_ai import names
from clinical_ai.addresses import bypasses_proxy
from clinical_ai.manifests.kubernetes.metadata import cluster_of
from clinical_ai.manifests.processes import HEARTBEAT_SECONDS, with_loopback
from clinical_ai.secret_references import parts
from clinical_ai.settings import Settings

Variable = dict[str, Any]

SCRATCH: Final = "/tmp"  # noqa: S108 - an emptyDir of the pod, nobody else's
_PREFECT_HOME: Final = f"{SCRATCH}/prefect"
LEASES: Final = f"{_PREFECT_HOME}/concurrency_leases"


def plain(values: Mapping[str, str | None]) -> list[Variable]:
    """Values in clear; what is None is left out."""
    return [{"name": name, "value": value} for name, value in values.items() if value is not None]


def secret(name: str, reference: str) -> Variable:
    """The value behind a `secret:` reference."""
    secret_name, key = parts(reference)
    chosen = {"name": secret_name, "key": key}
    return {"name": name, "valueFrom": {"secretKeyRef": chosen}}


def configured(name: str, key: str, *, needed: bool = True) -> Variable:
    """A value of the ConfigMap. `needed` off: pods start without it, too."""
    chosen: dict[str, Any] = {"name": names.CONFIGURATION, "key": key}
    if not needed:
        chosen["optional"] = True
    return {"name": name, "valueFrom": {"configMapKeyRef": chosen}}


def of_pod(name: str, field: str) -> Variable:
    """A fact about the pod itself."""
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": field}}}


def with_extra(ours: Sequence[Variable], extra: Mapping[str, str]) -> list[Variable]:
    """Ours, and what the operator adds or gives another value."""
    added = {
        name: secret(name, value) if value.startswith("secret:") else plain({name: value})[0]
        for name, value in extra.items()
    }
    kept = [added.pop(each["name"], each) for each in ours]
    return [*kept, *added.values()]


def python(settings: Settings) -> list[Variable]:
    """What every Python process gets: writable folders, no telemetry, the operator's proxies."""
    return plain(
        {
            "HOME": SCRATCH,
            "TMPDIR": SCRATCH,
            "LANG": "C.UTF-8",
            "PYTHONUNBUFFERED": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONTZPATH": "",  # time zones of the release, as on one machine
            "PREFECT_HOME": _PREFECT_HOME,
            "PREFECT_LOGGING_LEVEL": settings.log_level,
            "PREFECT_CLI_COLORS": "false",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "DO_NOT_TRACK": "1",
            "RUNTIME__DLTHUB_TELEMETRY": "false",
            "HTTP_PROXY": settings.http_proxy,
            "HTTPS_PROXY": settings.https_proxy,
            "NO_PROXY": _past_the_proxy(settings),
            "SSL_CERT_FILE": settings.ca_bundle,
            "REQUESTS_CA_BUNDLE": settings.ca_bundle,
            "AWS_CA_BUNDLE": settings.ca_bundle,
        }
    )


def client(settings: Settings) -> list[Variable]:
    """What a process needs that talks to the server: workers, and through them their runs."""
    return [
        *python(settings),
        *plain(
            {
                "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT_SECONDS),
                "PREFECT_LOGGING_EXTRA_LOGGERS": "clinical_ai",
            }
        ),
        configured("PREFECT_API_URL", "prefect-api-url"),
        # Also for a server that asks for none: when that changes, running work goes on.
        secret("PREFECT_API_AUTH_STRING", names.API_AUTH),
        of_pod("POD_NAME", "metadata.name"),
    ]


def clinical(settings: Settings, *, needed: bool = True) -> list[Variable]:
    """What runs need for the database, the storage and their own namespace.

    `needed` off: for whoever makes the ConfigMap again when it has gone.
    """
    return [
        secret("DATABASE_URL", names.DATABASE_URL),
        configured("STORAGE_ENVIRONMENT", "storage-environment", needed=needed),
        *plain(
            {
                names.NAMESPACE_VARIABLE: cluster_of(settings).namespace,
                names.SECRETS_VARIABLE: names.SECRETS_FOLDER,
            }
        ),
    ]


def _past_the_proxy(settings: Settings) -> str | None:
    """The cluster's own services and its API never go through a proxy."""
    if not (settings.http_proxy or settings.https_proxy or settings.no_proxy):
        return None
    inside = with_loopback(settings.no_proxy).split(",")
    inside += [".svc", ".cluster.local", "$(KUBERNETES_SERVICE_HOST)"]
    server = urlsplit(settings.prefect_api_url).hostname or ""
    if not bypasses_proxy(server, ",".join(inside)):  # the short names of a Service
        inside.append(server)
    return ",".join(inside)
