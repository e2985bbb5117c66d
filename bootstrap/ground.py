"""Folders, ports, release and database files: what must be on the disk before anything runs."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from zlib import crc32

from clinical_ai import names
from clinical_ai.adapters.file_secrets import FileSecrets
from clinical_ai.adapters.files import unwritable
from clinical_ai.adapters.listeners import is_free, listens, port_of
from clinical_ai.adapters.local_postgres import (
    ensure_cluster,
    ensure_configuration,
    ensure_programs,
)
from clinical_ai.adapters.local_release import ensure_release, find_python
from clinical_ai.change import Change, Did
from clinical_ai.instance import Instance, find_instance
from clinical_ai.settings import Development, Production
from clinical_ai.state_folder import StateFolder
from clinical_ai.steps.local_secrets import ensure_secrets

_FIRST_PORTS: Final = {"database_port": 15432, "worker_health_port": 18080}
_PLATFORMS_APART: Final = 1000  # platforms that are installed at once hardly try the same ports


@dataclass(frozen=True)
class Ground:
    """Where the platform stands, and who runs it (None: the caller)."""

    state: StateFolder
    checkout: Path
    user: tuple[int, int] | None


def ensure_folders(ground: Ground) -> list[Change]:
    """The state folder with its parts; what runs may write only to its own."""
    state = ground.state
    shared = 0o755 if ground.user else 0o700
    changes = [_ensure_folder(path, shared, None) for path in (state.root,)]
    changes += [_ensure_folder(path, 0o755, None) for path in (state.releases, state.postgres)]
    return changes + [_ensure_folder(path, 0o700, ground.user) for path in state.owned()]


def _ensure_folder(path: Path, mode: int, owner: tuple[int, int] | None) -> Change:
    try:
        existed = path.is_dir()
        if not existed:
            path.mkdir(mode=mode, parents=True)
            path.chmod(mode)
        if owner and (path.stat().st_uid, path.stat().st_gid) != owner:
            os.chown(path, *owner)
    except OSError as error:
        raise unwritable(path, error) from error
    return Change(str(path), Did.UNCHANGED if existed else Did.CREATED)


def lay(ground: Ground) -> tuple[str, list[Change]]:
    """The release of this checkout and PostgreSQL's programs are there; the release's name."""
    release, made = ensure_release(
        ground.state, ground.checkout, find_python(ground.user), ground.user
    )
    return release, [made, ensure_programs(ground.state)]


def choose_instance(
    ground: Ground, settings: Development | Production, release: str, *, stopped: bool
) -> Instance:
    """Ports and release of this platform; a port that somebody took meanwhile is replaced."""
    return Instance(
        api_url=settings.prefect_api_url,
        auth=settings.auth == "basic",
        release=release,
        **_ports(ground.state, port_of(settings.prefect_api_url), stopped=stopped),
    )


def lost_a_port(instance: Instance, root: Path) -> bool:
    """Whether somebody else listens where a part of this platform should.

    So it is when two platforms are installed at the same moment, and both find a port free.
    """
    return any(not is_free(port) and not listens(root, port) for port in instance.inner_ports)


def _ports(state: StateFolder, api: int, *, stopped: bool) -> dict[str, int]:
    found = find_instance(state)
    apart = crc32(str(state.root).encode()) % _PLATFORMS_APART
    wanted = {
        "database_port": found.database_port if found else None,
        "worker_health_port": found.worker_health_port if found else None,
        "platform_worker_health_port": found.platform_worker_health_port if found else None,
    }
    chosen: dict[str, int] = {}
    for name, port in wanted.items():
        if port is None or (stopped and not is_free(port)):
            first = _FIRST_PORTS.get(name, _FIRST_PORTS["worker_health_port"]) + apart
            port = next(
                number
                for number in range(first, first + 10_000)
                if number not in {api, *chosen.values(), *wanted.values()} and is_free(number)
            )
        chosen[name] = port
    return chosen


def ensure_database_files(ground: Ground, instance: Instance) -> list[Change]:
    """Secrets, data folder and configuration of the embedded PostgreSQL."""
    secrets = FileSecrets(ground.state.secrets)
    changes = ensure_secrets(secrets, instance.database_port)
    password = secrets.get(names.SUPERUSER_PASSWORD)
    changes.append(ensure_cluster(ground.state, password, ground.user))
    return changes + ensure_configuration(ground.state, instance.database_port, ground.user)
