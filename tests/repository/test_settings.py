"""docs/settings.md, the block and the settings say the same."""

import re
import tomllib
from pathlib import Path

import pytest
from pydantic.fields import FieldInfo

from clinical_ai import names
from clinical_ai.frozen import Frozen, Models, keys, shape_of
from clinical_ai.settings import MODELS, Connection, known_keys, parse
from clinical_ai.settings_kubernetes import (
    Build,
    Components,
    Gateway,
    Ingress,
    Kubernetes,
    ProductionKubernetes,
)
from clinical_ai.settings_network import Client, Egress, Target
from clinical_ai.settings_pods import Component
from clinical_ai.settings_vault import ExternalSecrets, VaultAgent
from tests.repository.texts import GUIDES, fenced, first_cells, label, section, text

ROW = re.compile(r"^\| `([a-z-]+)` \| (both|development|production) \| (\S+) \| (.+?) \|", re.M)
# Words of code spans that look like a setting and are another thing.
OTHER = {
    *("fhir-search", "fhir-bulk", "clinical-ai", "auth-string"),
    *("external-secrets", "vault-agent", "kube-system", "kube-dns"),
    *(names.AWS_CREDENTIALS, names.KEPT_BY_DEPLOY, "deploy-self-changes", "break-glass"),
}


def rows() -> dict[str, tuple[str, ...]]:
    """Environment, default and type by key."""
    return {row[1]: row.groups()[1:] for row in ROW.finditer(section_of("Settings"))}


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
            plain = getattr(MODELS[environment](), str(field.alias).replace("-", "_"))
            assert default == (f"`{plain}`" if plain else "none"), field.alias
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
    named = {span for span in spans if not span.startswith(names.PRODUCT)}
    assert named - OTHER <= all_keys(tuple(MODELS.values()))


def all_keys(models: Models) -> set[str]:
    """Keys of these tables and of all tables in them."""
    inner = [shape_of(models, key).models for key in keys(models)]
    return keys(models).union(*(all_keys(each) for each in inner if each))


def test_every_key_of_kubernetes_has_a_row_with_its_default() -> None:
    told = dict(re.findall(r"^\| `([a-z-]+)` \| ([^|]+) \|", section_of("Kubernetes"), re.M))
    assert told.keys() == keys([ProductionKubernetes])
    for name, field in ProductionKubernetes.model_fields.items():
        if isinstance(field.default, str | int):
            assert told[str(field.alias)] == f"`{field.default}`", name


@pytest.mark.parametrize(
    ("title", "models"),
    [
        ("Build", [Build]),
        ("Exposure", [Ingress, Gateway]),
        ("AWS credentials", [ExternalSecrets, VaultAgent]),
        ("Network", [Client, Target, Egress]),
        ("Components", [Component]),
    ],
)
def test_every_key_of_an_inner_table_has_a_row(title: str, models: list[type[Frozen]]) -> None:
    rows = [row for row in first_cells(section_of(title)) if row not in {"key", "purpose"}]
    assert set(rows) == keys(models)


@pytest.mark.parametrize("model", [Ingress, Gateway, ExternalSecrets, VaultAgent, Build])
def test_defaults_of_an_inner_table_are_told(model: type[Frozen]) -> None:
    for field in model.model_fields.values():
        if isinstance(field.default, str) and field.alias != "kind":
            assert f"`{field.default}` |" in text("docs/settings.md"), field.alias


def test_every_component_is_told() -> None:
    told = section_of("Components")
    assert all(f"`{key}`" in told for key in keys([Components]))


def section_of(title: str) -> str:
    return section(text("docs/settings.md"), title)


def test_production_alone_has_credentials_of_aws() -> None:
    assert keys([ProductionKubernetes]) - keys([Kubernetes]) == {"aws-credentials"}


@pytest.mark.parametrize("document", GUIDES, ids=label)
def test_toml_of_the_documents_is_valid(document: Path) -> None:
    for example in fenced(document.read_text(), "toml"):
        settings = parse(tomllib.loads(example))
        assert settings.connections or settings.kubernetes
