"""What only PostgreSQL's adapter promises: addresses, refused logins, secrecy."""

import logging
import socket
import traceback

import pytest
from hypothesis import example, given
from hypothesis import strategies as some
from pydantic import SecretStr

from clinical_ai.adapters.postgres import PostgresDatabase
from clinical_ai.adapters.postgres_address import parse
from clinical_ai.errors import NeedsOperator, Transient
from tests.support.postgres import PostgresServer

CANARY = "hunter2-canary"


def everything_shown(error: BaseException) -> str:
    assert error.__cause__ is None
    return "".join(traceback.format_exception(error)) + repr(error)


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+asyncpg"])
def test_the_url_of_either_driver_gives_the_same_address(scheme: str) -> None:
    address = parse(SecretStr(f"{scheme}://me:p%40ss@db.example.org/cai_data"))
    assert str(address) == "postgresql://me@db.example.org:5432/cai_data"
    assert address.password.get_secret_value() == "p@ss"


def test_options_are_libpqs_and_asyncpgs_word_for_tls_is_understood() -> None:
    assert dict(parse(SecretStr("postgresql://h/d?sslmode=require")).options) == {
        "sslmode": "require"
    }
    assert dict(parse(SecretStr("postgresql+asyncpg://h/d?ssl=require")).options) == {
        "sslmode": "require"
    }


def test_an_ipv6_address_keeps_its_brackets() -> None:
    assert str(parse(SecretStr("postgresql://me@[::1]:5433/d"))) == "postgresql://me@[::1]:5433/d"


@pytest.mark.parametrize(
    "url",
    [
        "",
        CANARY,
        "mysql://me:x@h/d",
        "postgresql://me:x@h",
        "postgresql:///d",
        "postgresql://me:x@h:port/d",
        "postgresql://me:x@h/d?host=elsewhere",
        "postgresql://me:x@h/d?password=y",
        "postgresql://[::1/d",
    ],
)
def test_a_url_that_cannot_be_used_is_refused_with_the_form_to_write(url: str) -> None:
    with pytest.raises(NeedsOperator, match="postgresql://user:password@host:port/database"):
        PostgresDatabase(SecretStr(url))


_STRAY = some.text("/?#:@1%=&[]\\ \n", max_size=4) | some.text(max_size=4)


@given(before=_STRAY, after=_STRAY)
@example(before="1/", after="")
@example(before="1?", after="=1")
@example(before="1#", after="")
@example(before="1/x:", after="")
@example(before="1/d?x=", after="")
def test_a_password_with_stray_characters_is_never_taken_for_something_to_show(
    before: str, after: str
) -> None:
    url = SecretStr(f"postgresql://me:{before}{CANARY}{after}@h:1/d")
    try:
        database = PostgresDatabase(url)
        shown = f"{database!r} {database.address} {vars(database)}"
    except NeedsOperator as refused:
        shown = everything_shown(refused)
    assert CANARY not in shown


def test_a_wrong_password_needs_an_operator_and_shows_no_password(
    postgres_server: PostgresServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    database = PostgresDatabase(postgres_server.url(password=CANARY))
    with pytest.raises(NeedsOperator, match="password authentication failed") as refused:
        database.query("select 1")
    assert "correct user and password" in str(refused.value)
    assert CANARY not in everything_shown(refused.value) + caplog.text


def test_a_database_that_does_not_exist_needs_an_operator(postgres_server: PostgresServer) -> None:
    with pytest.raises(NeedsOperator, match='database "absent" does not exist'):
        PostgresDatabase(postgres_server.url("absent")).query("select 1")


def test_a_server_without_tls_is_not_used_when_tls_is_asked(
    postgres_server: PostgresServer,
) -> None:
    url = postgres_server.url().get_secret_value()
    with pytest.raises(NeedsOperator, match="switch TLS on"):
        PostgresDatabase(SecretStr(f"{url}?sslmode=require")).query("select 1")


def test_an_option_that_libpq_does_not_know_needs_an_operator(
    postgres_server: PostgresServer,
) -> None:
    url = postgres_server.url().get_secret_value()
    with pytest.raises(NeedsOperator, match="remove the option"):
        PostgresDatabase(SecretStr(f"{url}?speed=high")).query("select 1")


def test_a_server_that_is_not_there_is_transient_and_named() -> None:
    with socket.socket() as taken:  # bound, and nobody listens
        taken.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{taken.getsockname()[1]}"
        database = PostgresDatabase(SecretStr(f"postgresql://me:{CANARY}@{place}/d"))
        with pytest.raises(
            Transient, match=f"{place}/d cannot be reached: Connection refused"
        ) as away:
            database.query("select 1")
        with pytest.raises(Transient), database.lock("change"):
            pass
    assert CANARY not in everything_shown(away.value)


def test_a_server_that_never_answers_is_given_up() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = SecretStr(f"postgresql://me:x@127.0.0.1:{silent.getsockname()[1]}/d")
        # 2 s is the least that libpq waits.
        with pytest.raises(Transient, match="cannot be reached"):
            PostgresDatabase(url, connect_seconds=2).query("select 1")


def test_the_server_sees_who_asks(database_url: SecretStr) -> None:
    database = PostgresDatabase(database_url, application_name="verify")
    seen = database.query("select current_setting('application_name') as name")
    assert seen == [{"name": "verify"}]
