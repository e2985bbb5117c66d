"""docs/settings.md, the block and the settings say the same."""

import re
import tomllib
from pathlib import Path

import pytest
from pydantic.fields import FieldInfo

from clinical_ai.settings import MODELS, Connection, known_keys, parse
from tests.repository.texts import GUIDES, fenced, first_cells, label, section, text

ROW = re.compile(r"^\| `([a-z-]+)` \| (both|development|production) \| (\S+) \| (.+?) \|", re.M)
# Words of code spans that look like a setting and are another thing.
OTHER = {"fhir-search", "fhir-bulk", "clinical-ai", "auth-string"}


def rows() -> dict[str, tuple[str, ...]]:
    """Environment, default and type by key."""
    return {row[1]: row.groups()[1:] for row in ROW.finditer(text("docs/settings.md"))}


def fields() -> list[tuple[str, FieldInfo]]:
    models = MODELS.items()
    return [(name, field) for name, model in models for field in model.model_fields.values()]


def test_every_setting_has_a_row_and_every_row_is_a_setting() -> None:
    assert rows().keys() == known_keys()


def test_rows_tell_where_a_setting_belongs_its_default_and_its_bounds() -> None:
    for environment, field in fields():
        belongs, default, kind = rows()[str(field.alias)]
        owners = {name for name, each in fields() if each.alias == field.alias}
        assert belongs == ("both" if len(owners) > 1 else environment), field.alias
        if field.alias != "storage-environment":
            assert default == (f"`{field.default}`" if field.default else "none"), field.alias
        bounds = {type(each).__name__: each for each in field.metadata}
        if "Ge" in bounds:
            assert kind == f"{bounds['Ge'].ge} to {bounds['Le'].le}", field.alias


def test_the_block_has_every_setting_and_no_other() -> None:
    from blocks.settings import ClinicalAiSettings

    assert {name.replace("_", "-") for name in ClinicalAiSettings.model_fields} == known_keys()


def test_every_key_of_a_connection_has_a_row() -> None:
    listed = first_cells(section(text("docs/settings.md"), "Connections"))
    assert listed == [field.alias for field in Connection.model_fields.values()]


@pytest.mark.parametrize("document", GUIDES, ids=label)
def test_guides_name_only_settings_that_exist(document: Path) -> None:
    spans = re.findall(r"`([a-z]+(?:-[a-z]+)+)`", document.read_text())
    assert set(spans) - OTHER <= known_keys()


@pytest.mark.parametrize("name", ["README.md", "docs/settings.md"])
def test_toml_of_the_documents_is_valid(name: str) -> None:
    [example] = fenced(text(name), "toml")
    assert parse(tomllib.loads(example)).connections["hospital"].addresses
