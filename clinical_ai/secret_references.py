"""How a key of a Secret is referred to: `secret:NAME/KEY`, as Kubernetes takes names and keys."""

import re
from hashlib import sha256
from typing import Final

LABEL: Final = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
LONGEST_LABEL: Final = 63
LONGEST: Final = 253  # of a name and of a key
_PART: Final = r"[a-z0-9]([a-z0-9-]*[a-z0-9])?"
NAME: Final = rf"{_PART}(\.{_PART})*"  # what is no label may have parts of any length
_REFERENCE: Final = re.compile(rf"secret:(?P<name>{NAME})/(?P<key>(?!\.(\.|$))[A-Za-z0-9._-]+)")
NO_REFERENCE: Final = (
    "is not a reference to a key of a Secret; write secret:NAME/KEY with NAME of small letters,"
    " digits, - and ., first and last a letter or a digit, KEY of letters, digits, -, _ and .,"
    f" and at most {LONGEST} of them in each"
)
_HASH: Final = 8


def find_parts(reference: str) -> tuple[str, str] | None:
    """NAME and KEY, or None when this is not a `secret:` reference."""
    found = _REFERENCE.fullmatch(reference)
    if found is None or max(len(found["name"]), len(found["key"])) > LONGEST:
        return None
    return found["name"], found["key"]


def parts(reference: str) -> tuple[str, str]:
    """NAME and KEY of a `secret:` reference."""
    found = find_parts(reference)
    if found is None:
        raise ValueError("not a secret: reference")
    return found


def told_apart(text: str, of: str, longest: int) -> str:
    """The text in small letters, digits and dashes, cut to fit, with a hash of what it is `of`.

    Two texts may become the same; with the hash, what they stand for still has names of its own.
    """
    digest = sha256(of.encode()).hexdigest()[:_HASH]
    plain = re.sub(r"[^a-z0-9]", "-", text.lower())
    return f"{plain[: longest - _HASH - 1]}-{digest}"
