"""Who reaches the platform's pods and whom they reach: what settings name, and nothing else."""

from typing import Final

import pytest

from clinical_ai import names
from clinical_ai.steps.cluster.workers import pods_of
from tests.support.cluster_reach import VAULT, Place, address_of, reach, stranger
from tests.support.production_site import ProductionSite

pytestmark = [pytest.mark.cluster, pytest.mark.parts, pytest.mark.timeout(900)]

_DNS: Final = ("kube-dns.kube-system.svc.cluster.local", 53)
_METRICS: Final = ("kube-dns.kube-system.svc.cluster.local", 9153)
_API_SERVER: Final = ("kubernetes.default.svc.cluster.local", 443)
_STORAGE: Final = ("versitygw.versitygw.svc.cluster.local", 9000)


def ours(site: ProductionSite) -> list[Place]:
    """All that listens: by Service, and by pod, for a policy is of pods."""
    ports = {
        names.SERVER: names.API_PORT,
        names.WORKER: names.HEALTH_PORT,
        names.PLATFORM_WORKER: names.HEALTH_PORT,
    }
    services = [
        (f"{name}.{site.namespace}.svc.cluster.local", port) for name, port in ports.items()
    ]
    pods = [
        (address_of(pod), port) for name, port in ports.items() for pod in pods_of(site.api, name)
    ]
    return [*services, *pods]


def data_of(site: ProductionSite) -> tuple[Place, Place]:
    """The database, and the proxy in front of AWS."""
    space = f"{site.data}.svc.cluster.local"
    return (f"postgres.{space}", 5432), (f"aws.{space}", 3128)


# Into the platform.


@pytest.mark.parametrize("inside", [True, False], ids=["same-namespace", "another-namespace"])
def test_a_strangers_pod_reaches_nothing_of_ours(production: ProductionSite, inside: bool) -> None:
    space = production.namespace if inside else production.data
    name = stranger(production, "stranger", space)
    missing, reached = reach(
        production, name, namespace=space, allowed=[_DNS, _STORAGE], forbidden=ours(production)
    )
    assert not missing
    assert not reached


def test_a_client_that_settings_name_reaches_the_api_and_no_worker(
    production: ProductionSite,
) -> None:
    name = stranger(production, "backend", production.data, {"app": "backend"})
    server, *workers = [it for it in ours(production) if it[0].endswith(".local")]
    missing, reached = reach(
        production, name, namespace=production.data, allowed=[server], forbidden=workers
    )
    assert not missing
    assert not reached


# Out of it.


def test_the_server_reaches_the_database_and_no_more(production: ProductionSite) -> None:
    database, proxy = data_of(production)
    _, *workers = ours(production)[:3]
    forbidden = [proxy, _API_SERVER, VAULT, _STORAGE, _METRICS, *workers]
    missing, reached = reach(
        production, f"deploy/{names.SERVER}", allowed=[_DNS, database], forbidden=forbidden
    )
    assert not missing
    assert not reached


def test_the_worker_reaches_api_database_proxy_and_vault_and_no_more(
    production: ProductionSite,
) -> None:
    server, *workers = ours(production)[:3]
    forbidden = [_API_SERVER, _STORAGE, _METRICS, workers[1]]
    missing, reached = reach(
        production,
        f"deploy/{names.WORKER}",
        allowed=[_DNS, server, VAULT, *data_of(production)],
        forbidden=forbidden,
    )
    assert not missing
    assert not reached


def test_the_platform_worker_reaches_both_apis_and_no_data(production: ProductionSite) -> None:
    server, worker, _ = ours(production)[:3]
    forbidden = [*data_of(production), VAULT, _STORAGE, _METRICS, worker]
    missing, reached = reach(
        production,
        f"deploy/{names.PLATFORM_WORKER}",
        allowed=[_DNS, server, _API_SERVER],
        forbidden=forbidden,
    )
    assert not missing
    assert not reached
