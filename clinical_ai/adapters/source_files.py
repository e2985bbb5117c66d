"""The files of a checkout that a release or an image is made of, and the hash that names it."""

from collections.abc import Iterable
from pathlib import Path

from clinical_ai.manifests import release as manifest


def content_of(checkout: Path, patterns: Iterable[str], made_by: str) -> str:
    """Twelve hexadecimal digits that change when one of the files, or what makes it, does."""
    files = files_of(checkout, patterns)
    told = ((str(path.relative_to(checkout)), path.read_bytes()) for path in files)
    return manifest.content_hash(told, made_by)


def files_of(checkout: Path, patterns: Iterable[str]) -> set[Path]:
    """Those that fit a pattern, but for what Python or an editor leaves beside the code."""
    return {
        path
        for pattern in patterns
        for path in checkout.glob(pattern)
        if path.is_file() and (pattern == path.name or not _is_left(path.relative_to(checkout)))
    }


def _is_left(path: Path) -> bool:
    """As `.dockerignore` says it to Docker."""
    hidden = any(part.startswith(".") for part in path.parts)
    return hidden or path.suffix == ".pyc" or "__pycache__" in path.parts
