"""The files of a checkout that an image is made of, and the hash that names them."""

from pathlib import Path

from clinical_ai.manifests import release as manifest


def content_of(checkout: Path, options: str) -> str:
    """Twelve hexadecimal digits that change when a file of the image or its build does."""
    told = ((str(path.relative_to(checkout)), path.read_bytes()) for path in files_of(checkout))
    return manifest.content_hash(told, options)


def files_of(checkout: Path) -> set[Path]:
    """All that Docker is given, and what it builds by."""
    return {
        path
        for pattern in manifest.IMAGE
        for path in checkout.glob(pattern)
        if path.is_file() and path.suffix != ".pyc" and "__pycache__" not in path.parts
    }
