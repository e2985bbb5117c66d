"""How secrets are referred to: `secret:NAME/KEY`, as Kubernetes takes names and keys, and
`vault:MOUNT/PATH#FIELD`.
"""

import re
from dataclasses import dataclass
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
_SEGMENT: Final = r"[A-Za-z0-9][A-Za-z0-9_.-]*"
VAULT_PATH: Final = rf"{_SEGMENT}(/{_SEGMENT})*"
VAULT_FIELD: Final = r"[A-Za-z0-9_.-]+"
_IN_VAULT: Final = re.compile(rf"vault:(?P<whole>{_SEGMENT}/{VAULT_PATH})#(?P<field>{VAULT_FIELD})")
NOT_IN_VAULT: Final = (
    "is not a reference to a field of Vault; write vault:MOUNT/PATH#FIELD, each part of letters,"
    " digits, -, _ and ., of MOUNT and PATH first a letter or a digit"
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


@dataclass(frozen=True)
class InVault:
    """A field of a key-value secret."""

    mount: str
    path: str
    field: str


def find_in_vault(reference: str, mount: str = "") -> InVault | None:
    """The field, or None when this is not a `vault:` reference.

    `mount`: one that may have several parts; of any other it is the first part.
    """
    found = _IN_VAULT.fullmatch(reference)
    if found is None:
        return None
    whole = found["whole"]
    if not (mount and whole.startswith(f"{mount}/")):
        mount = whole.partition("/")[0]
    return InVault(mount, whole.removeprefix(f"{mount}/"), found["field"])


def told_apart(text: str, of: str, longest: int) -> str:
    """The text in small letters, digits and dashes, cut to fit, with a hash of what it is `of`.

    Two texts may become the same; with the hash, what they stand for still has names of its own.
    """
    digest = sha256(of.encode()).hexdigest()[:_HASH]
    plain = re.sub(r"[^a-z0-9]", "-", text.lower())
    return f"{plain[: longest - _HASH - 1]}-{digest}"
