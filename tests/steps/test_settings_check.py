"""What one machine can't do is found in the settings, before anything changes."""

from pathlib import Path

import pytest
from certifi import where

from clinical_ai import names
from clinical_ai.settings import Development, Production, parse
from clinical_ai.steps.settings_check import settings_faults
from tests.support.fakes import MemorySecrets


def problems(raw: dict[str, object]) -> list[str]:
    faults = settings_faults(parse(raw), MemorySecrets())
    assert all(fault.remedy for fault in faults)
    return [fault.problem for fault in faults]


@pytest.mark.parametrize(
    "address",
    [
        "http://10.0.0.1:4200/api",
        "https://127.0.0.1:4200/api",
        "http://0.0.0.0:4200/api",
        "http://127.0.0.1:4200/below/api",
    ],
)
def test_the_api_listens_on_the_loopback_by_http_only(address: str) -> None:
    (fault,) = settings_faults(parse({"prefect-api-url": address}), MemorySecrets())
    assert "loopback only" in fault.problem
    assert fault.remedy == "write http://127.0.0.1:4200/api"
    assert problems({"prefect-api-url": "http://localhost:4300/api"}) == []


def test_settings_of_a_cluster_are_not_of_one_machine() -> None:
    assert problems({"kubernetes": {"registry": "registry.example.org"}}) == [
        "kubernetes is given, and this platform is of one machine"
    ]


@pytest.mark.parametrize(
    ("environment", "key"),
    [
        ("development", "minio-access-key"),
        ("development", "minio-secret-key"),
        ("production", "aws-access-key-id"),
        ("production", "aws-secret-access-key"),
    ],
)
@pytest.mark.parametrize(
    ("reference", "told"),
    [
        ("vault:kv/a#b", "is a vault: reference, which one machine can't read"),
        ("env:KEY", "refers to env:, which only `make up` reads"),
        ("file:/run/key", "refers to file:, which only `make up` reads"),
    ],
)
def test_references_of_other_places_mean_nothing_to_processes(
    environment: str, key: str, reference: str, told: str
) -> None:
    raw: dict[str, object] = {"storage-environment": environment, key: reference}
    if environment == "development":
        raw["minio-endpoint"] = "http://127.0.0.1:9000"
    found = [problem for problem in problems(raw) if problem.startswith(f"{key} ")]
    assert len(found) == 1
    assert told in found[0]


def test_secrets_are_asked_for_only_where_they_are_used() -> None:
    assert problems({}) == []
    endpoint = {"minio-endpoint": "http://127.0.0.1:9000"}
    told = problems(endpoint)
    assert [problem.partition(":")[0] for problem in told] == [
        "minio-access-key",
        "minio-secret-key",
    ]
    there = MemorySecrets({names.MINIO_SECRET_KEY: "b"})
    about_to_be_kept = {names.MINIO_ACCESS_KEY}
    assert settings_faults(parse(endpoint), there, about_to_be_kept) == []
    assert len(settings_faults(Production(), MemorySecrets())) == 2


def test_a_connection_without_credentials_needs_none_and_others_are_named() -> None:
    told = problems(
        {
            "connections": {
                "open": {"addresses": ["h:1"]},
                "closed": {"addresses": ["h:2"], "credentials": "secret:lab/token"},
                "later": {"addresses": ["h:3"], "credentials": "vault:kv/a#b"},
            }
        }
    )
    assert len(told) == 2
    assert told[0].startswith("connections.closed.credentials: ")
    assert told[1].startswith("connections.later.credentials is a vault: reference")


def test_a_bundle_without_certificates_would_break_every_connection(tmp_path: Path) -> None:
    empty = tmp_path / "empty.pem"
    empty.write_text("no certificate\n")
    lost, folder = tmp_path / "lost.pem", tmp_path
    for path in (empty, lost, folder):
        (told,) = problems({"ca-bundle": str(path)})
        assert told.startswith(f"ca-bundle {path} ")
        connection = {"addresses": ["h:1"], "ca-bundle": str(path)}
        (told,) = problems({"connections": {"lab": connection}})
        assert told.startswith(f"connections.lab.ca-bundle {path} ")
    assert settings_faults(Development(ca_bundle=where()), MemorySecrets()) == []
