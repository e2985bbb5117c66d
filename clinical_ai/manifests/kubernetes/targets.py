"""Whom the platform has to reach, by purpose: as settings name it, else as their addresses do."""

from collections.abc import Iterable
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from clinical_ai.addresses import bypasses_proxy
from clinical_ai.hosts import find_namespace
from clinical_ai.manifests.kubernetes.credentials import agent, asked_by_runs
from clinical_ai.manifests.kubernetes.metadata import cluster_of
from clinical_ai.settings import Production, Settings
from clinical_ai.settings_network import Target

_PORTS: Final = {"http": 80, "https": 443}
_ANYWHERE: Final = ("0.0.0.0/0", "::/0")
_POSTGRESQL: Final = 5432

Targets = tuple[Target, ...]


def database(settings: Settings) -> Targets:
    """The address is in a Secret: in this namespace, unless settings say where else."""
    cluster = cluster_of(settings)
    if cluster.egress.database is not None:
        return cluster.egress.database
    return (Target(namespace=cluster.namespace, ports=(_POSTGRESQL,)),)


def storage(settings: Settings) -> Targets:
    """AWS S3 of the region, or the endpoint."""
    if (given := cluster_of(settings).egress.storage) is not None:
        return given
    if isinstance(settings, Production):
        return _of(settings, [f"https://s3.{settings.aws_region}.amazonaws.com"])
    return _of(settings, [settings.minio_endpoint] if settings.minio_endpoint else [])


def sources(settings: Settings) -> Targets:
    """Addresses of the connections: sources and destinations."""
    if (given := cluster_of(settings).egress.sources) is not None:
        return given
    return _of(settings, (each for c in settings.connections.values() for each in c.addresses))


def proxy(settings: Settings) -> Targets:
    """The proxies themselves."""
    if (given := cluster_of(settings).egress.proxy) is not None:
        return given
    named = [each for each in (settings.http_proxy, settings.https_proxy) if each]
    return unique(_target(settings, each) for each in named)


def vault(settings: Settings) -> Targets:
    """Vault, when its agent asks it, which uses no proxy."""
    chosen = agent(settings)
    if chosen is None:
        return ()
    given = cluster_of(settings).egress.vault
    return given if given is not None else (_target(settings, chosen.vault_address),)


def vault_of_runs(settings: Settings) -> Targets:
    """Vault, when runs ask it for credentials of connections."""
    chosen = asked_by_runs(settings)
    if chosen is None:
        return ()
    given = cluster_of(settings).egress.vault
    return given if given is not None else _of(settings, [chosen.vault_address])


def _of(settings: Settings, addresses: Iterable[str]) -> Targets:
    """Targets of these addresses; one that is reached through a proxy needs none of its own."""
    return unique(
        target
        for address in addresses
        if (target := _target(settings, address)).namespace or not _proxied(settings, address)
    )


def unique(targets: Iterable[Target]) -> Targets:
    """Each target once, in order."""
    found: list[Target] = []
    for target in targets:
        if target not in found:
            found.append(target)
    return tuple(found)


def _target(settings: Settings, address: str) -> Target:
    """The namespace that a Service's name tells, the block of one address, or anywhere.

    A host name outside the cluster has no fixed address, and a NetworkPolicy knows only those.
    """
    parts = urlsplit(address if "://" in address else f"tcp://{address}")
    host, port = parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 443)
    try:
        found = ip_address(host)
    except ValueError:
        return _named(settings, host, port)
    return Target(cidrs=(f"{found}/{found.max_prefixlen}",), ports=(port,))


def _named(settings: Settings, host: str, port: int) -> Target:
    namespace = find_namespace(host) or (None if "." in host else cluster_of(settings).namespace)
    if namespace:
        return Target(namespace=namespace, ports=(port,))
    return Target(cidrs=_ANYWHERE, ports=(port,))


def _proxied(settings: Settings, address: str) -> bool:
    parts = urlsplit(address)
    used = {"http": settings.http_proxy, "https": settings.https_proxy}.get(parts.scheme)
    return bool(used) and not bypasses_proxy(parts.hostname or "", settings.no_proxy)
