"""The settings block: saved once, read as it was saved, a wrong edit told by name."""

from collections.abc import Iterator
from typing import Any

import pytest

from clinical_ai import names
from clinical_ai.change import Did
from clinical_ai.errors import ManyFaults, NeedsOperator
from clinical_ai.ports import PrefectApi
from clinical_ai.settings import Connection, Development, Production
from clinical_ai.steps.settings_block import (
    ensure_block_schema,
    find_settings,
    get_settings,
    save_settings,
)

DOCUMENT = (
    f"/block_types/slug/{names.SETTINGS_BLOCK_TYPE}/block_documents/name/{names.SETTINGS_BLOCK}"
)
FULL = Development(
    prefect_api_url="http://127.0.0.1:4300/api",
    log_level="DEBUG",
    worker_concurrency=9,
    minio_endpoint="http://127.0.0.1:9000",
    auth="none",
    no_proxy="a,b",
    connections={"hospital": Connection(addresses=("https://fhir.example/r4",))},
    sources_columns={"name": "source_name"},
)


@pytest.fixture
def block(rendered: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = rendered["block"]
    return found


@pytest.fixture
def saved(api: PrefectApi, block: dict[str, Any]) -> Iterator[str]:
    """The schema is registered; the checksum of it. The real server keeps the document."""
    ensure_block_schema(api, block)
    yield str(block["checksum"])
    row = api.get(DOCUMENT)
    if row:
        api.delete(f"/block_documents/{row['id']}")


def edit(api: PrefectApi, **data: Any) -> None:
    """As the form of the UI does: the whole document."""
    row = api.get(DOCUMENT)
    body = {"data": {**row["data"], **data}, "merge_existing_data": False}
    api.patch(f"/block_documents/{row['id']}", body)


def test_the_schema_is_registered_once_under_the_blocks_own_checksum(
    api: PrefectApi, block: dict[str, Any]
) -> None:
    ensure_block_schema(api, block)
    found = api.get(f"/block_schemas/checksum/{block['checksum']}")
    assert found is not None, "Prefect computes another checksum than the release"
    assert ensure_block_schema(api, block).did is Did.UNCHANGED
    assert api.get(f"/block_schemas/checksum/{block['checksum']}")["updated"] == found["updated"]


def test_a_newer_schema_is_registered_beside_the_old_one(
    api: PrefectApi, block: dict[str, Any]
) -> None:
    ensure_block_schema(api, block)
    fields = {**block["fields"], "title": "Newer"}
    newer = {**block, "fields": fields, "checksum": "sha256:unknown"}
    kind = api.get(f"/block_types/slug/{names.SETTINGS_BLOCK_TYPE}")
    assert ensure_block_schema(api, newer).did is Did.CREATED
    assert api.get(f"/block_types/slug/{names.SETTINGS_BLOCK_TYPE}")["id"] == kind["id"]
    assert api.get(f"/block_schemas/checksum/{block['checksum']}") is not None


def test_before_anything_was_saved_there_are_none(api: PrefectApi) -> None:
    assert find_settings(api) is None
    with pytest.raises(NeedsOperator, match=r"does not exist.*`make up`"):
        get_settings(api)


@pytest.mark.parametrize("settings", [Development(), FULL, Production(aws_region="eu-central-1")])
def test_settings_come_back_as_they_were_saved(
    api: PrefectApi, saved: str, settings: Development | Production
) -> None:
    assert save_settings(api, settings, saved).did is Did.CREATED
    assert find_settings(api) == get_settings(api) == settings
    before = api.get(DOCUMENT)["updated"]
    assert save_settings(api, settings, saved).did is Did.UNCHANGED
    assert api.get(DOCUMENT)["updated"] == before


def test_a_change_of_the_environment_leaves_nothing_of_the_other(
    api: PrefectApi, saved: str
) -> None:
    other = Production(worker_concurrency=2)
    save_settings(api, FULL, saved)
    assert save_settings(api, other, saved).did is Did.UPDATED
    assert get_settings(api) == other
    assert save_settings(api, FULL, saved).did is Did.UPDATED
    assert get_settings(api) == FULL


def test_a_field_emptied_in_the_ui_stands_for_its_default(api: PrefectApi, saved: str) -> None:
    save_settings(api, FULL, saved)
    edit(api, log_level=None, minio_endpoint="", connections={}, sources_columns=None, no_proxy="")
    found = get_settings(api)
    assert (found.log_level, found.connections, found.sources_columns) == ("INFO", {}, {})
    assert isinstance(found, Development)
    assert found.minio_endpoint is None
    assert found.worker_concurrency == 9


def test_a_wrong_edit_is_told_in_full_with_the_blocks_name(api: PrefectApi, saved: str) -> None:
    save_settings(api, FULL, saved)
    edit(api, log_level="LOUD", worker_concurrency=0, minio_access_key="the-secret-itself")
    with pytest.raises(ManyFaults) as refused:
        find_settings(api)
    told = str(refused.value)
    where = f"block {names.SETTINGS_BLOCK_TYPE}/{names.SETTINGS_BLOCK}"
    assert told.count(where) == len(refused.value.faults) == 3
    for field in ("log-level", "worker-concurrency", "minio-access-key"):
        assert field in told
    assert "the-secret-itself" not in told
    assert save_settings(api, FULL, saved).did is Did.UPDATED, "what is wrong can be replaced"
    assert find_settings(api) == FULL
