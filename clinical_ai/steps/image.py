"""The platform's image is in the registry, under the hash of its sources and its version."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from clinical_ai.change import Change, Did
from clinical_ai.errors import NeedsOperator
from clinical_ai.ports import Images

LATEST = "latest"


@dataclass(frozen=True)
class Source:
    """What an image is made of. `content`: hash of all of it, twelve hexadecimal digits."""

    folder: Path
    repository: str
    content: str
    version: str
    labels: Mapping[str, str]
    arguments: Mapping[str, str]
    host_network: bool = False


@dataclass(frozen=True)
class Seen:
    """What a registry has of a source. `digest` None: nothing; `missing`: tags that are not set."""

    source: Source
    digest: str | None
    missing: tuple[str, ...]

    @property
    def image(self) -> str | None:
        """By digest, when the registry has it."""
        return f"{self.source.repository}@{self.digest}" if self.digest else None

    @property
    def change(self) -> Change:
        """What `ensure_image` would do."""
        named = f"image {self.source.repository}:{self.source.content}"
        if self.digest is None:
            return Change(named, Did.CREATED, f"version {self.source.version}")
        did = Did.UPDATED if self.missing else Did.UNCHANGED
        return Change(named, did, ", ".join(self.missing))


def look_for_image(images: Images, source: Source) -> Seen:
    """What the registry has of it; NeedsOperator when its version stands for another content."""
    digest = images.find_digest(f"{source.repository}:{source.content}")
    tags = (f"v{source.version}", LATEST)
    found = {tag: images.find_digest(f"{source.repository}:{tag}") for tag in tags}
    _refuse_other(source, found[tags[0]], digest)
    return Seen(
        source, digest, tuple(tag for tag in tags if digest is None or found[tag] != digest)
    )


def ensure_image(images: Images, seen: Seen) -> str:
    """The image by digest; built only when the registry had none of this content.

    Interrupted between two tags, the next call sets the missing ones. No lease is held meanwhile:
    others who push may install into another cluster. So the registry is asked again after a build,
    which takes minutes, and after a push.
    """
    source, repository = seen.source, seen.source.repository
    if seen.digest is None:
        images.build(
            source.folder,
            repository,
            source.content,
            labels=source.labels,
            arguments=source.arguments,
            host_network=source.host_network,
        )
        seen = look_for_image(images, source)
    if seen.image is not None and not seen.missing:
        return seen.image
    if seen.digest is not None:
        images.fetch(repository, seen.digest, source.content)
    images.push(repository, source.content, seen.missing)
    pushed = look_for_image(images, source)
    if pushed.image is None:
        raise NeedsOperator(
            f"the registry has no {repository}:{source.content} after it was pushed",
            "look whether the registry removes images, or is another one for other callers",
        )
    return pushed.image


def _refuse_other(source: Source, there: str | None, digest: str | None) -> None:
    if there is not None and there != digest:
        raise NeedsOperator(
            f"{source.repository}:v{source.version} is in the registry with another content "
            f"({there[:19]})",
            "raise the version in pyproject.toml and clinical_ai/__init__.py, or use another "
            "registry: what runs under a version never changes",
        )
