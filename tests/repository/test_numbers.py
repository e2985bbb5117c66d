"""Numbers, names and messages that documents tell are the code's own."""

import argparse
import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from bootstrap import checks, ground
from clinical_ai import names
from clinical_ai.adapters import fhir_search
from clinical_ai.cli import _parser
from clinical_ai.manifests import supervisor
from clinical_ai.manifests.processes import HEARTBEAT_SECONDS, SILENCE_SECONDS
from clinical_ai.steps import files_source
from clinical_ai.steps.cluster import verify
from clinical_ai.steps.row_options import DEFAULT_LIMIT, FhirSearchOptions
from tests.repository.texts import DOCUMENTS, ROOT, code, code_spans, first_cells, label, text
from tests.support.kubernetes_examples import ALL, rules_of, settings_of

documents = pytest.mark.parametrize("document", DOCUMENTS, ids=label)
REFERENCES = (
    *(names.DATABASE_URL, names.PREFECT_DATABASE_URL, names.MINIO_ACCESS_KEY),
    *(names.MINIO_SECRET_KEY, names.AWS_ACCESS_KEY_ID, names.AWS_SECRET_ACCESS_KEY),
    *(names.API_AUTH, names.ENCRYPTION_KEY, names.SUPERUSER_PASSWORD),
    "secret:connection-hospital/credentials",
)


def plain(name: str) -> str:
    """The document with single spaces."""
    return " ".join(text(name).split())


def sources() -> Iterator[Path]:
    for folder in ("bootstrap", "clinical_ai", "flows", "blocks"):
        yield from (ROOT / folder).glob("**/*.py")


def _commands() -> dict[str, argparse.ArgumentParser]:
    [found] = [a for a in _parser()._actions if isinstance(a, argparse._SubParsersAction)]
    return dict(found.choices)


def literals() -> str:
    """Every text of the code, what is filled in left out."""
    found = []
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
            if isinstance(node, ast.JoinedStr):
                parts = [each.value for each in node.values if isinstance(each, ast.Constant)]
                found.append(" ".join(map(str, parts)))
    return " ".join(" ".join(found).split())


@documents
def test_deployments_are_told_by_names_that_exist(document: Path) -> None:
    known = {
        *(names.DEPLOY_SELF, names.VERIFY, names.CANARY, names.PLATFORM_CANARY),
        names.PIPELINE,
    }
    flows = {name.partition("/")[0] for name in known}
    named = {span for span in code_spans(document) if span.partition("/")[0] in flows}
    assert {name for name in named if "/" in name} <= known


@documents
def test_secrets_are_told_by_names_that_exist(document: Path) -> None:
    named = re.findall(r"secret(?::|s/)([a-z][a-z-]+/[a-z][a-z-]+)", document.read_text())
    assert {f"secret:{name}" for name in named} <= set(REFERENCES)


@documents
def test_variables_of_the_project_exist(document: Path) -> None:
    named = re.findall(r"\bCLINICAL_AI_[A-Z]+", document.read_text())
    assert set(named) <= {names.STATE_VARIABLE, names.PORT_VARIABLE}


@documents
def test_variables_and_arguments_of_make_exist(document: Path) -> None:
    variables = set(re.findall(r"^([A-Z]+) \??=", text("Makefile"), re.M))
    up = {option for each in _commands()["up"]._actions for option in each.option_strings}
    told = code(document)
    for target, rest in re.findall(r"make ([a-z]+) ([^\n|#]*)", told):
        assert set(re.findall(r"\b([A-Z]+)=", rest)) <= variables, target
    for target, option in re.findall(r"(?:make ([a-z]+)[^\n|#]*?)?ARGS=(--[a-z-]+)", told):
        assert target in {"faults", "bench"} or option in up, option


def test_ports_are_the_codes_own() -> None:
    first = ground._FIRST_PORTS
    told = first_cells(text("docs/security.md"))
    assert str(names.API_PORT) in told
    assert str(first["database_port"]) in told
    health = first["worker_health_port"]
    assert f"{health}, {health + 1}" in told


def test_what_a_log_has_to_tell_is_the_codes_own() -> None:
    told = plain("docs/verify.md")
    assert f"in the last {verify._LATELY} seconds of each, {verify._TAIL} lines at most" in told


def test_rights_to_patch_are_those_that_roles_grant() -> None:
    told = re.search("create, patch, delete of (.*?) where settings", plain("docs/security.md"))
    granted = {
        resource
        for example in ALL
        for rule in rules_of(settings_of(example), names.PLATFORM_JOB)
        for resource in rule["resources"]
        if {"create", "patch", "delete"} <= {*rule["verbs"]}
    }
    assert told
    assert {*re.findall("`([a-z]+)`", told[1])} == granted


def test_silence_and_heartbeats_are_the_codes_own() -> None:
    told = plain("docs/decisions/0010-silent-runs-are-crashed.md")
    assert f"every {HEARTBEAT_SECONDS} seconds" in told
    assert f"after {SILENCE_SECONDS} seconds" in told
    assert f"after {SILENCE_SECONDS} seconds" in plain("docs/operating.md")
    assert f"No heartbeat for {SILENCE_SECONDS} s" in plain("docs/troubleshooting.md")


def test_bounds_of_disk_and_path_are_the_codes_own() -> None:
    told = plain("docs/troubleshooting.md")
    first, later = checks._FIRST_BYTES / 1e9, checks._LATER_BYTES // 1_000_000
    assert f"{first:g} GB for the first start, {later} MB later" in told
    assert f"more than {checks._SOCKET_BYTES} bytes" in told


def test_rotation_of_logs_is_the_codes_own() -> None:
    size, kept = re.findall(r"= (\w+)", supervisor._ROTATION)
    words = {"5": "five"}
    assert f"rotated at {size.replace('MB', ' MB')}, {words[kept]} kept" in plain(
        "docs/operating.md"
    )


def test_limits_of_sources_are_the_codes_own() -> None:
    told = plain("docs/connector.md")
    assert told.count(f"loaded, {DEFAULT_LIMIT >> 20} MiB") == 2
    assert files_source._CELLS == 4
    assert "a line of CSV may hold four times that" in told
    defaults = FhirSearchOptions.model_fields
    assert f"`_count`, {defaults['page_size'].default}" in told
    assert f"to light, {defaults['lag_seconds'].default}" in told
    assert ", ".join(map(str, sorted(fhir_search._TRY_AGAIN))) in told
    assert (fhir_search.Patience().tries, fhir_search.Patience().seconds) == (6, 300)
    assert "six tries a page, five minutes at most" in told


def test_the_time_that_down_waits_is_the_codes_own() -> None:
    drain = _commands()["down"].get_default("drain")
    assert f"waits for running work ({drain} s)" in plain("docs/operating.md")


def test_what_troubleshooting_quotes_is_what_the_code_says() -> None:
    said = literals()
    for message in first_cells(text("docs/troubleshooting.md")):
        if message != "what it says":
            assert any(each in said for each in pieces(message)), message


def pieces(message: str) -> list[str]:
    """Three words in a row, or what is between two gaps; numbers and a row's kind are gaps too."""
    message = re.sub(r"\b([0-9][0-9.]*|source)\b", "...", message)
    between = [each.strip(" ,:()") for each in re.split(r"\.\.\.|: ", message)]
    words = message.replace("...", " ... ").split()
    three = [" ".join(words[at : at + 3]) for at in range(len(words) - 2)]
    return [each for each in (*between, *three) if len(each.split()) > 1 and "..." not in each]


def test_decisions_are_short() -> None:
    files = (ROOT / "docs/decisions").glob("*.md")
    assert all(len(path.read_text().splitlines()) < 25 for path in files)
