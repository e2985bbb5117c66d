"""An image is built once for its content, and a version never stands for another one."""

from dataclasses import replace
from pathlib import Path

import pytest

from clinical_ai.change import Change, Did
from clinical_ai.errors import NeedsOperator
from clinical_ai.steps.image import Source, ensure_image, look_for_image
from tests.support.fakes import MemoryImages

REPOSITORY = "registry.test/platform"
SOURCE = Source(Path("nowhere"), REPOSITORY, "0123456789ab", "1.0.0", labels={}, arguments={})
OTHER = replace(SOURCE, content="ba9876543210")
TAGS = {f"{REPOSITORY}:{tag}" for tag in ("0123456789ab", "v1.0.0", "latest")}


def ensure(images: MemoryImages, source: Source = SOURCE) -> tuple[str, Change]:
    """Looked for, then brought."""
    seen = look_for_image(images, source)
    return ensure_image(images, seen), seen.change


class Killed(BaseException):
    """What SIGKILL is to a process: nothing catches it."""


def die_before(images: MemoryImages, fatal: str) -> None:
    """Pushes die before this tag."""

    def push(tag: str) -> None:
        if tag == fatal:
            raise Killed

    images.on_push = push


def test_an_image_is_built_and_named_by_digest_with_its_tags() -> None:
    images = MemoryImages()
    image, change = ensure(images)
    assert images.registry.keys() == TAGS
    assert {f"{REPOSITORY}@{digest}" for digest in images.registry.values()} == {image}
    assert change.did is Did.CREATED


def test_the_same_content_is_built_once() -> None:
    images = MemoryImages()
    image, _ = ensure(images)
    images.here.clear()  # as on another machine
    again, change = ensure(images)
    assert (again, change.did, images.builds) == (image, Did.UNCHANGED, 1)


def test_another_content_of_a_version_is_refused_before_anything_is_built() -> None:
    images = MemoryImages()
    ensure(images)
    before = dict(images.registry)
    with pytest.raises(NeedsOperator, match=r"v1\.0\.0 is in the registry with another") as told:
        look_for_image(images, OTHER)
    assert "raise the version" in told.value.remedy
    assert (images.registry, images.builds) == (before, 1)


def test_a_new_version_takes_latest_and_leaves_the_tags_of_the_old() -> None:
    images = MemoryImages()
    old, _ = ensure(images)
    new, _ = ensure(images, replace(OTHER, version="1.1.0"))
    found = {tag.rpartition(":")[2]: f"{REPOSITORY}@{it}" for tag, it in images.registry.items()}
    assert found["latest"] == found["v1.1.0"] == found[OTHER.content] == new
    assert found["v1.0.0"] == found[SOURCE.content] == old


def test_looking_builds_and_tags_nothing() -> None:
    images = MemoryImages()
    seen = look_for_image(images, SOURCE)
    assert (seen.image, seen.change.did) == (None, Did.CREATED)
    assert (images.registry, images.builds) == ({}, 0)


def test_looking_tells_which_tags_are_missing() -> None:
    images = MemoryImages()
    image, _ = ensure(images)
    del images.registry[f"{REPOSITORY}:latest"]
    seen = look_for_image(images, SOURCE)
    assert (seen.image, seen.change.did, seen.missing) == (image, Did.UPDATED, ("latest",))
    assert f"{REPOSITORY}:latest" not in images.registry


@pytest.mark.parametrize("fatal", [SOURCE.content, "v1.0.0", "latest"])
def test_a_kill_between_two_tags_is_healed_by_the_next_run(fatal: str) -> None:
    images = MemoryImages()
    die_before(images, fatal)
    with pytest.raises(Killed):
        ensure(images)
    images.here.clear()
    images.on_push = lambda _: None
    image, _ = ensure(images)
    assert images.registry.keys() == TAGS
    assert {f"{REPOSITORY}@{digest}" for digest in images.registry.values()} == {image}
    assert ensure(images)[1].did is Did.UNCHANGED


def somebody_else(images: MemoryImages, source: Source = SOURCE) -> str:
    """Builds at another moment, and so another digest, and pushes to the same registry."""
    other = MemoryImages()
    other.registry, other.builds = images.registry, 7
    return ensure(other, source)[0]


def test_of_two_who_build_at_once_the_later_takes_what_the_earlier_pushed() -> None:
    images = MemoryImages()
    seen = look_for_image(images, SOURCE)
    theirs = somebody_else(images)
    assert ensure_image(images, seen) == theirs
    assert {f"{REPOSITORY}@{digest}" for digest in images.registry.values()} == {theirs}


def test_a_version_that_somebody_pushed_of_another_content_meanwhile_is_left_as_it_is() -> None:
    images = MemoryImages()
    seen = look_for_image(images, SOURCE)
    somebody_else(images, OTHER)
    before = dict(images.registry)
    with pytest.raises(NeedsOperator, match=r"v1\.0\.0 is in the registry with another content"):
        ensure_image(images, seen)
    assert images.registry == before


def test_pushes_that_crossed_and_left_two_digests_of_one_version_are_told() -> None:
    images = MemoryImages()
    theirs = {f"{REPOSITORY}:{SOURCE.content}": f"sha256:{'7' * 64}"}
    images.on_push = lambda tag: images.registry.update(theirs if tag == "latest" else {})
    with pytest.raises(NeedsOperator, match=r"v1\.0\.0 is in the registry with another content"):
        ensure(images)


def test_a_registry_that_keeps_nothing_is_told() -> None:
    images = MemoryImages()
    images.find_digest = lambda _: None  # type: ignore[method-assign]
    with pytest.raises(NeedsOperator, match="after it was pushed"):
        ensure(images)
