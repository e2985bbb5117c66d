"""Roles, database and schema of a fresh cluster: of a real one, an operator makes them."""

from collections.abc import Sequence

from pydantic import SecretStr

from clinical_ai import names
from clinical_ai.change import Change, Did
from clinical_ai.ports import Database


def ensure_roles(cluster: Database, passwords: dict[str, SecretStr]) -> list[Change]:
    """Each role exists, may log in and owns nothing yet; `cluster` is open as superuser."""
    return [_ensure_role(cluster, role, password) for role, password in passwords.items()]


def ensure_database(cluster: Database) -> Change:
    """The database exists, belongs to the data role and lets nobody else connect."""
    if cluster.query("select 1 from pg_database where datname = %s", [names.DATABASE]):
        return Change(f"database {names.DATABASE}", Did.UNCHANGED)
    cluster.execute(f"create database {names.DATABASE} owner {names.DATABASE_ROLE}")
    return Change(f"database {names.DATABASE}", Did.CREATED)


def ensure_prefect_schema(database: Database) -> Change:
    """Prefect's schema with its own role and extension; `database` is open as superuser.

    The revoke makes clinical data invisible to Prefect's role and Prefect's tables to the data
    role. The search path is the role's, so that every client of Prefect finds its tables.
    """
    schema, role = names.PREFECT_SCHEMA, names.PREFECT_ROLE
    if database.query("select 1 from pg_namespace where nspname = %s", [schema]):
        return Change(f"schema {schema}", Did.UNCHANGED)
    statements: Sequence[str] = (
        f"revoke all on database {names.DATABASE} from public",
        f"grant connect, temporary on database {names.DATABASE} to {role}",
        "revoke all on schema public from public",
        f"alter schema public owner to {names.DATABASE_ROLE}",
        f"create schema {schema} authorization {role}",
        f"create extension if not exists pg_trgm schema {schema}",
        f"alter role {role} in database {names.DATABASE} set search_path = {schema}",
    )
    database.execute_all([(statement, ()) for statement in statements])
    return Change(f"schema {schema}", Did.CREATED)


def _ensure_role(cluster: Database, role: str, password: SecretStr) -> Change:
    if cluster.query("select 1 from pg_roles where rolname = %s", [role]):
        return Change(f"role {role}", Did.UNCHANGED)
    cluster.execute(f"create role {role} login password %s", [password.get_secret_value()])
    return Change(f"role {role}", Did.CREATED)
