"""The release that bootstrap installs: of a named image, or of this checkout, built once."""

from pathlib import Path
from typing import Any

import pytest

from bootstrap.cluster.image import Found, ensure_release, look_for_release, render, source_of
from bootstrap.request import Request, parse_request
from bootstrap.terminal import Terminal
from clinical_ai import __version__
from clinical_ai.change import Did
from clinical_ai.errors import NeedsOperator
from clinical_ai.settings import parse
from tests.support.fake_docker import FakeDocker
from tests.support.kubernetes_examples import ALL, RELEASE

RENDERED = {"revision": RELEASE.revision}
REPOSITORY = "registry.example.org/clinical-ai-prefect"


def request(*words: str) -> Request:
    return parse_request(["--runtime", "kubernetes", *words], {"HOME": "/nonexistent"})


def look(*words: str) -> Found:
    return look_for_release(request(*words), parse(ALL["development"]), RENDERED)


def source(checkout: Path, **build: Any) -> Any:
    return source_of(checkout, parse({"kubernetes": {"registry": "r.test:5000/a", "build": build}}))


def test_a_named_image_is_taken_as_it_is_and_needs_no_docker(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nobody.sock")
    found = look("--image", RELEASE.image)
    release = ensure_release(found, RENDERED, Terminal())
    assert (release.image, release.revision) == (RELEASE.image, RELEASE.revision)
    assert (release.version, found.change.did) == (__version__, Did.UNCHANGED)
    assert "not looked for" in found.evidence


def test_a_named_image_that_is_in_its_registry_is_told_so(docker: FakeDocker) -> None:
    docker.registry[RELEASE.image] = RELEASE.image.partition("@")[2]
    assert look("--image", RELEASE.image).evidence == "image in the registry"


def test_a_named_image_that_its_registry_does_not_have_is_refused(docker: FakeDocker) -> None:
    with pytest.raises(NeedsOperator, match="the registry has no ") as refused:
        look("--image", RELEASE.image)
    assert "push it" in refused.value.remedy


@pytest.mark.parametrize("answer", [(403, "denied"), (500, "no route to host")])
def test_a_registry_that_answers_nobody_here_may_answer_the_nodes(
    docker: FakeDocker, answer: tuple[int, str]
) -> None:
    docker.failing["distribution"] = answer
    assert "not looked for" in look("--image", RELEASE.image).evidence


def test_two_named_images_are_two_releases(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nobody.sock")
    one = look("--image", RELEASE.image).release
    other = look("--image", RELEASE.image.replace("0123", "3210")).release
    assert one is not None
    assert other is not None
    assert one.content != other.content


@pytest.mark.parametrize("image", ["r.test/a:latest", "r.test/a", "r.test/a@sha256:12"])
def test_an_image_that_could_become_another_one_is_refused(image: str) -> None:
    with pytest.raises(NeedsOperator, match="named by digest") as refused:
        look("--image", image)
    assert "--image" in refused.value.remedy


def test_this_checkout_is_built_once_and_named_by_digest(docker: FakeDocker) -> None:
    found = look()
    release = ensure_release(found, RENDERED, Terminal())
    assert release.image == f"{REPOSITORY}@{docker.registry[f'{REPOSITORY}:{release.content}']}"
    assert found.change.did is Did.CREATED
    again = look()
    assert ensure_release(again, RENDERED, Terminal()) == again.release == release
    assert (again.change.did, len(docker.built)) == (Did.UNCHANGED, 1)


def test_looking_builds_nothing_and_knows_no_release_yet(docker: FakeDocker) -> None:
    found = look()
    assert found.release is None
    assert found.change.did is Did.CREATED
    assert docker.built == []


def test_what_was_looked_for_is_not_looked_for_again(
    docker: FakeDocker, monkeypatch: pytest.MonkeyPatch
) -> None:
    ensure_release(look(), RENDERED, Terminal())
    found = look()
    docker.looked_for.clear()
    monkeypatch.setattr("bootstrap.cluster.image.content_of", lambda *_: pytest.fail("hashed"))
    ensure_release(found, RENDERED, Terminal())
    assert docker.looked_for == []


@pytest.mark.parametrize(
    ("answer", "problem", "remedy"),
    [
        ((500, "no route to host"), "does not answer: .*no route", "run this again"),
        ((401, "unauthorized"), "the registry refuses", "docker login registry.example.org"),
    ],
)
def test_a_registry_that_does_not_let_us_in_stands_in_the_way(
    docker: FakeDocker, answer: tuple[int, str], problem: str, remedy: str
) -> None:
    docker.failing["distribution"] = answer
    with pytest.raises(NeedsOperator, match=problem) as refused:
        look()
    assert remedy in refused.value.remedy


def test_docker_is_needed_where_no_image_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nobody.sock")
    with pytest.raises(NeedsOperator, match="Docker does not answer") as refused:
        look()
    assert "--image" in refused.value.remedy


def test_the_image_tells_what_it_is_made_of(tmp_path: Path) -> None:
    made = source(tmp_path)
    assert made.labels["org.opencontainers.image.version"] == made.version == __version__
    assert made.labels["clinical-ai-prefect.content"] == made.content
    assert made.repository == "r.test:5000/a/clinical-ai-prefect"


def test_settings_choose_base_arguments_and_network_of_the_build(tmp_path: Path) -> None:
    chosen = source(
        tmp_path,
        **{
            "base-image": "mirror.test/python:3.13",
            "arguments": {"PIP_INDEX_URL": "https://mirror.test/simple"},
            "network": "host",
        },
    )
    assert chosen.arguments == {
        "PIP_INDEX_URL": "https://mirror.test/simple",
        "BASE": "mirror.test/python:3.13",
    }
    assert chosen.host_network
    assert not source(tmp_path).host_network


def test_another_base_or_argument_is_another_content_and_another_registry_is_not(
    tmp_path: Path,
) -> None:
    contents = {
        source(tmp_path).content,
        source(tmp_path, **{"base-image": "mirror.test/python:3.13"}).content,
        source(tmp_path, arguments={"PIP_INDEX_URL": "https://mirror.test/simple"}).content,
    }
    assert len(contents) == 3
    elsewhere = parse({"kubernetes": {"registry": "other.test"}})
    assert source_of(tmp_path, elsewhere).content == source(tmp_path).content


def test_flows_that_cannot_be_read_are_told_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "prefect.yaml").write_text("deployments: [")
    with pytest.raises(NeedsOperator, match=f"the flows of {tmp_path} can't be read: .+"):
        render(tmp_path)
