"""The settings block: registered, saved once, from then on the truth."""

from collections.abc import Mapping
from typing import Any, Final

from clinical_ai import names
from clinical_ai.change import Change, Did
from clinical_ai.errors import ManyFaults, NeedsOperator
from clinical_ai.ports import PrefectApi
from clinical_ai.settings import Development, Production, dump, parse

ORIGIN: Final = f"block {names.SETTINGS_BLOCK_TYPE}/{names.SETTINGS_BLOCK}"


def find_settings(api: PrefectApi) -> Development | Production | None:
    """What the block says, or None when it was never saved; ManyFaults when it is wrong."""
    row = _find_document(api)
    return None if row is None else _parsed(row)


def get_settings(api: PrefectApi) -> Development | Production:
    """What the block says; NeedsOperator when there is none."""
    found = find_settings(api)
    if found is None:
        raise NeedsOperator(
            f"{ORIGIN} does not exist", "run `make up`, in a cluster bootstrap, which saves it"
        )
    return found


def ensure_block_schema(api: PrefectApi, block: Mapping[str, Any], *, write: bool = True) -> Change:
    """Block type and its newest schema are registered; `block` as the release renders it."""
    what = f"block type {names.SETTINGS_BLOCK_TYPE}"
    known = api.get(f"/block_types/slug/{names.SETTINGS_BLOCK_TYPE}")
    if known and api.get(f"/block_schemas/checksum/{block['checksum']}"):
        return Change(what, Did.UNCHANGED)
    if not write:
        return Change(what, Did.CREATED)
    if known is None:
        known = api.post("/block_types/", block["type"])
    api.post(
        "/block_schemas/",
        {
            "fields": block["fields"],
            "capabilities": block["capabilities"],
            "version": block["version"],
            "block_type_id": known["id"],
        },
    )
    return Change(what, Did.CREATED)


def save_settings(
    api: PrefectApi, settings: Development | Production, checksum: str, *, write: bool = True
) -> Change:
    """The block says exactly this. `checksum`: of the block schema the release uses."""
    row = _find_document(api)
    if row is not None and _holds(row, settings):
        return Change(ORIGIN, Did.UNCHANGED)
    if write:
        _save(api, row, settings, api.get(f"/block_schemas/checksum/{checksum}"))
    return Change(ORIGIN, Did.UPDATED if row else Did.CREATED)


def _save(
    api: PrefectApi,
    row: Mapping[str, Any] | None,
    settings: Development | Production,
    schema: Mapping[str, Any],
) -> None:
    data = {key.replace("-", "_"): value for key, value in dump(settings).items()}
    body = {"block_schema_id": schema["id"], "data": data}
    if row is not None:
        # Not merged: a merge keeps keys of the other environment, which would contradict this one.
        api.patch(f"/block_documents/{row['id']}", {**body, "merge_existing_data": False})
        return
    named = {"name": names.SETTINGS_BLOCK, "block_type_id": schema["block_type_id"]}
    api.post("/block_documents/", {**named, **body})


def _parsed(row: Mapping[str, Any]) -> Development | Production:
    given = {key: value for key, value in row["data"].items() if value not in (None, {}, "")}
    return parse(given, origin=ORIGIN)


def _holds(row: Mapping[str, Any], settings: Development | Production) -> bool:
    try:
        return _parsed(row) == settings
    except ManyFaults:
        return False  # what is wrong is replaced


def _find_document(api: PrefectApi) -> dict[str, Any] | None:
    found: dict[str, Any] | None = api.get(
        f"/block_types/slug/{names.SETTINGS_BLOCK_TYPE}/block_documents/name/{names.SETTINGS_BLOCK}"
    )
    return found
