"""What dlt, psycopg2 and ADBC raise, told without a row: their texts repeat whole rows."""

import errno
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from clinical_ai.adapters.postgres_errors import translated
from clinical_ai.errors import NeedsOperator, PlatformError, Transient
from clinical_ai.whereabouts import is_interruption, whereabouts

if TYPE_CHECKING:
    import psycopg2

_FULL: Final = {errno.ENOSPC, errno.EDQUOT}


def told(met: BaseException, place: str) -> BaseException:
    """The error that stands behind a failed load, in words of ours.

    Errors of the source's pages come back as they were, and so does an interruption, which dlt
    wraps. What is not known is told by its type.
    """
    chain = list(_chain(met))
    for each in chain:
        if isinstance(each, PlatformError) or is_interruption(each):
            return each
        if isinstance(each, OSError) and each.errno in _FULL:
            return NeedsOperator(
                "the disk is full where rows wait on their way", "free space, or set TMPDIR"
            )
    table = next((name for name in map(_table, chain) if name), None)
    for each in chain:
        if (found := _refused(each, place, table)) is not None:
            return found
    kinds = ", from ".join(dict.fromkeys(map(whereabouts, chain)))
    return NeedsOperator(
        f"the load to PostgreSQL at {place} failed{_of(table)}: {kinds}",
        "run it again; if it fails again, report this line to the project",
    )


def _refused(met: BaseException, place: str, table: str | None) -> PlatformError | None:
    """The answer of the database, from whichever driver asked."""
    import adbc_driver_manager as adbc
    import psycopg2

    if isinstance(met, psycopg2.Error):
        return _with_table(translated(met, place), table)
    if not isinstance(met, adbc.Error):
        return None
    state = (met.sqlstate or "").strip("\0 ")
    if state:
        return _with_table(translated(_as_psycopg2(state), place), table)
    if met.status_code in {adbc.AdbcStatusCode.IO, adbc.AdbcStatusCode.TIMEOUT}:
        return Transient(f"PostgreSQL at {place} cannot be reached, or the connection broke")
    return NeedsOperator(
        f"rows for{_of(table) or ' PostgreSQL'} were refused by the driver"
        f" ({met.status_code.name.lower()})",
        "compare the types of the table's columns with those of the source",
    )


def _as_psycopg2(state: str) -> "psycopg2.Error":
    """An error that carries the SQLSTATE and no text, to be translated the same way."""
    import psycopg2

    class Bare(psycopg2.DatabaseError):
        pgcode = state

    return Bare()


def _with_table(found: PlatformError, table: str | None) -> PlatformError:
    if table is None or table in str(found):
        return found
    if isinstance(found, NeedsOperator):
        return NeedsOperator(f"{found.problem}{_of(table)}", found.remedy)
    return Transient(f"{found}{_of(table)}")


def _of(table: str | None) -> str:
    return f" (table {table})" if table else ""


def _table(met: BaseException) -> str | None:
    """The table of the job that failed: the first part of the job's name."""
    job = getattr(met, "job_id", None)
    return str(job).partition(".")[0] if job else None


def _chain(met: BaseException) -> Iterator[BaseException]:
    """The error and all behind it, causes first, each once."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [met]
    while waiting:
        each = waiting.pop(0)
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        behind = [getattr(each, "client_exception", None), getattr(each, "exception", None)]
        waiting += [one for one in behind if isinstance(one, BaseException)]
        waiting += [each.__cause__, each.__context__]
