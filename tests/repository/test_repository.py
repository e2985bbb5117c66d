"""What the repository says of itself is true."""

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from clinical_ai import names
from clinical_ai.settings import MODELS, Connection, known_keys
from clinical_ai.steps.verify import CHECKS

ROOT = Path(__file__).resolve().parent.parent.parent
DOCUMENTS = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]


def deployments() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    return found


def tracked() -> Iterator[Path]:
    listed = subprocess.run(
        ["/usr/bin/env", "git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return (ROOT / name for name in listed.stdout.splitlines() if (ROOT / name).is_file())


@pytest.mark.parametrize("deployment", deployments(), ids=lambda each: each["entrypoint"])
def test_a_deployment_points_at_a_flow_that_exists(deployment: dict[str, Any]) -> None:
    path, _, function = deployment["entrypoint"].partition(":")
    tree = ast.parse((ROOT / path).read_text())
    assert function in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("deployment", deployments(), ids=lambda each: each["entrypoint"])
def test_a_deployment_is_marked_ours_described_and_has_slugs(deployment: dict[str, Any]) -> None:
    assert names.OWNER_TAG in deployment["tags"]
    assert deployment["description"]
    assert deployment["work_pool"]["name"] in {names.POOL, names.PLATFORM_POOL}
    assert all(schedule["slug"] for schedule in deployment.get("schedules", []))


def test_every_setting_has_a_row_in_the_documents_and_every_row_is_a_setting() -> None:
    text = (ROOT / "docs/settings.md").read_text()
    rows = set(re.findall(r"^\| `([a-z-]+)` \| (?:both|development|production)", text, re.M))
    assert rows == known_keys()


def test_defaults_in_the_documents_are_the_settings_own() -> None:
    text = (ROOT / "docs/settings.md").read_text()
    for model in MODELS.values():
        for field in model.model_fields.values():
            if field.default not in (None, {}) and field.alias != "storage-environment":
                assert re.search(
                    rf"\| `{field.alias}` \| \w+ \| `{re.escape(str(field.default))}`", text
                )


def test_the_block_has_every_setting_and_no_other() -> None:
    from blocks.settings import ClinicalAiSettings

    ours = {name.replace("_", "-") for name in ClinicalAiSettings.model_fields}
    assert ours == known_keys()


def test_every_check_has_a_row_in_the_documents() -> None:
    rows = re.findall(r"^\| ([^|]+) \|", (ROOT / "docs/verify.md").read_text(), re.M)
    assert [row for row in rows if row not in {"check", "---"}] == [check for check, _ in CHECKS]


def test_documents_name_only_make_targets_that_exist() -> None:
    targets = set(re.findall(r"^([a-z.]+):", (ROOT / "Makefile").read_text(), re.M))
    for document in DOCUMENTS:
        named = set(re.findall(r"`make ([a-z.]+)", document.read_text()))
        assert named <= targets, document


def test_documents_name_only_commands_that_exist() -> None:
    source = (ROOT / "clinical_ai/cli.py").read_text()
    commands = set(re.findall(r'(?:command|add_parser)\(\s*"([a-z]+)"', source))
    for document in DOCUMENTS:
        named = set(re.findall(r"clinical-ai ([a-z]+)", document.read_text()))
        assert named <= commands, document


def test_documents_name_only_deployments_that_exist() -> None:
    known = {names.DEPLOY_SELF, names.VERIFY, names.CANARY, names.PIPELINE}
    text = (ROOT / "docs/operating.md").read_text()
    assert set(re.findall(r"^\| `([a-z-]+/[a-z_]+)` \|", text, re.M)) == known


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", document.read_text()):
        if "://" not in target:
            assert (document.parent / target).exists(), target


def test_the_toml_example_of_the_documents_is_valid() -> None:
    import tomllib

    from clinical_ai.settings import parse

    example = re.search(r"```toml\n(.*?)```", (ROOT / "docs/settings.md").read_text(), re.S)
    assert example
    assert parse(tomllib.loads(example[1])).connections.keys() == {"hospital", "warehouse"}
    assert {"addresses", "credentials", "ca-bundle"} == {
        field.alias for field in Connection.model_fields.values()
    }


def test_no_file_names_a_registry_host_or_a_path_of_a_machine() -> None:
    hosts = ["files.python" + "hosted", "pypi" + ".org", "registry" + ".npmjs", "proxy." + "golang"]
    paths = ["/wor" + "k/", "/roo" + "t/", "/opt/" + "wheels"]
    for path in tracked():
        if path.suffix in {".png", ".gz"}:
            continue
        text = path.read_text(errors="replace")
        assert not [word for word in [*hosts, *paths] if word in text], path


def test_locks_carry_hashes_and_are_one_resolution() -> None:
    pins = [_pins(ROOT / name) for name in ("requirements.lock", "requirements-dev.lock")]
    assert pins[0]
    assert {name: pins[1][name] for name in pins[0]} == pins[0]


def _pins(lock: Path) -> dict[str, str]:
    text = lock.read_text()
    assert "--index-url" not in text
    assert "--find-links" not in text
    found = {}
    for block in re.split(r"\n(?=\S)", text):
        pin = re.match(r"([A-Za-z0-9._-]+)(?:\[.*?\])?==([^ ;\\]+)(.*)", block)
        if pin:
            assert "--hash=sha256:" in block, pin[1]
            marker = pin[3].rstrip("\\ ").strip()
            found[f"{pin[1]} {marker}"] = pin[2]
    return found
