"""Who runs the platform: the caller, or an unprivileged user of its own when root installs."""

import os
import pwd
import shutil
import subprocess

from clinical_ai import names
from clinical_ai.errors import NeedsOperator


def find_service_user() -> tuple[int, int] | None:
    """Uid and gid for everything that runs, or None when the caller runs it as itself.

    Raises NeedsOperator when root has no such user yet and can't make one.
    """
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam(names.SERVICE_USER)
    except KeyError:
        return None
    return entry.pw_uid, entry.pw_gid


def ensure_service_user() -> tuple[int, int] | None:
    """The same, after making the system user when root installs for the first time."""
    if os.geteuid() != 0:
        return None
    found = find_service_user()
    if found:
        return found
    command = shutil.which("useradd", path="/usr/sbin:/sbin:/usr/bin")
    remedy = f"make a system user named {names.SERVICE_USER}, or run this as an ordinary user"
    if command is None:
        raise NeedsOperator("useradd is missing", remedy)
    made = subprocess.run(
        [
            *(command, "--system", "--user-group", "--no-create-home"),
            *("--home-dir", "/nonexistent", "--shell", "/usr/sbin/nologin", names.SERVICE_USER),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode:
        raise NeedsOperator(f"useradd failed: {made.stderr.strip()}", remedy)
    entry = pwd.getpwnam(names.SERVICE_USER)
    return entry.pw_uid, entry.pw_gid
