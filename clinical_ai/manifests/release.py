"""What a release is made of, on one machine and as an image, and the hash that names it."""

from collections.abc import Iterable
from hashlib import sha256
from typing import Final

# Below the checkout; `**` stands for whole folders. Everything else stays where it is.
CODE: Final = (
    "clinical_ai/**/*.py",
    "clinical_ai/**/*.json",
    "flows/**/*.py",
    "blocks/**/*.py",
    "bootstrap/**/*.py",
    "prefect.yaml",
    "pyproject.toml",
    "requirements.lock",
)

# Whole folders, as `.dockerignore` leaves them to Docker: it can't choose among their files.
IMAGE: Final = (
    *("clinical_ai/**/*", "flows/**/*", "blocks/**/*", "bootstrap/**/*"),
    *("prefect.yaml", "pyproject.toml", "requirements-k8s.lock", "Dockerfile", ".dockerignore"),
)


def content_hash(files: Iterable[tuple[str, bytes]], python: str) -> str:
    """Twelve hexadecimal digits that change when a file, its name or the interpreter does.

    `files`: path below the checkout and content, in any order. `python`: like `3.11.2`.
    """
    digest = sha256(python.encode())
    for name, content in sorted(files):
        digest.update(f"\0{name}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()[:12]
