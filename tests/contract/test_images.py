"""What every Images promises, the fake included."""

from pathlib import Path

import pytest

from clinical_ai.adapters.docker_images import DockerImages
from clinical_ai.errors import NeedsOperator
from clinical_ai.ports import Images
from tests.support.fakes import MemoryImages

REPOSITORY = "registry.test:5000/hospital/platform"
ABSENT = f"sha256:{'0' * 64}"


@pytest.fixture(params=["memory", "docker"])
def images(request: pytest.FixtureRequest) -> Images:
    if request.param == "memory":
        return MemoryImages()
    request.getfixturevalue("docker")
    return DockerImages()


def build(images: Images, folder: Path, tag: str = "one") -> None:
    (folder / "Dockerfile").write_text("FROM scratch\n")
    images.build(folder, REPOSITORY, tag, labels={}, arguments={}, host_network=False)


def test_what_a_registry_does_not_have_is_none(images: Images) -> None:
    assert images.find_digest(f"{REPOSITORY}:one") is None


def test_what_is_built_is_in_the_registry_once_it_is_pushed(images: Images, tmp_path: Path) -> None:
    build(images, tmp_path)
    assert images.find_digest(f"{REPOSITORY}:one") is None
    images.push(REPOSITORY, "one")
    assert str(images.find_digest(f"{REPOSITORY}:one")).startswith("sha256:")


def test_all_tags_of_a_push_stand_for_the_same_image(images: Images, tmp_path: Path) -> None:
    build(images, tmp_path)
    images.push(REPOSITORY, "one", ["v1", "latest"])
    assert len({images.find_digest(f"{REPOSITORY}:{tag}") for tag in ("one", "v1", "latest")}) == 1
    assert images.find_digest(f"{REPOSITORY}:v2") is None


def test_what_was_fetched_by_digest_is_pushed_under_other_tags(
    images: Images, tmp_path: Path
) -> None:
    build(images, tmp_path)
    images.push(REPOSITORY, "one")
    digest = images.find_digest(f"{REPOSITORY}:one")
    assert digest is not None
    build(images, tmp_path)  # what has the tag here is another one meanwhile
    images.fetch(REPOSITORY, digest, "one")
    images.push(REPOSITORY, "one", ["v1"])
    assert images.find_digest(f"{REPOSITORY}:v1") == digest


def test_what_is_not_there_is_neither_pushed_nor_fetched(images: Images) -> None:
    with pytest.raises(NeedsOperator, match=f"{REPOSITORY}:one"):
        images.push(REPOSITORY, "one", ["v1"])
    with pytest.raises(NeedsOperator, match=f"{REPOSITORY}@{ABSENT}"):
        images.fetch(REPOSITORY, ABSENT, "one")
    assert images.find_digest(f"{REPOSITORY}:v1") is None
