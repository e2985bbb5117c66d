"""The image of this checkout, and the release that it makes."""

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from bootstrap.request import Request
from bootstrap.terminal import Terminal
from clinical_ai import __version__, names
from clinical_ai.adapters.docker_images import DockerImages
from clinical_ai.adapters.source_files import content_of
from clinical_ai.change import Change, Did
from clinical_ai.errors import NeedsOperator, PlatformError, Transient
from clinical_ai.manifests.kubernetes.metadata import cluster_of
from clinical_ai.manifests.release import IMAGE
from clinical_ai.release import Release
from clinical_ai.settings import Settings
from clinical_ai.steps.image import Seen, Source, ensure_image, look_for_image
from clinical_ai.wiring_cluster import release_of


@dataclass(frozen=True)
class Found:
    """What the registry has of the image. `release` None: it would have to be built.

    `seen` None: the image was named, and nothing of it is made here. `evidence`: for the checks.
    """

    release: Release | None
    change: Change
    evidence: str
    seen: Seen | None = None


def look_for_release(request: Request, settings: Settings, rendered: Mapping[str, Any]) -> Found:
    """The release by digest: of the image that is named, else of this checkout's. Writes nothing.

    A registry that does not answer is told as what else stands in the way: NeedsOperator.
    """
    if request.image:
        return _named(request.image, rendered)
    source = source_of(request.checkout, settings)
    try:
        seen = look_for_image(DockerImages(), source)
    except Transient as error:
        remedy = "see whether Docker here reaches it, and run this again"
        raise NeedsOperator(str(error), remedy) from error
    release = release_of(seen.image, source.content, rendered) if seen.image else None
    return Found(release, seen.change, f"the registry of {source.repository} answers", seen)


def ensure_release(found: Found, rendered: Mapping[str, Any], terminal: Terminal) -> Release:
    """The release by digest, in the registry: built and pushed when nothing was found."""
    if found.seen is None:
        assert found.release is not None  # noqa: S101 - it was named
        return found.release
    image = ensure_image(DockerImages(terminal.note), found.seen)
    return release_of(image, found.seen.source.content, rendered)


def _named(image: str, rendered: Mapping[str, Any]) -> Found:
    content = sha256(image.encode()).hexdigest()[:12]
    try:
        release = release_of(image, content, rendered)
    except NeedsOperator as fault:
        remedy = "give --image with the digest that `docker push` tells"
        raise NeedsOperator(fault.problem, remedy) from None
    told = _whether_there(image)
    return Found(release, Change(f"image {image}", Did.UNCHANGED, told), f"image {told}")


def _whether_there(image: str) -> str:
    """When Docker here may ask the registry; else the nodes find out, with rights of their own."""
    try:
        digest = DockerImages().find_digest(image)
    except PlatformError:
        return "not looked for: no Docker here that its registry answers"
    if digest is None:
        remedy = "push it, or give --image with the digest that `docker push` tells"
        raise NeedsOperator(f"the registry has no {image}", remedy)
    return "in the registry"


def source_of(checkout: Path, settings: Settings) -> Source:
    """What the image is made of: the code, its packages, and how it is built."""
    build = cluster_of(settings).build
    arguments = {**build.arguments, "BASE": build.base_image}
    content = content_of(checkout, IMAGE, json.dumps(arguments, sort_keys=True))
    return Source(
        folder=checkout,
        repository=cluster_of(settings).image,
        content=content,
        version=__version__,
        labels={
            "org.opencontainers.image.title": names.PRODUCT,
            "org.opencontainers.image.version": __version__,
            f"{names.PRODUCT}.content": content,
        },
        arguments=arguments,
        host_network=build.network == "host",
    )


def render(checkout: Path) -> dict[str, Any]:
    """What the release registers, read from this checkout as the image's build reads it."""
    words = [sys.executable, "-m", "clinical_ai.adapters.prefect_yaml", str(checkout)]
    environment = {
        "PATH": "/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "PYTHONTZPATH": "",
        "HOME": "/nonexistent",
        "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
    }
    made = subprocess.run(
        words, cwd=checkout, env=environment, capture_output=True, text=True, check=False
    )
    if made.returncode:
        last = (made.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise NeedsOperator(f"the flows of {checkout} can't be read: {last}", "correct that flow")
    rendered: dict[str, Any] = json.loads(made.stdout)
    return rendered
