"""What a pod tells of database and storage: each with its evidence or its remedy, and no secret."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from secrets import token_hex
from typing import Any

import pytest
from cryptography.fernet import Fernet
from pydantic import SecretStr

from clinical_ai import names
from clinical_ai.manifests.kubernetes.pod_check import NO_STORAGE, VAULT
from clinical_ai.pod_check import main
from clinical_ai.secret_references import parts
from tests.support.postgres import PostgresServer
from tests.support.s3 import S3Server
from tests.support.vault_server import Given, VaultTestServer

Statements = Callable[[str], None]


class Pod:
    """Secrets as they are mounted, and the settings as the Job gives them."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self._capsys = capsys
        self.values: list[str] = []

    def mount(self, reference: str, value: str) -> None:
        name, key = parts(reference)
        (self.folder / name).mkdir(exist_ok=True)
        (self.folder / name / key).write_text(value)
        self.values.append(value)

    def unmount(self, reference: str) -> None:
        self.folder.joinpath(*parts(reference)).unlink()

    def check(self) -> tuple[int, dict[str, str]]:
        """The exit code, and what is told of each thing; none of it is a secret."""
        code = main()
        out = self._capsys.readouterr().out
        assert not any(value in out for value in self.values)
        lines = [line.partition(": ") for line in out.splitlines()]
        return code, {head[6:]: f"{head[:4].strip()} {text}" for head, _, text in lines}


@pytest.fixture
def database_url(postgres_server: PostgresServer) -> Iterator[SecretStr]:
    """An empty database of the guide's name, as its superuser."""
    postgres_server.run(f"create database {names.DATABASE} template template0")
    yield postgres_server.url(names.DATABASE)
    postgres_server.run(f"drop database {names.DATABASE} with (force)")


@pytest.fixture
def role(postgres_server: PostgresServer) -> Iterator[str]:
    """One that may log in and nothing else; its password is its name."""
    name = f"prefect_{token_hex(4)}"
    postgres_server.run(f"create role {name} login password '{name}-password'")
    yield name
    postgres_server.run(f"drop role {name}")


@pytest.fixture
def run(
    postgres_server: PostgresServer, database_url: SecretStr, role: str
) -> Iterator[Statements]:
    """Statements of the superuser in the test's database."""
    database = database_url.get_secret_value().rpartition("/")[2]
    yield lambda text: postgres_server.run(text, database)
    postgres_server.run(f"drop owned by {role} cascade", database)


@pytest.fixture
def pod(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    postgres_server: PostgresServer,
    database_url: SecretStr,
    role: str,
    run: Statements,
    s3_server: S3Server,
) -> Pod:
    """One from which everything is reached."""
    made = Pod(tmp_path, capsys)
    url = database_url.get_secret_value()
    database = url.rpartition("/")[2]
    run(f"grant create on database {database} to {role}")
    prefect = postgres_server.url(database, role, f"{role}-password").get_secret_value()
    made.mount(names.DATABASE_URL, url)
    made.mount(names.PREFECT_DATABASE_URL, prefect.replace("postgresql", "postgresql+asyncpg"))
    made.mount(names.MINIO_ACCESS_KEY, s3_server.admin.access.get_secret_value())
    made.mount(names.MINIO_SECRET_KEY, s3_server.admin.secret.get_secret_value())
    settings: dict[str, Any] = {
        "minio-endpoint": s3_server.url,
        "kubernetes": {"registry": "registry.test"},
    }
    monkeypatch.setenv(names.SETTINGS_VARIABLE, json.dumps(settings))
    monkeypatch.setenv(names.SECRETS_VARIABLE, str(tmp_path))
    monkeypatch.setattr("sys.argv", ["pod_check"])
    return made


def forbid(run: Statements, role: str) -> None:
    """The role may make nothing in the database any more."""
    revoke = f"'revoke create on database ' || current_database() || ' from {role}'"
    run(f"do $$ begin execute {revoke}; end $$")


def statements(told: str) -> list[str]:
    """The SQL that a remedy names."""
    return re.findall(r"(?:CREATE|ALTER|GRANT) [^.;]+", told)


def test_what_is_reached_is_told_with_its_evidence(pod: Pod, role: str) -> None:
    code, told = pod.check()
    assert code == 0
    assert told["database"].startswith(f"ok SELECT 1 in {names.DATABASE}, ")
    assert told["Prefect's schema"] == (f"ok schema may be made, pg_trgm may be made, role {role}")
    assert told["storage"] == "ok 0 bucket(s) listed"


def test_a_storage_whose_credentials_are_still_to_come_is_left_out_and_told(
    pod: Pod, monkeypatch: pytest.MonkeyPatch
) -> None:
    pod.unmount(names.MINIO_ACCESS_KEY)
    monkeypatch.setattr("sys.argv", ["pod_check", NO_STORAGE])
    code, told = pod.check()
    assert code == 0
    assert told["storage"].startswith("skip its credentials come from Vault")


def of_vault(vault: VaultTestServer, kind: str, **more: Any) -> str:
    """Settings whose pods ask this Vault."""
    chosen = {"kind": kind, "vault-address": vault.address}
    lab = {"addresses": ["https://lab.test"], "credentials": "vault:secret/clinical-ai/lab#token"}
    kubernetes = {"registry": "registry.test", "aws-credentials": chosen}
    base = {"storage-environment": "production", "connections": {"lab": lab}}
    return json.dumps({**base, "kubernetes": kubernetes, **more})


@pytest.mark.parametrize("kind", ["external-secrets", "vault-agent"])
def test_vault_is_asked_whether_it_serves_before_anybody_may_log_in(
    pod: Pod, vault: VaultTestServer, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setenv(names.SETTINGS_VARIABLE, of_vault(vault, kind))
    monkeypatch.setattr("sys.argv", ["pod_check", NO_STORAGE, VAULT])
    code, told = pod.check()
    assert (code, told["Vault"]) == (0, f"ok {vault.address} answers, unsealed")
    assert told["storage"].startswith("skip")
    vault.answers = [Given(503, {"sealed": True})]
    code, told = pod.check()
    assert code == 1
    assert "HTTP 503, as when sealed" in told["Vault"]
    assert told["database"].startswith("ok")


@pytest.mark.parametrize("kind", ["external-secrets", "vault-agent"])
def test_vault_is_asked_through_a_proxy_where_runs_do_so_and_not_where_its_agent_does(
    pod: Pod, vault: VaultTestServer, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setenv(names.SETTINGS_VARIABLE, of_vault(vault, kind))
    monkeypatch.setattr("sys.argv", ["pod_check", NO_STORAGE, VAULT])
    with monkeypatch.context() as during:  # what cleans up after the test takes no proxy
        during.setenv("HTTP_PROXY", "http://127.0.0.1:1")  # where nobody listens
        during.delenv("NO_PROXY", raising=False)
        _, told = pod.check()
    assert told["Vault"].startswith("ok" if kind == "vault-agent" else "FAIL no answer from Vault")


@pytest.mark.parametrize("place", [names.PREFECT_SCHEMA, "pg_catalog"])
def test_what_is_there_needs_no_right_to_make_it(
    pod: Pod, role: str, run: Statements, place: str
) -> None:
    run(f"create schema {names.PREFECT_SCHEMA} authorization {role}")
    run(f"create extension pg_trgm schema {place}")
    forbid(run, role)
    code, told = pod.check()
    assert code == 0
    assert "schema is there, pg_trgm is there" in told["Prefect's schema"]


def test_a_role_that_may_make_no_schema_is_told_what_its_owner_types(
    pod: Pod, role: str, run: Statements
) -> None:
    forbid(run, role)
    code, told = pod.check()
    assert code == 1
    assert "FAIL" in told["Prefect's schema"]
    assert f"CREATE SCHEMA prefect AUTHORIZATION {role}" in told["Prefect's schema"]
    assert told["database"].startswith("ok")


def test_a_schema_of_somebody_else_is_not_taken_for_one_that_may_be_made(
    pod: Pod, role: str, run: Statements
) -> None:
    run(f"create schema {names.PREFECT_SCHEMA}")
    code, told = pod.check()
    assert code == 1
    assert f"GRANT ALL ON SCHEMA prefect TO {role}" in told["Prefect's schema"]


def test_an_extension_that_the_role_can_not_make_is_told(
    pod: Pod, role: str, run: Statements
) -> None:
    run(f"create schema {names.PREFECT_SCHEMA} authorization {role}")
    forbid(run, role)
    code, told = pod.check()
    assert code == 1
    [statement] = statements(told["Prefect's schema"])
    assert statement == "CREATE EXTENSION pg_trgm SCHEMA prefect"
    run(statement)
    assert pod.check()[0] == 0


@pytest.mark.parametrize("schema_is_there", [True, False])
def test_an_extension_where_prefect_does_not_look_is_told_with_what_moves_it(
    pod: Pod, role: str, run: Statements, schema_is_there: bool
) -> None:
    """The migration would end at its first index: it finds no operator class of that name."""
    if schema_is_there:
        run(f"create schema {names.PREFECT_SCHEMA} authorization {role}")
    run("create extension pg_trgm schema public")
    code, told = pod.check()
    assert code == 1
    assert "pg_trgm" in told["Prefect's schema"]
    assert "is in the schema public" in told["Prefect's schema"]
    assert "whoever keeps the database decides" in told["Prefect's schema"]
    assert names.PREFECT_DATABASE_URL in told["Prefect's schema"]
    for each in statements(told["Prefect's schema"]):
        run(each)
    code, told = pod.check()
    assert code == 0
    assert "schema is there, pg_trgm is there" in told["Prefect's schema"]


@pytest.fixture
def keep_block(role: str, run: Statements, pod: Pod) -> Callable[[str], None]:
    """A block in the schema, as Prefect encrypts it with this key."""
    run(f"create schema {names.PREFECT_SCHEMA} authorization {role}")
    columns = "data jsonb not null, created timestamptz not null default now()"
    run(f"create table {names.PREFECT_SCHEMA}.block_document ({columns})")
    run(f"alter table {names.PREFECT_SCHEMA}.block_document owner to {role}")

    def keep(key: str) -> None:
        data = Fernet(key).encrypt(b'{"log_level": "INFO"}').decode()
        run(f"insert into {names.PREFECT_SCHEMA}.block_document values (to_jsonb('{data}'::text))")

    return keep


def test_blocks_that_the_key_opens_are_told(pod: Pod, keep_block: Callable[[str], None]) -> None:
    """One of an older key is no reason to stop."""
    key = Fernet.generate_key().decode()
    pod.mount(names.ENCRYPTION_KEY, key)
    keep_block(key)
    keep_block(Fernet.generate_key().decode())
    code, told = pod.check()
    assert code == 0
    assert told["Prefect's schema"].endswith(", 1 of 2 blocks open")


@pytest.mark.parametrize(
    ("key", "problem"),
    [
        (None, f"{names.ENCRYPTION_KEY} is not there"),
        ("another-key-of-a-test-of-32-byte-0123456789=", f"{names.ENCRYPTION_KEY} opens none"),
        ("not-a-key-of-a-test", f"{names.ENCRYPTION_KEY} opens none"),
    ],
)
def test_blocks_that_no_key_opens_are_told_with_what_to_do(
    pod: Pod,
    keep_block: Callable[[str], None],
    run: Statements,
    key: str | None,
    problem: str,
) -> None:
    """Of a platform whose namespace went with its key: the database has outlived it."""
    keep_block(Fernet.generate_key().decode())
    if key:
        pod.mount(names.ENCRYPTION_KEY, key)
    code, told = pod.check()
    assert code == 1
    assert told["Prefect's schema"].startswith("FAIL the schema prefect holds blocks of an earlier")
    assert problem in told["Prefect's schema"]
    assert "replace that Secret by the one of your backup" in told["Prefect's schema"]
    [statement] = re.findall(r"DELETE FROM [a-z._]+", told["Prefect's schema"])
    run(statement)
    assert pod.check()[0] == 0


def test_a_database_of_the_data_by_another_name_is_told(
    pod: Pod, postgres_server: PostgresServer
) -> None:
    """Also one that is there; Prefect's may have any name."""
    for reference in (names.DATABASE_URL, names.PREFECT_DATABASE_URL):
        url = postgres_server.url("postgres").get_secret_value()
        pod.mount(reference, url.replace("postgresql:", "postgresql+asyncpg:"))
    code, told = pod.check()
    assert code == 1
    assert told["database"].startswith(
        f"FAIL {names.DATABASE_URL} names the database postgres, not {names.DATABASE}"
    )
    assert told["Prefect's schema"].startswith("ok")


def test_each_thing_that_fails_is_told_and_the_rest_is_looked_at(pod: Pod) -> None:
    pod.mount(names.MINIO_SECRET_KEY, "hunter2-canary")
    pod.unmount(names.DATABASE_URL)
    code, told = pod.check()
    assert code == 1
    assert told["database"].startswith(f"FAIL {names.DATABASE_URL} is not there")
    assert told["storage"].startswith("FAIL")
    assert told["Prefect's schema"].startswith("ok")
