"""The migration Job's command against a real PostgreSQL."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest
from pydantic import SecretStr

from clinical_ai import names
from clinical_ai.adapters.postgres import PostgresDatabase
from clinical_ai.adapters.prefect_revisions import newest_revision
from clinical_ai.manifests.kubernetes import migration
from clinical_ai.migrate import ensure_schema
from tests.support.postgres import PostgresServer

ROOT = Path(__file__).resolve().parent.parent.parent


def migrate(home: Path, url: str | None, *words: str) -> subprocess.CompletedProcess[str]:
    """As the Job does, with its variables."""
    return run(home, url, "clinical_ai.migrate", *words)


def _downgraded(home: Path, url: str) -> subprocess.CompletedProcess[str]:
    """To the revision before, as a backup of before has it."""
    return run(home, url, "prefect", "server", "database", "downgrade", "-y", "-r", "-1")


def run(home: Path, url: str | None, *words: str) -> subprocess.CompletedProcess[str]:
    """A module of Python's, where Prefect finds this database."""
    variables = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "PREFECT_HOME": str(home / "prefect"),
        "PREFECT_SERVER_DATABASE_SQLALCHEMY_CONNECT_ARGS_SEARCH_PATH": names.PREFECT_SCHEMA,
        **({"PREFECT_SERVER_DATABASE_CONNECTION_URL": url} if url else {}),
    }
    command = [sys.executable, "-m", *words]
    return subprocess.run(
        command, cwd=ROOT, env=variables, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def migrated(
    postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SecretStr]:
    """A database that the Job found empty; who changes it brings it back to the newest revision."""
    postgres_server.run("create database migrated template template0")
    plain = postgres_server.url("migrated")
    done = migrate(tmp_path_factory.mktemp("home"), _asynchronous(plain))
    assert done.returncode == 0, done.stderr
    yield plain
    postgres_server.run("drop database migrated with (force)")


def _asynchronous(url: SecretStr) -> str:
    """As Prefect's server is told it."""
    return url.get_secret_value().replace("postgresql://", "postgresql+asyncpg://")


def test_an_empty_database_gets_prefects_tables_in_a_schema_of_their_own(
    migrated: SecretStr, tmp_path: Path
) -> None:
    database = PostgresDatabase(migrated)
    tables = "select schemaname, count(*) from pg_tables where tablename = %s group by 1"
    assert database.query(tables, ("flow_run",)) == [{"schemaname": "prefect", "count": 1}]
    extension = "select extnamespace::regnamespace::text as place from pg_extension"
    assert database.query(f"{extension} where extname = %s", ("pg_trgm",)) == [{"place": "prefect"}]
    database.close()
    again = migrate(tmp_path, _asynchronous(migrated))
    assert again.returncode == 0, again.stderr


def test_a_database_of_a_newer_release_is_refused_with_both_revisions(
    database_url: SecretStr, tmp_path: Path
) -> None:
    database = PostgresDatabase(database_url)
    database.execute("create schema prefect")
    database.execute("create table prefect.alembic_version (version_num varchar(32))")
    database.execute("insert into prefect.alembic_version values ('ffffffffffff')")
    database.close()
    done = migrate(tmp_path, _asynchronous(database_url))
    assert done.returncode == 1
    told = f"revision ffffffffffff, which this release does not know; it needs {newest_revision()}"
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    tables = "select tablename from pg_tables where schemaname = 'prefect'"
    assert database.query(tables) == [{"tablename": "alembic_version"}]
    database.close()


def test_a_database_of_an_older_release_is_migrated(migrated: SecretStr, tmp_path: Path) -> None:
    database, url = PostgresDatabase(migrated), _asynchronous(migrated)
    done = _downgraded(tmp_path, url)
    assert done.returncode == 0, done.stderr
    revision = "select version_num as found from prefect.alembic_version"
    assert database.query(revision) != [{"found": newest_revision()}]
    assert migrate(tmp_path, url).returncode == 0
    assert database.query(revision) == [{"found": newest_revision()}]
    database.close()


def test_a_database_that_is_not_there_fails_the_job_and_shows_no_password(tmp_path: Path) -> None:
    done = migrate(tmp_path, "postgresql+asyncpg://me:hunter2-canary@127.0.0.1:1/cai_data")
    assert done.returncode == 1
    assert "127.0.0.1:1" in done.stderr
    assert "hunter2" not in done.stdout + done.stderr


def test_without_an_address_a_person_is_told_how_it_is_run(tmp_path: Path) -> None:
    done = migrate(tmp_path, None)
    assert done.returncode == 1
    assert "run this as the migration Job does" in done.stderr


def test_a_role_that_may_not_create_schemas_can_use_one_that_is_there(
    database_url: SecretStr,
) -> None:
    owner = PostgresDatabase(database_url)
    owner.execute("create schema prefect")
    owner.execute("create role migrating login password 'x'")
    try:
        plain = database_url.get_secret_value()
        parts = psycopg2.extensions.parse_dsn(plain)
        there = f"{parts['host']}:{parts['port']}/{parts['dbname']}"
        ensure_schema(PostgresDatabase(SecretStr(f"postgresql://migrating:x@{there}")))
    finally:
        owner.execute("drop role migrating")
        owner.close()


def test_a_drop_takes_prefects_schema_with_all_in_it_and_nothing_else(
    database_url: SecretStr, tmp_path: Path
) -> None:
    database = PostgresDatabase(database_url)
    for schema in (names.PREFECT_SCHEMA, "theirs"):
        database.execute(f"create schema {schema}")
        database.execute(f"create table {schema}.flow_run (id int)")
    database.close()
    url = _asynchronous(database_url)
    for _ in range(2):  # a second one finds nothing, which is as wanted
        done = migrate(tmp_path, url, migration.DROP)
        assert done.returncode == 0, done.stderr
    tables = "select schemaname from pg_tables where tablename = %s"
    assert database.query(tables, ("flow_run",)) == [{"schemaname": "theirs"}]
    database.close()


def test_a_drop_that_can_not_be_done_fails_the_job_and_shows_no_password(tmp_path: Path) -> None:
    done = migrate(tmp_path, "postgresql://me:hunter2-canary@127.0.0.1:1/d", migration.DROP)
    assert done.returncode == 1
    assert "hunter2" not in done.stdout + done.stderr
