"""What only a pod can tell: whether database, storage and Vault are reached from the cluster.

Run as `python -m clinical_ai.pod_check` by the Job that bootstrap starts and removes. Prints one
line a check; exit code 1 when one failed. No value of a secret, a row or an object is told. With
`--no-storage` the storage is left out. With `--vault` Vault is asked whether it serves.
"""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from cryptography.fernet import Fernet, InvalidToken  # by which Prefect encrypts, and it brings it
from pydantic import SecretStr

from clinical_ai import names
from clinical_ai.adapters import postgres_address
from clinical_ai.adapters.mounted_secrets import MountedSecrets
from clinical_ai.adapters.postgres import PostgresDatabase
from clinical_ai.errors import NeedsOperator, PlatformError
from clinical_ai.manifests.kubernetes import credentials
from clinical_ai.manifests.kubernetes.pod_check import NO_STORAGE, VAULT
from clinical_ai.ports import SecretStore
from clinical_ai.settings import Settings, parse
from clinical_ai.wiring import open_storage
from clinical_ai.wiring_cluster import open_vault


def main() -> int:
    """0 when all is reached."""
    secrets = MountedSecrets(Path(os.environ[names.SECRETS_VARIABLE]))
    settings = parse(json.loads(os.environ[names.SETTINGS_VARIABLE]))
    passed = True
    for what, look in _looks(settings, secrets):
        try:
            sys.stdout.write(f"ok    {what}: {look()}\n")
        except PlatformError as error:
            passed = False
            sys.stdout.write(f"FAIL  {what}: {error}\n")
    if _without_storage():
        sys.stdout.write("skip  storage: its credentials come from Vault, which `up` prepares\n")
    return 0 if passed else 1


def _looks(settings: Settings, secrets: SecretStore) -> list[tuple[str, Callable[[], str]]]:
    looks = [
        ("database", lambda: _database(secrets)),
        ("Prefect's schema", lambda: _schema(secrets)),
    ]
    if not _without_storage():
        looks.append(("storage", lambda: _storage(settings, secrets)))
    if VAULT in sys.argv[1:]:
        looks.append(("Vault", lambda: _vault(settings)))
    return looks


def _without_storage() -> bool:
    return NO_STORAGE in sys.argv[1:]


def _database(secrets: SecretStore) -> str:
    """The one of the data, which people and programs look for by its name."""
    url = secrets.get(names.DATABASE_URL)
    named = postgres_address.parse(url).database  # a pooler may have it under another name
    if named != names.DATABASE:
        raise NeedsOperator(
            f"{names.DATABASE_URL} names the database {named}, not {names.DATABASE}",
            f"make {names.DATABASE} when it is not there, and write the address anew with it",
        )
    database = PostgresDatabase(url)
    [row] = database.query(
        "select current_database() as name, current_setting('server_version') as version"
    )
    return f"SELECT 1 in {row['name']}, PostgreSQL {row['version']}"


_DRIVER: Final = "postgresql+asyncpg"  # of Prefect's server
_SEARCHED: Final = (names.PREFECT_SCHEMA, "pg_catalog")  # by Prefect's server and its migration


def _schema(secrets: SecretStore) -> str:
    """Prefect's role may make its schema and the extension, or somebody has."""
    url = secrets.get(names.PREFECT_DATABASE_URL)
    scheme = url.get_secret_value().partition("://")[0]
    if scheme != _DRIVER:
        raise NeedsOperator(
            f"{names.PREFECT_DATABASE_URL} begins with another scheme than {_DRIVER}://",
            "Prefect's server needs that one: write the address anew",
        )
    database = PostgresDatabase(url)
    [row] = database.query(
        "select current_user as role, current_database() as name,"
        " has_database_privilege(current_database(), 'CREATE') as may,"
        " exists (select from pg_namespace where nspname = %s"
        "   and has_schema_privilege(oid, 'CREATE')) as schema,"
        " exists (select from pg_namespace where nspname = %s) as taken,"
        " (select nspname from pg_extension join pg_namespace on pg_namespace.oid = extnamespace"
        "   where extname = 'pg_trgm') as place,"
        " exists (select from pg_available_extensions where name = 'pg_trgm') as available",
        [names.PREFECT_SCHEMA] * 2,
    )
    if row["taken"] and not row["schema"]:
        raise NeedsOperator(
            f"the schema {names.PREFECT_SCHEMA} in {row['name']} is not {row['role']}'s",
            f"as its owner: GRANT ALL ON SCHEMA {names.PREFECT_SCHEMA} TO {row['role']}",
        )
    if not row["schema"] and not row["may"]:
        raise NeedsOperator(
            f"{row['role']} may not make the schema {names.PREFECT_SCHEMA} in {row['name']}",
            f"as its owner: CREATE SCHEMA {names.PREFECT_SCHEMA} AUTHORIZATION {row['role']}",
        )
    made = "schema is there" if row["schema"] else "schema may be made"
    told = f"{made}, pg_trgm {_trigrams(row)}, role {row['role']}"
    return told + _blocks(database, secrets)


def _blocks(database: PostgresDatabase, secrets: SecretStore) -> str:
    """How many of the newest blocks the key opens; NeedsOperator when it opens none.

    The database outlives a namespace: where the key went with that, a new one would open nothing,
    and the server would tell nobody until a block is read.
    """
    schema = names.PREFECT_SCHEMA
    there = database.query(
        "select relname from pg_class join pg_namespace on pg_namespace.oid = relnamespace"
        " where nspname = %s and relname = 'block_document'"
        " and has_table_privilege(pg_class.oid, 'SELECT')",
        [schema],
    )
    if not there:
        return ""
    rows = database.query(
        f"select data #>> '{{}}' as data from {schema}.block_document"
        " where jsonb_typeof(data) = 'string' order by created desc limit 100"
    )
    if not rows:
        return ""
    key = secrets.find(names.ENCRYPTION_KEY)
    opened = sum(_opens(key, row["data"]) for row in rows) if key else 0
    if not opened:
        raise NeedsOperator(
            f"the schema {schema} holds blocks of an earlier platform, and {names.ENCRYPTION_KEY}"
            f" {'opens none of them' if key else 'is not there'}",
            "replace that Secret by the one of your backup. When it is lost, as the schema's"
            f" owner: DELETE FROM {schema}.block_document, and blocks go; or DROP SCHEMA {schema}"
            " CASCADE, and runs go, too",
        )
    return f", {opened} of {len(rows)} blocks open"


def _opens(key: SecretStr, data: str) -> bool:
    try:
        Fernet(key.get_secret_value()).decrypt(data.encode())
    except (InvalidToken, ValueError):  # another key, or none at all
        return False
    return True


def _trigrams(row: dict[str, Any]) -> str:
    """Prefect's indexes name what is in pg_trgm without its schema, so it has to be in theirs."""
    schema, database, place = names.PREFECT_SCHEMA, row["name"], row["place"]
    if place in _SEARCHED:
        return "is there"
    if place:
        make = "" if row["taken"] else f"CREATE SCHEMA {schema} AUTHORIZATION {row['role']}; "
        raise NeedsOperator(
            f"the extension pg_trgm in {database} is in the schema {place},"
            f" and Prefect looks for it in {schema} alone",
            f"as its owner: {make}ALTER EXTENSION pg_trgm SET SCHEMA {schema}."
            f" Others who use it have to find it there, and lose it when {schema} is dropped:"
            " whoever keeps the database decides. Or name a database of Prefect's own in"
            f" {names.PREFECT_DATABASE_URL}",
        )
    if not row["available"]:
        raise NeedsOperator(
            f"the extension pg_trgm is not in {database}, and its server does not offer it",
            "install postgresql-contrib there, or what brings it, then run this again",
        )
    if not row["may"]:
        raise NeedsOperator(
            f"the extension pg_trgm is not in {database}, and {row['role']} can't make it",
            f"as a superuser: CREATE EXTENSION pg_trgm SCHEMA {schema}",
        )
    return "may be made"


def _storage(settings: Settings, secrets: SecretStore) -> str:
    return f"{len(open_storage(settings, secrets, None).buckets())} bucket(s) listed"


def _vault(settings: Settings) -> str:
    """By the way that pods will take to it: Vault's agent is told of no proxy."""
    environ = {} if credentials.agent(settings) else os.environ
    return open_vault(settings, environ).check_health()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except PlatformError as error:
        sys.exit(str(error))
