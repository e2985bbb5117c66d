"""What a Database promises, asked of a real PostgreSQL."""

import logging
import threading
import traceback
from collections.abc import Iterator

import psycopg2
import pytest
from pydantic import SecretStr

from clinical_ai.adapters.postgres import PostgresDatabase
from clinical_ai.errors import NeedsOperator, PlatformError, Transient
from clinical_ai.ports import Database
from tests.support.postgres import PostgresServer

CANARY = "erika-mustermann-1964"


@pytest.fixture
def database(database_url: SecretStr) -> Iterator[PostgresDatabase]:
    opened = PostgresDatabase(database_url)
    yield opened
    opened.close()


@pytest.fixture
def patients(database: Database) -> Database:
    database.execute(
        "create table patients (id int primary key, name text not null check (name > ''))"
    )
    return database


def test_rows_come_as_dictionaries_by_column_name(database: Database) -> None:
    rows = database.query("select %s::int as a, %s as b union all select 2, null", (1, "x"))
    assert rows == [{"a": 1, "b": "x"}, {"a": 2, "b": None}]


def test_no_rows_are_an_empty_list(database: Database) -> None:
    assert database.query("select 1 where false") == []
    assert database.query("create table t (a int)") == []


def test_a_parameter_is_a_value_and_never_sql(patients: Database) -> None:
    hostile = "'; drop table patients; --"
    patients.execute("insert into patients values (%s, %s)", (1, hostile))
    assert patients.query("select name from patients") == [{"name": hostile}]


def test_a_percent_sign_without_parameters_is_just_one(database: Database) -> None:
    assert database.query("select 'a%' as a") == [{"a": "a%"}]


def test_a_dictionary_is_sent_as_json(database: Database) -> None:
    options = {"key": ["id"], "text": "ä"}
    assert database.query("select %s::jsonb as options", (options,)) == [{"options": options}]


def test_execute_tells_how_many_rows_it_touched(patients: Database) -> None:
    assert patients.execute("insert into patients values (1, 'a'), (2, 'b')") == 2
    assert patients.execute("delete from patients where id > 5") == 0
    assert patients.execute("create table other (a int)") == 0


def test_what_was_executed_is_there_for_everybody(
    patients: Database, database_url: SecretStr
) -> None:
    patients.execute("insert into patients values (1, 'a')")
    assert PostgresDatabase(database_url).query("select id from patients") == [{"id": 1}]


def test_all_statements_happen_or_none(patients: Database) -> None:
    with pytest.raises(NeedsOperator):
        patients.execute_all(
            [
                ("insert into patients values (%s, %s)", (1, "a")),
                ("insert into patients values (%s, %s)", (1, "b")),
            ]
        )
    assert patients.query("select * from patients") == []
    patients.execute_all([("insert into patients values (%s, %s)", (n, "a")) for n in range(3)])
    assert patients.query("select count(*) as n from patients") == [{"n": 3}]


def test_statements_that_were_not_finished_are_not_finished_by_the_next_one(
    patients: Database, database_url: SecretStr
) -> None:
    insert = "insert into patients values (%s, %s)"
    with pytest.raises(NeedsOperator):  # refused by the driver: the server knows of no error
        patients.execute_all([(insert, (1, "a")), (insert, (2, "\0"))])
    patients.execute(insert, (3, "c"))
    assert PostgresDatabase(database_url).query("select id from patients") == [{"id": 3}]


def test_the_database_is_usable_after_an_error(patients: Database) -> None:
    with pytest.raises(NeedsOperator):
        patients.query("select * from nowhere")
    assert patients.query("select 1 as a") == [{"a": 1}]


def test_a_lock_is_held_by_one_at_a_time(database: Database, database_url: SecretStr) -> None:
    other = PostgresDatabase(database_url)
    with database.lock("change") as mine:
        assert mine
        with other.lock("change") as theirs:
            assert not theirs
        with other.lock("another") as unrelated:
            assert unrelated
    with other.lock("change") as theirs:
        assert theirs


def test_a_lock_does_not_hinder_its_holder(database: Database) -> None:
    with database.lock("change"), database.lock("other") as also:
        assert also
        assert database.query("select 1 as a") == [{"a": 1}]


def test_a_lock_is_given_back_when_the_work_fails(database: Database) -> None:
    with pytest.raises(LookupError), database.lock("change"):
        raise LookupError
    with database.lock("change") as again:
        assert again


def test_threads_take_turns(patients: Database) -> None:
    def insert(first: int) -> None:
        for number in range(first, first + 20):
            patients.execute_all([("insert into patients values (%s, 'a')", (number,))])

    threads = [threading.Thread(target=insert, args=(first,)) for first in (0, 100, 200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert patients.query("select count(*) as n from patients") == [{"n": 60}]


def test_it_heals_when_its_connection_was_ended(
    database: PostgresDatabase, postgres_server: PostgresServer
) -> None:
    name = database.query("select current_database() as name, pg_backend_pid() as pid")[0]
    postgres_server.run(f"select pg_terminate_backend({name['pid']}, 5000)")
    assert database.query("select 1 as a") == [{"a": 1}]


def test_it_is_transient_while_the_server_is_away_and_heals_after(
    database: PostgresDatabase, postgres_server: PostgresServer
) -> None:
    database.execute("create table kept (a int)")
    postgres_server.stop()
    try:
        with pytest.raises(Transient, match="cannot be reached"):
            database.query("select 1")
    finally:
        postgres_server.start()
    assert database.query("select * from kept") == []


def test_a_lock_that_ended_with_the_server_is_no_error(
    database: PostgresDatabase, database_url: SecretStr, postgres_server: PostgresServer
) -> None:
    with database.lock("change") as held:
        assert held
        postgres_server.run(
            "select pg_terminate_backend(pid, 5000) from pg_locks where locktype = 'advisory'"
        )
        with PostgresDatabase(database_url).lock("change") as free:
            assert free


def test_a_lock_that_somebody_holds_is_transient(
    patients: Database, database_url: SecretStr
) -> None:
    holder = psycopg2.connect(database_url.get_secret_value())
    try:
        holder.cursor().execute("lock table patients")
        with pytest.raises(Transient, match="55P03 lock_not_available"):
            patients.execute_all([("lock table patients nowait", ())])
    finally:
        holder.close()


@pytest.mark.parametrize(
    "state", ["08006", "40001", "40P01", "53300", "57014", "57P01", "57P02", "57P03"]
)
def test_what_may_pass_by_itself_is_transient(database: Database, state: str) -> None:
    with pytest.raises(Transient, match=state):
        database.execute(
            f"do $$ begin raise exception '{CANARY}' using errcode = '{state}'; end $$"
        )


@pytest.mark.parametrize("state", ["53100", "42501", "XX001", "57P04"])
def test_what_a_person_must_mend_is_not(database: Database, state: str) -> None:
    with pytest.raises(NeedsOperator, match=state):
        database.execute(
            f"do $$ begin raise exception '{CANARY}' using errcode = '{state}'; end $$"
        )


@pytest.mark.parametrize(
    ("sql", "parameters", "told"),
    [
        (
            "insert into patients values (1, %s)",
            (CANARY,),
            "23505 unique_violation (table patients, constraint patients_pkey)",
        ),
        (
            "insert into patients values (2, null), (3, %s)",
            (CANARY,),
            "23502 not_null_violation (table patients, column name)",
        ),
        (
            "insert into patients values (2, '')",
            (),
            "23514 check_violation (table patients, constraint patients_name_check)",
        ),
        ("select %s::int", (CANARY,), "22P02 invalid_text_representation"),
        (f"select '{CANARY}'::date", (), "22007 invalid_datetime_format"),
        (f'select * from "{CANARY}"', (), "42P01 undefined_table"),
        (f"selekt '{CANARY}'", (), "42601 syntax_error"),
        (
            f"do $$ begin raise '{CANARY}' using errcode = 'ZX123', detail = '{CANARY}'; end $$",
            (),
            "ZX123 condition without a name",
        ),
    ],
)
def test_a_refusal_names_its_kind_and_place_and_no_value(
    patients: Database,
    caplog: pytest.LogCaptureFixture,
    sql: str,
    parameters: tuple[str, ...],
    told: str,
) -> None:
    caplog.set_level(logging.DEBUG)
    patients.execute("insert into patients values (1, %s)", (CANARY,))
    with pytest.raises(NeedsOperator) as refused:
        patients.execute(sql, parameters)
    assert told in str(refused.value)
    assert CANARY not in everything_shown(refused.value) + caplog.text


@pytest.mark.parametrize("value", [f"{CANARY}\0", f"{CANARY}\udc80", {CANARY: "\0"}, object()])
def test_a_value_that_cannot_be_kept_is_refused_without_showing_it(
    database: Database, value: object
) -> None:
    with pytest.raises(NeedsOperator) as refused:
        database.query("select %s::jsonb" if isinstance(value, dict) else "select %s", (value,))
    assert CANARY not in everything_shown(refused.value)


def everything_shown(error: PlatformError) -> str:
    assert error.__cause__ is None
    return "".join(traceback.format_exception(error)) + repr(error) + str(error)
