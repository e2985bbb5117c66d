"""What runs in a cluster: an image by digest, and what is inside it."""

import re
from dataclasses import dataclass
from typing import Final

_BY_DIGEST: Final = re.compile(r"\S+@sha256:[0-9a-f]{64}")
_CONTENT: Final = re.compile(r"[0-9a-f]{12}")


@dataclass(frozen=True)
class Release:
    """One immutable release.

    `content`: hash of the sources, also a tag of the image; `revision`: of Prefect's database.
    """

    image: str
    content: str
    version: str
    prefect: str
    python: str
    revision: str

    def __post_init__(self) -> None:
        """ValueError for an image that could become another one, or an odd hash."""
        if not _BY_DIGEST.fullmatch(self.image):
            raise ValueError("a release's image is named by digest: REPOSITORY@sha256:DIGEST")
        if not _CONTENT.fullmatch(self.content):
            raise ValueError("a release's content is named by twelve hexadecimal digits")
