"""Files hold nothing of a machine; locks are whole; licences are told."""

import re
import tomllib
from importlib.metadata import Distribution, PackageNotFoundError, distribution

import pytest
from packaging.requirements import Requirement

from clinical_ai import __version__
from tests.repository.texts import ROOT, text, tracked

RUN, K8S, DEV = LOCKS = ("requirements.lock", "requirements-k8s.lock", "requirements-dev.lock")
PERMISSIVE = re.compile(r"Apache|BSD|MIT|ISC|PSF|Python Software|Zlib|Unlicense|CC0|0BSD", re.I)
SHARED = re.compile(r"GPL|MPL|Mozilla|EPL|CDDL|Artistic", re.I)


def test_no_file_names_a_registry_host_or_a_path_of_a_machine() -> None:
    hosts = ["files.python" + "hosted", "pypi" + ".org", "registry" + ".npmjs", "proxy." + "golang"]
    paths = ["/wor" + "k/", "/roo" + "t/", "/opt/" + "wheels"]
    for path in tracked():
        if path.suffix not in {".png", ".gz"}:
            content = path.read_text(errors="replace")
            assert not [word for word in [*hosts, *paths] if word in content], path
            if "tests" not in path.relative_to(ROOT).parts:  # they invent homes
                assert "/home/" not in content, path


def test_images_are_small() -> None:
    assert all(path.stat().st_size < 300_000 for path in (ROOT / "docs/images").iterdir())


def test_ci_is_strict_and_may_be_executed() -> None:
    script = ROOT / ".ci/run"
    assert script.stat().st_mode & 0o100
    assert "set -euo pipefail" in script.read_text()


def test_the_image_s_user_may_read_the_code_of_a_checkout_that_only_its_owner_may() -> None:
    """Docker keeps the modes of files, and a strict umask leaves others none."""
    steps = re.findall(r"^(?:COPY|RUN|USER) (?:.|\\\n)+", text("Dockerfile"), re.M)
    copied = steps.index("COPY . .")
    assert steps[copied + 1].startswith("RUN chmod -R a+rX /app ")
    assert steps[-1].startswith("USER ")


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_carries_hashes_and_no_address(lock: str) -> None:
    content = text(lock)
    assert "://" not in content
    assert "--index-url" not in content
    assert "--find-links" not in content
    assert all("--hash=sha256:" in block for block in blocks(lock))


def test_the_locks_are_one_resolution_each_within_the_next() -> None:
    run, k8s, dev = (pins(lock) for lock in LOCKS)
    assert run
    assert {name: k8s[name] for name in run} == run
    assert {name: dev[name] for name in k8s} == k8s


def test_a_local_platform_is_installed_without_what_kubernetes_needs() -> None:
    run, k8s = pins(RUN), pins(K8S)
    assert {"prefect-kubernetes", "kubernetes-asyncio", "hvac"} <= k8s.keys() - run.keys()


def test_the_locks_satisfy_the_project() -> None:
    project = tomllib.loads(text("pyproject.toml"))["project"]
    extra = [each for group in project["optional-dependencies"].values() for each in group]
    pinned = {name.partition(" ")[0]: version for name, version in pins(DEV).items()}
    for each in [*project["dependencies"], *extra]:
        wanted = Requirement(each)
        assert wanted.specifier.contains(pinned[wanted.name.lower()]), each
    assert project["version"] == __version__


def test_tests_use_marks_that_the_locked_tools_know() -> None:
    """A plugin that only one machine happens to have would hide an unknown mark there."""
    known = {"parametrize", "skip", "skipif", "xfail", "usefixtures", "filterwarnings", "timeout"}
    options = tomllib.loads(text("pyproject.toml"))["tool"]["pytest"]["ini_options"]
    known |= {each.partition(":")[0].partition("(")[0] for each in options.get("markers", [])}
    for path in (ROOT / "tests").rglob("*.py"):
        used = set(re.findall(r"pytest\.mark\.(\w+)", path.read_text()))
        assert used <= known, path


def test_every_licence_that_is_not_permissive_is_told() -> None:
    told = text("docs/security.md")
    for name in {name.partition(" ")[0] for name in pins(K8S)}:
        try:
            found = distribution(name)
        except PackageNotFoundError:
            continue  # for another system
        licence = licence_of(found)
        if SHARED.search(licence) or not PERMISSIVE.search(licence):
            assert name.removesuffix("-binary") in told, f"{name}: {licence}"


def licence_of(found: Distribution) -> str:
    """What the package's metadata say, the expression first."""
    told = found.metadata
    classifiers = [each for each in told.get_all("Classifier", []) if each.startswith("License")]
    expression = told.get("License-Expression")
    return expression or " ".join(classifiers) or (told.get("License") or "")[:200]


def blocks(lock: str) -> list[str]:
    """A package each, with its hashes."""
    return [each for each in re.split(r"\n(?=\S)", text(lock)) if "==" in each.partition("\n")[0]]


def pins(lock: str) -> dict[str, str]:
    """Versions by name and marker."""
    found = {}
    for block in blocks(lock):
        pin = re.match(r"([A-Za-z0-9._-]+)(?:\[.*?\])?==([^ ;\\]+)(.*)", block)
        assert pin, block
        marker = pin[3].rstrip("\\ ").strip(" ;")
        found[f"{pin[1]} {marker}".strip()] = pin[2]
    return found
