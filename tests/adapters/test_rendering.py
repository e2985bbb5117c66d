"""What is rendered does not depend on who renders it."""

import json
from pathlib import Path
from typing import Any

import pytest

from blocks.settings import ClinicalAiSettings
from clinical_ai.adapters.prefect_yaml import render
from tests.support.platform import CHECKOUT


def test_a_release_renders_the_same_from_any_folder(
    rendered: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)  # and back again at the end: rendering goes to the checkout
    assert json.loads(json.dumps(render(CHECKOUT))) == rendered


def test_the_rendered_block_is_the_one_that_prefect_would_register(
    rendered: dict[str, Any],
) -> None:
    block = rendered["block"]
    assert block["checksum"] == ClinicalAiSettings._calculate_schema_checksum()
    assert block["checksum"] == ClinicalAiSettings._calculate_schema_checksum(block["fields"])
    assert block["type"]["slug"] == ClinicalAiSettings.get_block_type_slug()


def test_parameters_of_each_deployment_are_known_to_its_schema(rendered: dict[str, Any]) -> None:
    for deployment in [raw["body"] for raw in rendered["deployments"]]:
        known = deployment["parameter_openapi_schema"]["properties"].keys()
        given = {*deployment["parameters"]}
        given.update(*(schedule.get("parameters", {}) for schedule in deployment["schedules"]))
        assert given <= known, deployment["name"]
        assert all(schedule["slug"] for schedule in deployment["schedules"])
