"""Documents name commands, options, targets, paths and headings that exist."""

import argparse
import re
from pathlib import Path
from typing import Any, Never

import pytest

from clinical_ai import __version__, names
from clinical_ai.cli import _parser
from clinical_ai.errors import NeedsOperator
from clinical_ai.ports_clinical import Kind
from clinical_ai.state_folder import StateFolder
from clinical_ai.steps.catalog import KINDS
from clinical_ai.steps.cluster.verify import verify_cluster
from clinical_ai.steps.row_options import MODELS
from clinical_ai.steps.tally import Aside
from clinical_ai.steps.verify import CHECKS
from tests.repository.texts import (
    DOCUMENTS,
    ROOT,
    code,
    code_spans,
    first_cells,
    label,
    section,
    text,
)

documents = pytest.mark.parametrize("document", DOCUMENTS, ids=label)


def commands() -> dict[str, set[str]]:
    """Options of each command."""
    [choices] = [a for a in _parser()._actions if isinstance(a, argparse._SubParsersAction)]
    return {
        name: {option for action in parser._actions for option in action.option_strings}
        for name, parser in choices.choices.items()
    }


@documents
def test_make_targets_exist(document: Path) -> None:
    targets = set(re.findall(r"^([a-z.]+):", text("Makefile"), re.M))
    assert set(re.findall(r"\bmake ([a-z.]+)(?=[ `\n])", code(document))) <= targets


@documents
def test_commands_and_their_options_exist(document: Path) -> None:
    for name, rest in re.findall(r"clinical-ai ([a-z]+(?:-[a-z]+)*)([^\n|#]*)", code(document)):
        assert name in commands()
        if " -- " not in rest:
            assert set(re.findall(r"--[a-z-]+", rest)) <= commands()[name], name


def test_every_command_is_told_with_its_exit_codes() -> None:
    listed = " ".join(first_cells(section(text("docs/operating.md"), "Commands")))
    assert all(f"clinical-ai {name}" in listed for name in commands())


@documents
def test_no_line_has_a_secret_among_its_arguments(document: Path) -> None:
    """Whoever lists processes reads them. The reason of break-glass is none."""
    told = code(document).replace("\\\n", " ")
    assert "--docker-password" not in told
    assert set(re.findall(r"--from-literal=(\w+)", told)) <= {"stop"}
    made = re.findall(r"kubectl create secret (?:generic|docker-registry|tls) [^\n|]*", told)
    assert all(re.search(r"--(from-file|key)=", line) for line in made)


@documents
def test_links_lead_somewhere(document: Path) -> None:
    for target, _, anchor in re.findall(r"\]\(([^)#]*)(#?)([^)]*)\)", document.read_text()):
        if "://" in target:
            continue
        found = document.parent / target if target else document
        assert found.exists(), target
        if anchor:
            titles = re.findall(r"^#+ (.+)$", found.read_text(), re.M)
            slugs = [re.sub(r"[^a-z0-9 -]", "", each.lower()).replace(" ", "-") for each in titles]
            assert anchor in slugs, anchor


@documents
def test_paths_of_the_repository_exist(document: Path) -> None:
    folders = {path.name for path in ROOT.iterdir() if path.is_dir()}
    for span in code_spans(document):
        path = span.partition(":")[0]
        inside = re.fullmatch(r"\w+/[\w./-]*", path)
        if (
            inside
            and not re.search("NAME|NNNN", path)
            and path.partition("/")[0] in folders - {"bootstrap"}
        ):
            assert (ROOT / path).exists(), path


def test_the_state_folder_is_told_whole() -> None:
    cells = " ".join(first_cells(section(text("docs/operating.md"), "The state folder")))
    state = StateFolder(Path("/s"))
    kept = {path.name for path in (*state.owned(), state.releases, state.postgres)}
    assert set(re.findall(r"(?<![\w/>])([a-z]+)/", cells)) == kept


def test_deployments_are_told() -> None:
    known = {
        *(names.DEPLOY_SELF, names.REGISTER, names.VERIFY, names.CANARY, names.PLATFORM_CANARY),
        names.PIPELINE,
    }
    assert set(first_cells(section(text("docs/operating.md"), "What the flows do"))) == known


def test_every_check_has_a_row() -> None:
    told = first_cells(section(text("docs/verify.md"), "On one machine"))
    assert told == [check for check, _ in CHECKS]


class NothingThere:
    """A platform of which nothing is found: each check fails under its name."""

    namespace = names.NAMESPACE
    repair = names.DEPLOY_SELF

    @property
    def cluster(self) -> "NothingThere":
        return self

    def __getattr__(self, name: str) -> Never:
        raise NeedsOperator(f"no {name}", "")


def test_every_check_of_a_cluster_has_a_row() -> None:
    nothing: Any = NothingThere()
    told = first_cells(section(text("docs/verify.md"), "In a cluster"))
    assert told == [result.check for result in verify_cluster(nothing)]


@pytest.mark.parametrize("kind", KINDS["source"])
def test_every_option_of_a_source_has_a_row(kind: str) -> None:
    part = text("docs/connector.md").partition(f"**`{kind}`**")[2].partition("\n**`")[0]
    part = re.split(r"^## ", part, maxsplit=1, flags=re.M)[0]
    assert set(first_cells(part)) == set(MODELS[kind].model_fields)


def test_every_type_and_every_reason_to_set_a_row_aside_is_told() -> None:
    told = text("docs/connector.md")
    assert all(f"`{kind}`" in told for kind in Kind)
    assert all(str(reason) in told for reason in Aside)


def test_decisions_are_numbered_and_titled() -> None:
    files = sorted((ROOT / "docs/decisions").glob("*.md"))
    assert [int(path.name[:4]) for path in files] == list(range(1, len(files) + 1))
    assert all(path.read_text().startswith("# ") for path in files)


def test_the_changelog_knows_this_version() -> None:
    assert re.search(rf"^## {re.escape(__version__)}\b", text("CHANGELOG.md"), re.M)
