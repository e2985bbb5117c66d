"""The name of an image or a release changes with each file of it, and with nothing else."""

from pathlib import Path

import pytest
from docker.utils.build import exclude_paths

from clinical_ai.adapters.source_files import content_of, files_of
from clinical_ai.manifests.release import IMAGE, LOCAL
from tests.repository.texts import ROOT

FILES = {
    "clinical_ai/__init__.py": "",
    "clinical_ai/adapters/a.json": "{}",
    "clinical_ai/notes.txt": "",
    "flows/deploy.py": "1",
    "flows/queries/patients.sql": "select 1",
    "blocks/settings.py": "2",
    "bootstrap/cluster/image.py": "3",
    "prefect.yaml": "4",
    "pyproject.toml": "5",
    "requirements-k8s.lock": "6",
    "Dockerfile": "FROM a",
    ".dockerignore": "*",
}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        write(tmp_path, name, text)
    return tmp_path


def write(checkout: Path, name: str, text: str = "other") -> None:
    path = checkout / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize("name", FILES)
def test_a_change_of_any_file_is_another_content(checkout: Path, name: str) -> None:
    before = content_of(checkout, IMAGE, "{}")
    write(checkout, name)
    assert content_of(checkout, IMAGE, "{}") != before


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_goes_or_comes_is_another_content(checkout: Path, name: str) -> None:
    whole = content_of(checkout, IMAGE, "{}")
    (checkout / name).rename(checkout / "elsewhere")
    assert content_of(checkout, IMAGE, "{}") != whole
    (checkout / "elsewhere").rename(checkout / name)
    assert content_of(checkout, IMAGE, "{}") == whole


def test_other_arguments_of_the_build_are_another_content(checkout: Path) -> None:
    assert content_of(checkout, IMAGE, '{"BASE": "a"}') != content_of(
        checkout, IMAGE, '{"BASE": "b"}'
    )


@pytest.mark.parametrize(
    "name",
    [
        "clinical_ai/__pycache__/a.cpython-313.pyc",
        "clinical_ai/__pycache__/left.py",
        "flows/old.pyc",
        "flows/.a.py.swp",
        "flows/.cache/b.py",
        "tests/test_a.py",
        "docs/a.md",
        "requirements.lock",
        "requirements-dev.lock",
        ".git/HEAD",
    ],
)
def test_what_is_not_in_the_image_changes_nothing(checkout: Path, name: str) -> None:
    before = content_of(checkout, IMAGE, "{}")
    write(checkout, name)
    assert content_of(checkout, IMAGE, "{}") == before


def test_what_docker_is_given_is_what_names_the_image(checkout: Path) -> None:
    ignored = (ROOT / ".dockerignore").read_text()
    write(checkout, ".dockerignore", ignored)
    left = ("flows/.a.py.swp", "flows/.cache/b.py", "flows/__pycache__/a.pyc", "blocks/old.pyc")
    for name in (*left, "docs/a.md", "a.py"):
        write(checkout, name)
    patterns = [line for line in ignored.splitlines() if line[:1] not in {"", "#"}]
    given = exclude_paths(str(checkout), patterns, dockerfile="Dockerfile")
    assert {checkout / name for name in given if (checkout / name).is_file()} == files_of(
        checkout, IMAGE
    )


def test_one_machine_is_given_the_same_code_as_an_image(checkout: Path) -> None:
    """With what lies beside a flow; packages and the build are each their own."""
    write(checkout, "requirements.lock")
    one, other = files_of(checkout, LOCAL), files_of(checkout, IMAGE)
    assert checkout / "flows/queries/patients.sql" in one
    build = {"requirements.lock", "requirements-k8s.lock", "Dockerfile", ".dockerignore"}
    assert {path.name for path in one ^ other} == build


def test_where_the_checkout_is_and_how_its_files_were_made_changes_nothing(
    checkout: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    for name in reversed(FILES):
        write(other, name, FILES[name])
        (other / name).chmod(0o600)
    assert content_of(other, IMAGE, "{}") == content_of(checkout, IMAGE, "{}")
