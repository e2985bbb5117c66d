"""What one machine can't do with given settings: found before anything is changed."""

import ssl
from collections.abc import Container
from typing import Final
from urllib.parse import urlsplit

from clinical_ai import names
from clinical_ai.errors import NeedsOperator
from clinical_ai.ports import SecretStore
from clinical_ai.settings import Development, Production

_LOOPBACK: Final = {"127.0.0.1", "localhost"}


def settings_faults(
    settings: Development | Production, secrets: SecretStore, kept: Container[str] = ()
) -> list[NeedsOperator]:
    """All that is wrong, each with its remedy. `kept`: references that are about to exist."""
    if settings.kubernetes:
        problem = "kubernetes is given, and this platform is of one machine"
        return [NeedsOperator(problem, "leave it out, or install with --runtime kubernetes")]
    faults = _address_faults(settings)
    for key, path in settings.ca_bundles.items():
        faults += _bundle_faults(key, path)
    for key, reference in settings.references().items():
        if reference not in kept:
            faults += _reference_faults(key, reference, secrets)
    return faults


def _address_faults(settings: Development | Production) -> list[NeedsOperator]:
    address = urlsplit(settings.prefect_api_url)
    if address.hostname in _LOOPBACK and address.scheme == "http" and address.path == "/api":
        return []
    return [
        NeedsOperator(
            f"prefect-api-url is {settings.prefect_api_url}, on one machine the API listens on "
            "the loopback only, below /api",
            f"write http://127.0.0.1:{names.API_PORT}/api",
        )
    ]


def _bundle_faults(key: str, path: str) -> list[NeedsOperator]:
    """Every connection of every process would fail with a bundle that can't be loaded."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=path)
    except ssl.SSLError:  # an OSError too
        problem = f"{key} {path} holds no certificate in PEM form"
    except OSError as error:
        problem = f"{key} {path} can't be read: {error.strerror}"
    else:
        return []
    return [NeedsOperator(problem, f"correct {key}, or leave it out")]


def _reference_faults(key: str, reference: str, secrets: SecretStore) -> list[NeedsOperator]:
    kind = reference.partition(":")[0]
    if kind == "vault":
        problem = f"{key} is a vault: reference, which one machine can't read"
        return [NeedsOperator(problem, "use secret:NAME/KEY, or file:PATH to have it copied there")]
    if kind != "secret":
        problem = f"{key} refers to {kind}:, which only `make up` reads, from a settings file"
        return [NeedsOperator(problem, "use secret:NAME/KEY, or give the file to `make up`")]
    try:
        secrets.get(reference)
    except NeedsOperator as fault:
        return [NeedsOperator(f"{key}: {fault.problem}", fault.remedy)]
    return []
