"""What stands behind a failed load is told without a row, whoever raised it."""

import errno
import gc
import os
from pathlib import Path

import adbc_driver_manager as adbc
import psycopg2
import pyarrow as pa
import pytest
from prefect.exceptions import TerminationSignal
from pydantic import SecretStr

from clinical_ai.adapters.dlt_errors import told
from clinical_ai.adapters.dlt_loader import DltLoader
from clinical_ai.errors import NeedsOperator, Transient
from clinical_ai.ports_clinical import POSITION, Kind, Page

CANARY = "Chalmers-canary"


class WrappedError(Exception):
    """As dlt wraps what a job met."""

    def __init__(self, met: BaseException) -> None:
        super().__init__(f"failed with {met}")
        self.job_id = "patient.0123.0.parquet"
        self.client_exception = met


def driver_error(status: adbc.AdbcStatusCode, state: str = "") -> adbc.Error:
    return adbc.OperationalError(f"row {CANARY}", status_code=status, sqlstate=state)


@pytest.mark.parametrize(
    ("met", "family", "said"),
    [
        (driver_error(adbc.AdbcStatusCode.IO), Transient, "cannot be reached"),
        (driver_error(adbc.AdbcStatusCode.IO, "22P02"), NeedsOperator, "22P02"),
        (driver_error(adbc.AdbcStatusCode.IO, "57P01"), Transient, "57P01"),
        (driver_error(adbc.AdbcStatusCode.INTERNAL, "53100"), NeedsOperator, "free space"),
        (driver_error(adbc.AdbcStatusCode.INVALID_DATA), NeedsOperator, "refused by the driver"),
        (psycopg2.OperationalError(CANARY), Transient, "connection"),
        (OSError(errno.ENOSPC, CANARY), NeedsOperator, "disk is full"),
        (KeyError(CANARY), NeedsOperator, "KeyError"),
        (Transient("the source is away"), Transient, "the source is away"),
    ],
)
def test_each_error_becomes_one_of_two_families(
    met: BaseException, family: type[Exception], said: str
) -> None:
    found = told(WrappedError(met), "host:5432/db")
    assert type(found) is family
    assert said in str(found)
    assert CANARY not in str(found)


def test_the_table_of_the_job_is_named() -> None:
    found = told(WrappedError(driver_error(adbc.AdbcStatusCode.IO, "22P02")), "host:5432/db")
    assert "(table patient)" in str(found)


@pytest.mark.parametrize("met", [KeyboardInterrupt(), SystemExit(3), TerminationSignal(15)])
def test_an_interruption_stays_what_it_is(met: BaseException) -> None:
    assert told(WrappedError(met), "host:5432/db") is met


def test_a_disk_that_is_full_in_the_middle_is_told_and_nothing_is_written(
    database_url: SecretStr, small_disk: Path
) -> None:
    noise = [os.urandom(3000).hex() for _ in range(200)]
    rows = pa.table(
        {
            "id": pa.array(noise, pa.large_string()),
            POSITION: pa.array(range(len(noise)), pa.int64()),
        }
    )
    page = Page("t", ("id",), {"id": Kind.TEXT, POSITION: Kind.BIGINT}, rows, rows.nbytes)
    loader = DltLoader(database_url, "out", ("a", "b"), folder=small_disk)
    with pytest.raises(NeedsOperator, match="disk is full"):
        loader.load([page])
    assert loader.known().tables == {}
    loader.close()
    gc.collect()  # dlt leaves files of the disk open
