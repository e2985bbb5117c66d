"""Names of tables and columns made from what a source calls them."""

import re
import unicodedata
from collections.abc import Iterable
from hashlib import sha256

_LONGEST = 63  # bytes of an identifier in PostgreSQL


def snake(name: str) -> str:
    """Lower snake case of ASCII letters, digits and single underscores; may be empty.

    dlt's own naming leaves such a name as it is (a test proves it).
    """
    letters = unicodedata.normalize("NFKD", name)
    plain = "".join(letter for letter in letters if not unicodedata.combining(letter))
    plain = re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1_\2", plain)
    plain = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", plain)
    plain = re.sub(r"[^A-Za-z0-9]+", "_", plain).strip("_").lower()
    if plain[:1].isdigit():
        plain = f"n{plain}"
    if len(plain) > _LONGEST:
        plain = f"{plain[:50].rstrip('_')}_{sha256(plain.encode()).hexdigest()[:8]}"
    return plain


def columns(headers: Iterable[str]) -> list[str]:
    """A column name for each header: nameless ones are numbered, equal ones told apart."""
    taken: list[str] = []
    for number, header in enumerate(headers, start=1):
        wanted = snake(header) or f"column_{number}"
        taken.append(wanted if wanted not in taken else f"{wanted[:52]}_column_{number}")
    return taken
