"""Brings Prefect's database to this release's revision: the command of the migration Job.

Run as `python -m clinical_ai.migrate`. Prefect's own upgrade follows in this very process, so its
exit code is the Job's. With `--drop` the schema goes, with all runs: only an uninstallation that
was asked for it does that.
"""

import os
import runpy
import sys
from typing import Final

from pydantic import SecretStr

from clinical_ai import names
from clinical_ai.adapters.postgres import PostgresDatabase
from clinical_ai.adapters.prefect_revisions import known_revisions, newest_revision
from clinical_ai.errors import NeedsOperator, PlatformError
from clinical_ai.manifests.kubernetes import migration
from clinical_ai.ports import Database

_URL: Final = "PREFECT_SERVER_DATABASE_CONNECTION_URL"


def main() -> int:
    """Make the schema, then become Prefect's upgrade."""
    url = os.environ.get(_URL)
    if not url:
        raise NeedsOperator(f"{_URL} is not set", "run this as the migration Job does")
    database = PostgresDatabase(SecretStr(url))
    if sys.argv[1:] == [migration.DROP]:
        database.execute(f"drop schema if exists {names.PREFECT_SCHEMA} cascade")
        return 0
    ensure_schema(database)
    refuse_newer(database)
    sys.argv = ["prefect", "server", "database", "upgrade", "-y"]
    runpy.run_module("prefect", run_name="__main__")
    return 0


def ensure_schema(database: Database) -> None:
    """Prefect makes its tables, not the schema that they are in.

    Looked for first: a role that may not create schemas can use one that is there.
    """
    found = database.query("select 1 from pg_namespace where nspname = %s", (names.PREFECT_SCHEMA,))
    if not found:
        database.execute(f"create schema if not exists {names.PREFECT_SCHEMA}")


def refuse_newer(database: Database) -> None:
    """NeedsOperator when a newer release has migrated the database: there is no way back here."""
    table = f"{names.PREFECT_SCHEMA}.alembic_version"
    if database.query("select to_regclass(%s) as t", [table])[0]["t"] is None:
        return
    found = {row["version_num"] for row in database.query(f"select version_num from {table}")}
    if newer := found - known_revisions():
        raise NeedsOperator(
            f"Prefect's database has revision {', '.join(sorted(newer))}, which this release does "
            f"not know; it needs {newest_revision()}",
            "run `up` of the release that made it or of a newer one, or restore a backup of before",
        )


if __name__ == "__main__":
    try:
        sys.exit(main())
    except PlatformError as error:
        sys.exit(str(error))
