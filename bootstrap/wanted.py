"""Which settings count: the file's on a first start, from then on the block's."""

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import SecretStr

from bootstrap.request import Request
from clinical_ai import names
from clinical_ai.adapters.bootstrap_references import resolve
from clinical_ai.adapters.file_secrets import FileSecrets
from clinical_ai.errors import ManyFaults, NeedsOperator
from clinical_ai.ports import SecretStore
from clinical_ai.secret_references import LONGEST, find_parts, told_apart
from clinical_ai.settings import Development, Production, differences, dump, parse

Find = Callable[[str], SecretStr | None]
# Where a value given by `env:` or `file:` is kept, for settings that have a place in the guide.
_PLACES = {
    ("minio-access-key",): names.MINIO_ACCESS_KEY,
    ("minio-secret-key",): names.MINIO_SECRET_KEY,
    ("aws-access-key-id",): names.AWS_ACCESS_KEY_ID,
    ("aws-secret-access-key",): names.AWS_SECRET_ACCESS_KEY,
    ("kubernetes", "database-url"): names.DATABASE_URL,
    ("kubernetes", "prefect-database-url"): names.PREFECT_DATABASE_URL,
}


def settle(
    request: Request, secrets: SecretStore | None = None
) -> tuple[Development | Production | None, dict[str, SecretStr]]:
    """The named settings and the secrets to keep for them; None when none were named.

    `secrets`: where they are kept, by default the state folder's.

    `env:` and `file:` references mean something to this process only: their values move to the
    state folder's secrets, and the settings name them there. One that was kept before need not be
    given again.
    """
    if request.raw is None:
        return None, {}
    settings, kept, missing = look(request, (secrets or FileSecrets(request.state.secrets)).find)
    if missing:
        raise ManyFaults(list(missing.values()))
    return settings, kept


def look(
    request: Request, find: Find
) -> tuple[Development | Production, dict[str, SecretStr], dict[str, NeedsOperator]]:
    """The same, with a fault for each reference whose value is neither given nor kept.

    `find`: the value that is kept for a reference, if one is.
    """
    kept: dict[str, SecretStr] = {}
    missing: dict[str, NeedsOperator] = {}
    settings = parse(request.raw or {}, origin=request.origin)
    moved = _move(dump(settings), (), request, find, kept, missing)
    return parse(moved, origin=request.origin), kept, missing


def _move(
    tree: Mapping[str, Any],
    path: tuple[str, ...],
    request: Request,
    find: Find,
    kept: dict[str, SecretStr],
    missing: dict[str, NeedsOperator],
) -> dict[str, Any]:
    moved: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            moved[key] = _move(value, (*path, key), request, find, kept, missing)
        elif isinstance(value, str) and value.startswith(("env:", "file:")):
            place = _PLACES.get((*path, key)) or _place_of_connection(path, key)
            if place is None:
                moved[key] = value
                continue
            try:
                kept[place] = resolve(value, request.environ)
            except NeedsOperator as fault:
                if find(place) is None:
                    field = ".".join((*path, key))
                    missing[place] = NeedsOperator(f"{field}: {fault.problem}", fault.remedy)
            moved[key] = place
        else:
            moved[key] = value
    return moved


def _place_of_connection(path: tuple[str, ...], key: str) -> str | None:
    if path[:1] != ("connections",) or len(path) != 2 or key != "credentials":
        return None
    place = f"secret:connection-{path[1]}/credentials"
    if find_parts(place):
        return place
    return f"secret:{told_apart(f'connection-{path[1]}', path[1], LONGEST)}/credentials"


def refuse_difference(
    request: Request, saved: Development | Production, named: Development | Production
) -> None:
    """NeedsOperator with each field, when the named settings are not the saved ones.

    Only the keys that were named count: options on the command line say nothing about the rest.
    """
    different = difference(request, saved, named)
    if not different or request.replace:
        return
    lines = "".join(f"\n  {key}: saved {old!r}, given {new!r}" for key, (old, new) in different)
    raise NeedsOperator(
        f"{request.origin} differs from the saved settings:{lines}",
        "leave it out to keep them, or run it again with --replace-settings",
    )


def difference(
    request: Request, saved: Development | Production, named: Development | Production
) -> list[tuple[str, tuple[Any, Any]]]:
    """Fields of the named settings that the saved ones have otherwise."""
    return list(differences(saved, overlay(request, saved, named)).items())


def overlay(
    request: Request, saved: Development | Production, named: Development | Production
) -> Development | Production:
    """The saved settings with what the command line named; a file stands for itself.

    A file that names no address keeps the saved one: it may serve platforms on several ports.
    """
    if request.origin != "command line":
        if "prefect-api-url" in (request.raw or {}):
            return named
        return named.model_copy(update={"prefect_api_url": saved.prefect_api_url})
    if named.storage_environment != saved.storage_environment and "storage-environment" in (
        request.raw or {}
    ):
        return named
    raw = {**dump(saved), **(request.raw or {})}
    return parse(raw, origin=request.origin)
