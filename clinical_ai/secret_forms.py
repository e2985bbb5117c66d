"""What a secret looks like: by the name it is given, and by its own form.

Used where a value would stand in clear: deployments' job variables, extra environment of pods,
messages of others, differences of objects. Each pattern takes a time linear in the text.
"""

import re
from typing import Final

# The last word of a name decides: DB_PASSWORD holds a secret, SECRET_NAME the name of one.
_LAST_WORD: Final = (
    r"(?<!pull[_-])(?<!pull)(?<!max[_-])"
    r"(?:passw(?:or)?d|passphrase|(?<![a-z])pass|pwd|secret|token|creds|credential|authorization"
    r"|auth[_-]?string|(?:api|access|private|secret|encryption|signing)[_-]?key(?:[_-](?:id|base))?)"
    r"s?(?:[_-]?\d+|[_-](?:prod|production|dev|development|test|staging))?"
)
_NAME: Final = re.compile(rf"{_LAST_WORD}$", re.IGNORECASE)
_TOKEN: Final = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY(?s:.*?)(?:-----END [A-Z ]*-----|\Z)"
    r"|A[KS]IA[0-9A-Z]{16,}|\b(?:Bearer|Basic)\s+[\w+/.=~:-]{8,}|\bgh[pousr]_\w{16,}"
    r"|\bxox[abprs]-[\w-]+|\bsk-[\w-]{16,}|\bhv[sbr]\.[\w-]{8,}"
    r"|(?<![\w-])eyJ[\w-]{3,}(?:\.[\w=-]+)+"
)
_ASSIGNED: Final = re.compile(
    r"\b(password|pwd)=[^;\s&]+|[?&](api_?key|token|access_token|sig|signature|password)=",
    re.IGNORECASE,
)
_ADDRESS: Final = re.compile(r"://([^/\s:@]*:[^/\s@]+|[^/\s:@]{20,})@")

# A quote that ends no value stands in the middle of one.
_IN_WORD: Final = r"""(?:[^\s"']|["'](?!$|[\s,:;)\]}]))"""
_IN_LINE: Final = r"""(?:[^\n"']|["'](?!$|[\s,:;)\]}]))"""
# In texts within texts each quote is escaped; within single quotes YAML and SQL double them.
_QUOTED: Final = (
    r"""b?(?P<quote>\\*["'])(?:(?P=quote){2}|(?!(?<!\\)(?P=quote))(?s:.))*(?:(?P=quote))?"""
)
_REFERENCE: Final = r"(?:secret:[\w.-]+/[\w.-]+|vault:[\w./-]+#[\w.-]+)"
_HARMLESS: Final = rf"(?:true|false|null|none|''|\"\"|\\*[\"']?{_REFERENCE}\\*[\"']?)"
_END: Final = r"[ \t]*(?:$|[\n,;)\]}])"
_SPACE: Final = r"[ \t]*(?![ \t])"
_KEY: Final = rf"(?:[\w-]*?{_LAST_WORD}|(?<=[?&])(?:[\w-]*?signature|sig))(?:\\*[\"'])?"
# As in a URL's query, settings of a connection and shells: one word.
_AFTER_EQUAL: Final = rf"(?:(?:basic|bearer)[ \t]+)?(?:(?![&;]\s?[\w.-]+=){_IN_WORD})+"
# As in YAML and headers: a block of lines below, or the rest of this one.
_AFTER_COLON: Final = rf"(?:[|>][-+\d]*[ \t]*(?:\n[ \t]+[^\n]+|\n[ \t]*(?=\n))+|(?!{{){_IN_LINE}+)"
_GIVEN: Final = re.compile(
    rf"(?P<kept>(?<![\w-])(?!{_REFERENCE}){_KEY}{_SPACE}"
    rf"(?:(?P<equal>:=|=>|==?)|:(?!:|//)){_SPACE})(?!{_HARMLESS}{_END})"
    rf"(?:{_QUOTED}|\[[^\]]*\]?|(?(equal){_AFTER_EQUAL}|{_AFTER_COLON}))",
    re.IGNORECASE,
)
_SPACES: Final = r"\s{0,99}(?!\s)"
# An option, and its value behind it, or next in a list.
_OPTION: Final = re.compile(
    rf"(?P<kept>(?<![\w-])--?[\w-]*?{_LAST_WORD}(?=[\s,\"'\\])(?:\\*[\"'])?"
    rf"(?:{_SPACES},)?{_SPACES}(?:-{_SPACES})?)(?:{_QUOTED}|(?![)\]}}]){_IN_WORD}+)",
    re.IGNORECASE,
)
# Up to the last @ before whitespace or another address: passwords hold / and @, too.
_USER: Final = re.compile(rf"://(?:[^/\s:?#]*:(?:(?!://){_IN_WORD})*|[^/\s:@]{{20,}})@")


def names_a_secret(name: str) -> bool:
    """Whether what has this name is a secret."""
    return bool(_NAME.search(name))


def has_the_form_of_one(value: str) -> bool:
    """Whether the text is, or holds, what is known to be a secret."""
    return bool(_TOKEN.search(value) or _ASSIGNED.search(value))


def is_address_with_password(value: str) -> bool:
    """Whether the text holds an address with credentials."""
    return bool(_ADDRESS.search(value))


def without_secrets(text: str) -> str:
    """A text of somebody else's, without what looks like a secret in it.

    Where the end of one can't be told, too much is hidden. Shorten what this gives, not what it
    takes: half a secret has no form.
    """
    text = _USER.sub("://***@", _TOKEN.sub("***", text))
    for pattern in (_GIVEN, _OPTION):
        text = pattern.sub(r"\g<kept>\g<quote>***\g<quote>", text)
    return text
