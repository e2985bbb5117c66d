"""Roles, database and schema of a fresh cluster, on a real PostgreSQL."""

from collections.abc import Iterator

import pytest
from pydantic import SecretStr

from clinical_ai import names
from clinical_ai.adapters.postgres import PostgresDatabase
from clinical_ai.change import Did
from clinical_ai.errors import NeedsOperator
from clinical_ai.steps.local_database import (
    ensure_database,
    ensure_prefect_schema,
    ensure_roles,
)
from tests.support.postgres import PostgresServer

PASSWORDS = {
    names.DATABASE_ROLE: SecretStr("data-canary"),
    names.PREFECT_ROLE: SecretStr("it's; a '%s' canary"),
}


@pytest.fixture
def cluster(postgres_server: PostgresServer) -> Iterator[PostgresDatabase]:
    """The cluster as its superuser; what the steps make is gone afterwards."""
    yield PostgresDatabase(postgres_server.url())
    postgres_server.run(f"drop database if exists {names.DATABASE} with (force)")
    for role in PASSWORDS:
        postgres_server.run(f"drop role if exists {role}")


def opened(
    server: PostgresServer, role: str, password: SecretStr | None = None
) -> PostgresDatabase:
    from urllib.parse import quote

    word = quote((password or PASSWORDS[role]).get_secret_value(), safe="")
    return PostgresDatabase(server.url(names.DATABASE, role, word))


def laid(cluster: PostgresDatabase, server: PostgresServer) -> list[Did]:
    """All three steps, as bootstrap does them."""
    changes = [*ensure_roles(cluster, PASSWORDS), ensure_database(cluster)]
    changes.append(ensure_prefect_schema(PostgresDatabase(server.url(names.DATABASE))))
    return [change.did for change in changes]


def test_a_second_time_changes_nothing(
    cluster: PostgresDatabase, postgres_server: PostgresServer
) -> None:
    assert laid(cluster, postgres_server) == [Did.CREATED] * 4
    assert laid(cluster, postgres_server) == [Did.UNCHANGED] * 4


def test_each_role_gets_in_with_its_password_only_and_is_no_superuser(
    cluster: PostgresDatabase, postgres_server: PostgresServer
) -> None:
    laid(cluster, postgres_server)
    for role in PASSWORDS:
        rows = opened(postgres_server, role).query(
            "select current_user as name, rolsuper, rolcreaterole, rolcreatedb from pg_roles "
            "where rolname = current_user"
        )
        assert rows == [
            {"name": role, "rolsuper": False, "rolcreaterole": False, "rolcreatedb": False}
        ]
        with pytest.raises(NeedsOperator):
            opened(postgres_server, role, SecretStr("wrong")).query("select 1")


def test_neither_role_sees_the_others_tables(
    cluster: PostgresDatabase, postgres_server: PostgresServer
) -> None:
    laid(cluster, postgres_server)
    data, prefect = (opened(postgres_server, role) for role in PASSWORDS)
    data.execute("create table patient (name text)")
    prefect.execute("create table flow_run (id int)")
    where = "select schemaname from pg_tables where tablename = %s"
    assert data.query(where, ["patient"]) == [{"schemaname": "public"}]
    assert prefect.query(where, ["flow_run"]) == [{"schemaname": names.PREFECT_SCHEMA}]
    with pytest.raises(NeedsOperator, match="42501"):
        prefect.query("select * from public.patient")
    with pytest.raises(NeedsOperator, match="42501"):
        data.query(f"select * from {names.PREFECT_SCHEMA}.flow_run")
    may = "select has_schema_privilege(current_user, %s, 'usage') as may"
    assert prefect.query(may, ["public"]) == [{"may": False}], "not even the names of tables"
    assert data.query(may, [names.PREFECT_SCHEMA]) == [{"may": False}]


def test_prefect_finds_its_schema_and_trigrams_without_being_told(
    cluster: PostgresDatabase, postgres_server: PostgresServer
) -> None:
    laid(cluster, postgres_server)
    prefect = opened(postgres_server, names.PREFECT_ROLE)
    assert prefect.query("show search_path") == [{"search_path": names.PREFECT_SCHEMA}]
    assert prefect.query("select similarity('ward', 'ward') as s") == [{"s": 1.0}]


def test_a_third_role_may_not_even_connect(
    cluster: PostgresDatabase, postgres_server: PostgresServer
) -> None:
    laid(cluster, postgres_server)
    postgres_server.run("create role stranger login password 'stranger'")
    try:
        with pytest.raises(NeedsOperator):
            opened(postgres_server, "stranger", SecretStr("stranger")).query("select 1")
    finally:
        postgres_server.run("drop role stranger")


def test_a_schema_that_a_killed_up_did_not_finish_is_not_half_there(
    cluster: PostgresDatabase, postgres_server: PostgresServer
) -> None:
    """All of it or nothing: without Prefect's role the grant fails, after the first statement."""
    ensure_roles(cluster, {names.DATABASE_ROLE: PASSWORDS[names.DATABASE_ROLE]})
    ensure_database(cluster)
    inside = PostgresDatabase(postgres_server.url(names.DATABASE))
    with pytest.raises(NeedsOperator):
        ensure_prefect_schema(inside)
    assert (
        inside.query("select 1 from pg_namespace where nspname = %s", [names.PREFECT_SCHEMA]) == []
    )
    acl = "select has_database_privilege('public', current_database(), 'connect') as open"
    assert inside.query(acl) == [{"open": True}]
    assert laid(cluster, postgres_server) == [
        Did.UNCHANGED,
        Did.CREATED,
        Did.UNCHANGED,
        Did.CREATED,
    ]
