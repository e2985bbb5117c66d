"""Secrets that one machine makes for itself, once."""

import re
from base64 import urlsafe_b64encode
from secrets import token_bytes, token_hex
from typing import Final

from pydantic import SecretStr

from clinical_ai import names
from clinical_ai.change import Change
from clinical_ai.errors import NeedsOperator
from clinical_ai.ports import SecretStore

_ADDRESS: Final = re.compile(r"[a-z+]+://(?P<role>[^:]+):(?P<password>[^@]+)@[^/]+/.+")

# Without these a data folder that exists can't be opened, or its blocks not be read.
OPENING: Final = (
    names.SUPERUSER_PASSWORD,
    names.ENCRYPTION_KEY,
    names.DATABASE_URL,
    names.PREFECT_DATABASE_URL,
)


def ensure_secrets(secrets: SecretStore, database_port: int) -> list[Change]:
    """Passwords and the block encryption key exist; addresses name the database's port.

    What is there already is kept: a new encryption key would make every block unreadable.
    """
    kept = {
        names.SUPERUSER_PASSWORD: SecretStr(token_hex(24)),
        names.API_AUTH: SecretStr(f"admin:{token_hex(16)}"),
        names.ENCRYPTION_KEY: SecretStr(urlsafe_b64encode(token_bytes(32)).decode()),
    }
    changes = [secrets.ensure(reference, value) for reference, value in kept.items()]
    for reference, scheme, role in (
        (names.DATABASE_URL, "postgresql", names.DATABASE_ROLE),
        (names.PREFECT_DATABASE_URL, "postgresql+asyncpg", names.PREFECT_ROLE),
    ):
        password = find_password(secrets, reference) or SecretStr(token_hex(24))
        address = (
            f"{scheme}://{role}:{password.get_secret_value()}"
            f"@127.0.0.1:{database_port}/{names.DATABASE}"
        )
        changes.append(secrets.put(reference, SecretStr(address)))
    return changes


def find_password(secrets: SecretStore, reference: str) -> SecretStr | None:
    """The password in a database address, or None when there is no such secret."""
    found = secrets.find(reference)
    if found is None:
        return None
    parts = _ADDRESS.fullmatch(found.get_secret_value())
    if parts is None:
        raise NeedsOperator(
            f"{reference} is not a database address", "restore that file from a backup"
        )
    return SecretStr(parts["password"])


def superuser_address(secrets: SecretStore, database_port: int, database: str) -> SecretStr:
    """The superuser's address of one database of the local cluster."""
    password = secrets.get(names.SUPERUSER_PASSWORD).get_secret_value()
    return SecretStr(f"postgresql://postgres:{password}@127.0.0.1:{database_port}/{database}")
