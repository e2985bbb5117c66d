"""The image of this checkout, and the release that it makes."""

import json
import subprocess
import sys
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from bootstrap.request import Request
from bootstrap.terminal import Terminal
from clinical_ai import __version__, names
from clinical_ai.adapters.docker_images import DockerImages
from clinical_ai.adapters.image_source import content_of
from clinical_ai.change import Change, Did
from clinical_ai.errors import NeedsOperator
from clinical_ai.manifests.kubernetes.metadata import cluster_of
from clinical_ai.release import Release
from clinical_ai.settings import Settings
from clinical_ai.steps.image import Source, ensure_image
from clinical_ai.wiring_cluster import release_of


def ensure_release(
    request: Request,
    settings: Settings,
    rendered: Mapping[str, Any],
    terminal: Terminal,
    *,
    write: bool = True,
) -> tuple[Release | None, Change]:
    """The release by digest: of the image that is named, else of this checkout's.

    None when it would have to be built and `write` is off.
    """
    if request.image:
        content = sha256(request.image.encode()).hexdigest()[:12]
        try:
            release = release_of(request.image, content, rendered)
        except NeedsOperator as fault:
            remedy = "give --image with the digest that `docker push` tells"
            raise NeedsOperator(fault.problem, remedy) from None
        return release, Change("image", Did.UNCHANGED)
    source = source_of(request.checkout, settings)
    image, change = ensure_image(DockerImages(terminal.note), source, write=write)
    return (release_of(image, source.content, rendered) if image else None), change


def source_of(checkout: Path, settings: Settings) -> Source:
    """What the image is made of: the code, its packages, and how it is built."""
    build = cluster_of(settings).build
    arguments = {**build.arguments, "BASE": build.base_image}
    content = content_of(checkout, json.dumps(arguments, sort_keys=True))
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
