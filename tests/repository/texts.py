"""What the tests of this folder read: documents, deployments and files of the repository."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent.parent
GUIDES = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))]
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("docs/**/*.md"))]


def label(value: object) -> str:
    """A test's name for a document or a deployment."""
    if isinstance(value, Path):
        return str(value.relative_to(ROOT))
    return value["entrypoint"] if isinstance(value, dict) else str(value)


def text(name: str) -> str:
    return (ROOT / name).read_text()


def prefect_yaml() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(text("prefect.yaml"))
    return found


def deployments() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = prefect_yaml()["deployments"]
    return found


def tracked() -> Iterator[Path]:
    """Files of the repository, those to be added too."""
    listed = subprocess.run(
        ["/usr/bin/env", "git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return (ROOT / name for name in listed.stdout.splitlines() if (ROOT / name).is_file())


def code_spans(document: Path) -> list[str]:
    """What stands between backticks on one line."""
    return re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", document.read_text(), flags=re.S))


def code(document: Path) -> str:
    """Code spans and fenced blocks, a line each."""
    return "\n".join([*code_spans(document), *fenced(document.read_text())])


def fenced(content: str, language: str = "") -> list[str]:
    """Fenced blocks of the language, or all."""
    return re.findall(rf"```{language or '[a-z]*'}\n(.*?)```", content, re.S)


def section(content: str, title: str) -> str:
    """From the heading with that title to the next of any level."""
    return re.split(r"^#+ ", content.partition(f"# {title}\n")[2], maxsplit=1, flags=re.M)[0]


def first_cells(content: str) -> list[str]:
    """First cells of all tables, without backticks, headings and rules."""
    rows = re.findall(r"^\| ([^|]*) \|.*\n(?!\| ---)", content + "\n", re.M)
    return [row.strip("`") for row in rows if not set(row) <= {"-"}]
