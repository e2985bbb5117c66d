"""What a secret looks like: by the name it is given, and by its own form.

Used where a value would stand in clear: deployments' job variables, extra environment of pods.
"""

import re
from typing import Final

# The last word of a name decides: DB_PASSWORD holds a secret, SECRET_NAME the name of one.
_NAME: Final = re.compile(
    r"(?<!pull_)(?<!pull)(?<!max_)"
    r"(passw(or)?d|passphrase|(?<![a-z])pass|pwd|secret|token|creds|credential|authorization"
    r"|auth_?string|(api|access|private|secret|encryption|signing)_?key(_id|_base)?)"
    r"s?([_-]?\d+|_(prod|production|dev|development|test|staging))?$",
    re.IGNORECASE,
)
_VALUE: Final = re.compile(
    r"AKIA[0-9A-Z]{16}|\b(Bearer|Basic)\s+[\w+/.=-]{8,}|\bgh[pousr]_\w{16,}|\bxox[abprs]-\w"
    r"|\bsk-[\w-]{16,}|\beyJ[\w-]+\.eyJ|-----BEGIN [A-Z ]*PRIVATE KEY"
    r"|(?i:\b(password|pwd)=[^;\s&]+)"
    r"|(?i:[?&](api_?key|token|access_token|sig|signature|password)=)"
)
_ADDRESS: Final = re.compile(r"://([^/\s:@]*:[^/\s@]+|[^/\s:@]{20,})@")


def names_a_secret(name: str) -> bool:
    """Whether what has this name is a secret."""
    return bool(_NAME.search(name))


def has_the_form_of_one(value: str) -> bool:
    """Whether the text is, or holds, what is known to be a secret."""
    return bool(_VALUE.search(value))


def is_address_with_password(value: str) -> bool:
    """Whether the text holds an address with credentials."""
    return bool(_ADDRESS.search(value))


def without_secrets(text: str) -> str:
    """A message of somebody else's, without what looks like a secret in it."""
    return _VALUE.sub("***", _ADDRESS.sub("://***@", text))
