"""What a release is made of, on one machine and as an image, and the hash that names it."""

from collections.abc import Iterable
from hashlib import sha256
from typing import Final

# Below the checkout; `**` stands for whole folders: a flow may read what lies beside it.
# Everything else stays where it is.
_CODE: Final = (
    *("clinical_ai/**/*", "flows/**/*", "blocks/**/*", "bootstrap/**/*"),
    *("prefect.yaml", "pyproject.toml"),
)
LOCAL: Final = (*_CODE, "requirements.lock")
IMAGE: Final = (*_CODE, "requirements-k8s.lock", "Dockerfile", ".dockerignore")


def content_hash(files: Iterable[tuple[str, bytes]], made_by: str) -> str:
    """Twelve hexadecimal digits that change when a file, its name or what makes it does.

    `files`: path below the checkout and content, in any order. `made_by`: interpreter or options.
    """
    digest = sha256(made_by.encode())
    for name, content in sorted(files):
        digest.update(f"\0{name}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()[:12]
