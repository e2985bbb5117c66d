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


def ensure_image(images: Images, source: Source, *, write: bool = True) -> tuple[str, Change]:
    """The image by digest; built only when the registry has none of this content.

    A version that stands for another content is refused before anything is built. Interrupted
    between two tags, the next call sets the missing ones.
    """
    repository = source.repository
    digest = images.find_digest(f"{repository}:{source.content}")
    _refuse_other(images, source, digest)
    named = f"image {repository}:{source.content}"
    if digest is None and not write:
        return "", Change(named, Did.CREATED, f"version {source.version}")
    if digest is None:
        images.build(
            source.folder,
            repository,
            source.content,
            labels=source.labels,
            arguments=source.arguments,
            host_network=source.host_network,
        )
        images.push(repository, source.content, [f"v{source.version}", LATEST])
        pushed = images.find_digest(f"{repository}:{source.content}")
        if pushed is None:
            raise NeedsOperator(
                f"the registry has no {repository}:{source.content} after it was pushed",
                "look whether the registry removes images, or is another one for other callers",
            )
        return f"{repository}@{pushed}", Change(named, Did.CREATED, f"version {source.version}")
    tags = [f"v{source.version}", LATEST]
    missing = [tag for tag in tags if images.find_digest(f"{repository}:{tag}") != digest]
    if missing and write:
        images.fetch(repository, digest, source.content)
        images.push(repository, source.content, missing)
    did = Did.UPDATED if missing else Did.UNCHANGED
    return f"{repository}@{digest}", Change(named, did, ", ".join(missing))


def _refuse_other(images: Images, source: Source, digest: str | None) -> None:
    tag = f"v{source.version}"
    there = images.find_digest(f"{source.repository}:{tag}")
    if there is not None and there != digest:
        raise NeedsOperator(
            f"{source.repository}:{tag} is in the registry with another content ({there[:19]})",
            "raise the version in pyproject.toml and clinical_ai/__init__.py, or use another "
            "registry: what runs under a version never changes",
        )
