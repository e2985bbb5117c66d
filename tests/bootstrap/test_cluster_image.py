"""The release that bootstrap installs: of a named image, or of this checkout, built once."""

from pathlib import Path
from typing import Any

import pytest

from bootstrap.cluster.image import ensure_release, render, source_of
from bootstrap.request import Request, parse_request
from bootstrap.terminal import Terminal
from clinical_ai import __version__
from clinical_ai.change import Change, Did
from clinical_ai.errors import NeedsOperator
from clinical_ai.release import Release
from clinical_ai.settings import parse
from tests.support.fake_docker import FakeDocker
from tests.support.kubernetes_examples import ALL, RELEASE

RENDERED = {"revision": RELEASE.revision}
REPOSITORY = "registry.example.org/clinical-ai-prefect"


def request(*words: str) -> Request:
    return parse_request(["--runtime", "kubernetes", *words], {"HOME": "/nonexistent"})


def released(*words: str, write: bool = True) -> tuple[Release | None, Change]:
    settings = parse(ALL["development"])
    return ensure_release(request(*words), settings, RENDERED, Terminal(), write=write)


def source(checkout: Path, **build: Any) -> Any:
    return source_of(checkout, parse({"kubernetes": {"registry": "r.test:5000/a", "build": build}}))


def test_a_named_image_is_taken_as_it_is_and_needs_no_docker(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nobody.sock")
    release, change = released("--image", RELEASE.image)
    assert release is not None
    assert (release.image, release.revision) == (RELEASE.image, RELEASE.revision)
    assert (release.version, change.did) == (__version__, Did.UNCHANGED)


def test_two_named_images_are_two_releases() -> None:
    one, _ = released("--image", RELEASE.image)
    other, _ = released("--image", RELEASE.image.replace("0123", "3210"))
    assert one is not None
    assert other is not None
    assert one.content != other.content


@pytest.mark.parametrize("image", ["r.test/a:latest", "r.test/a", "r.test/a@sha256:12"])
def test_an_image_that_could_become_another_one_is_refused(image: str) -> None:
    with pytest.raises(NeedsOperator, match="named by digest") as refused:
        released("--image", image)
    assert "--image" in refused.value.remedy


def test_this_checkout_is_built_once_and_named_by_digest(docker: FakeDocker) -> None:
    release, change = released()
    assert release is not None
    assert release.image == f"{REPOSITORY}@{docker.registry[f'{REPOSITORY}:{release.content}']}"
    assert change.did is Did.CREATED
    again, unchanged = released()
    assert (again, unchanged.did, len(docker.built)) == (release, Did.UNCHANGED, 1)


def test_looking_builds_nothing_and_knows_no_release_yet(docker: FakeDocker) -> None:
    release, change = released(write=False)
    assert release is None
    assert change.did is Did.CREATED
    assert docker.built == []
    built, _ = released()
    assert released(write=False)[0] == built


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
