"""Revisions of Prefect's PostgreSQL schema, read from the migrations of this release's Prefect."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from alembic.script import ScriptDirectory


def newest_revision() -> str:
    """What a database has that this release has migrated."""
    return str(_migrations().get_current_head())


def known_revisions() -> set[str]:
    """What this release can migrate from, and the newest one itself."""
    return {each.revision for each in _migrations().walk_revisions()}


def _migrations() -> "ScriptDirectory":
    import prefect
    from alembic.script import ScriptDirectory

    # Not by its package, which takes a second to import.
    folder = Path(prefect.__file__).parent / "server" / "database" / "_migrations"
    versions = [str(folder / "versions" / "postgresql")]
    return ScriptDirectory(str(folder), version_locations=versions)
