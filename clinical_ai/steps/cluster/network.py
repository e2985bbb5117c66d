"""NetworkPolicies in force, tried from a run: it reaches what it may, and nothing else."""

import socket
from typing import Final
from urllib.parse import urlsplit

from clinical_ai import names
from clinical_ai.errors import NeedsOperator, TimedOut
from clinical_ai.manifests.kubernetes.network import may_reach
from clinical_ai.ports_cluster import Cluster
from clinical_ai.settings import Settings
from clinical_ai.waiting import Sighting, wait_until

_SERVICE: Final = "kubernetes.io/service-name"
_PATIENCE: Final = 3.0
_SETTLING: Final = 10.0  # what enforces policies learns of a new one, or of a new pod, a bit later


def check_policies(cluster: Cluster, settings: Settings) -> str:
    """The server is reached, and the health port of a worker is not; NeedsOperator otherwise.

    A ready worker listens there: the kubelet has asked it. So a connection that fails shows that
    something enforces the policies.
    """
    server = urlsplit(settings.prefect_api_url)
    if not _connects(server.hostname or "", server.port or 80):
        raise NeedsOperator("the server can't be reached from a run", "look at its NetworkPolicy")
    worker, host = _find_listening(cluster)
    place = f"the health port of {worker} ({host})"
    try:
        wait_until(
            "the refusal of a connection",
            lambda: Sighting(not _connects(host, names.HEALTH_PORT), f"{place} is reached"),
            seconds=_SETTLING,
        )
    except TimedOut:
        return _explain(settings, worker, place)
    return f"the server is reached, {place} is not, although it listens"


def ready_addresses(cluster: Cluster, service: str) -> list[str]:
    """Of the pods that this Service sends connections to."""
    slices = cluster.find_all("discovery.k8s.io/v1", "EndpointSlice", labels={_SERVICE: service})
    return [
        address
        for piece in slices
        for each in piece.get("endpoints") or []
        if each.get("conditions", {}).get("ready")
        for address in each["addresses"]
    ]


def _find_listening(cluster: Cluster) -> tuple[str, str]:
    for worker in names.WORKERS.values():
        for address in ready_addresses(cluster, worker):
            return worker, address
    raise NeedsOperator(
        "no worker is ready, so no connection that must fail can be tried",
        "run deploy/self, which tells why",
    )


def _explain(settings: Settings, worker: str, place: str) -> str:
    """That the settings may allow it, or NeedsOperator."""
    if may_reach(settings, names.PLATFORM_JOB, worker, names.HEALTH_PORT):
        return f"the server is reached; so is {place}, as clients and egress of the settings allow"
    raise NeedsOperator(
        f"a run reaches {place}, which no policy of the platform allows",
        "look for somebody else's policy that does: `kubectl get networkpolicies`; without one"
        " the network of this cluster enforces none: use one that does",
    )


def _connects(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), timeout=_PATIENCE):
            return True
    except OSError:
        return False
