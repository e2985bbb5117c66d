"""Secrets of one machine: made once, kept for good, addresses follow the port."""

import pytest
from pydantic import SecretStr

from clinical_ai import names
from clinical_ai.change import Did
from clinical_ai.errors import NeedsOperator
from clinical_ai.steps.local_secrets import (
    OPENING,
    ensure_secrets,
    find_password,
    superuser_address,
)
from tests.support.fakes import MemorySecrets

ALL = {*OPENING, names.API_AUTH}


def values(secrets: MemorySecrets) -> dict[str, str]:
    return {name: secrets.get(name).get_secret_value() for name in ALL}


def test_the_first_time_all_are_made_and_the_second_time_none() -> None:
    secrets = MemorySecrets()
    assert {change.did for change in ensure_secrets(secrets, 5555)} == {Did.CREATED}
    made = values(secrets)
    assert len(set(made.values())) == len(ALL)
    assert {change.did for change in ensure_secrets(secrets, 5555)} == {Did.UNCHANGED}
    assert values(secrets) == made


def test_no_change_shows_a_secret() -> None:
    secrets = MemorySecrets()
    told = " ".join(str(change) for change in ensure_secrets(secrets, 5555))
    for value in values(secrets).values():
        assert value not in told


def test_no_two_platforms_share_a_secret() -> None:
    one, two = MemorySecrets(), MemorySecrets()
    ensure_secrets(one, 5555)
    ensure_secrets(two, 5555)
    assert not set(values(one).values()) & set(values(two).values())


def test_what_is_there_is_kept_above_all_the_encryption_key() -> None:
    given = {
        names.ENCRYPTION_KEY: "the-old-key",
        names.API_AUTH: "admin:old",
        names.SUPERUSER_PASSWORD: "old",
        names.DATABASE_URL: "postgresql://clinical_ai:old@127.0.0.1:1/cai_data",
    }
    secrets = MemorySecrets(given)
    ensure_secrets(secrets, 5555)
    kept = values(secrets)
    for name in (names.ENCRYPTION_KEY, names.API_AUTH, names.SUPERUSER_PASSWORD):
        assert kept[name] == given[name]
    assert kept[names.DATABASE_URL] == "postgresql://clinical_ai:old@127.0.0.1:5555/cai_data"


def test_another_port_changes_the_addresses_and_no_password() -> None:
    secrets = MemorySecrets()
    ensure_secrets(secrets, 5555)
    before = [find_password(secrets, name) for name in OPENING[2:]]
    changed = {change.what: change.did for change in ensure_secrets(secrets, 6666)}
    assert {name for name, did in changed.items() if did is Did.UPDATED} == {
        names.DATABASE_URL,
        names.PREFECT_DATABASE_URL,
    }
    assert [find_password(secrets, name) for name in OPENING[2:]] == before
    assert all(":6666/" in secrets.get(name).get_secret_value() for name in OPENING[2:])


def test_each_address_names_its_own_role_and_driver() -> None:
    secrets = MemorySecrets()
    ensure_secrets(secrets, 5555)
    made = values(secrets)
    assert made[names.DATABASE_URL].startswith(f"postgresql://{names.DATABASE_ROLE}:")
    assert made[names.PREFECT_DATABASE_URL].startswith(
        f"postgresql+asyncpg://{names.PREFECT_ROLE}:"
    )


def test_the_encryption_key_is_one_that_fernet_takes() -> None:
    from cryptography.fernet import Fernet

    secrets = MemorySecrets()
    ensure_secrets(secrets, 5555)
    Fernet(secrets.get(names.ENCRYPTION_KEY).get_secret_value())


@pytest.mark.parametrize("damaged", ["s3cret", "postgresql://host/db", "postgresql://a:s3cret"])
def test_a_damaged_address_is_told_and_nothing_of_it_shown(damaged: str) -> None:
    secrets = MemorySecrets({names.DATABASE_URL: damaged})
    with pytest.raises(NeedsOperator, match="is not a database address") as refused:
        ensure_secrets(secrets, 5555)
    assert names.DATABASE_URL in str(refused.value)
    assert damaged not in str(refused.value)
    assert secrets.get(names.DATABASE_URL) == SecretStr(damaged)


def test_no_address_has_no_password() -> None:
    assert find_password(MemorySecrets(), names.DATABASE_URL) is None


def test_the_superuser_reaches_any_database_of_the_cluster() -> None:
    secrets = MemorySecrets({names.SUPERUSER_PASSWORD: "pass"})
    address = superuser_address(secrets, 5555, "postgres").get_secret_value()
    assert address == "postgresql://postgres:pass@127.0.0.1:5555/postgres"
    with pytest.raises(NeedsOperator, match=names.SUPERUSER_PASSWORD):
        superuser_address(MemorySecrets(), 5555, "postgres")
