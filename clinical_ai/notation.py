"""How references, addresses and paths are written in settings.

What a validator says stands as "problem; remedy", and never repeats what it was given: that may be
a secret in the wrong place.
"""

import re
from typing import Annotated, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator

from clinical_ai.hosts import find_fault
from clinical_ai.secret_references import NO_REFERENCE, NOT_IN_VAULT, find_in_vault, find_parts

_REFERENCE: Final = re.compile(r"env:[A-Za-z_][A-Za-z0-9_]*|file:[^\0\r\n]+")
_AN_ADDRESS: Final = "is not an address; write http(s)://host[:port][/path]"


def _reference(text: str) -> str:
    if text.startswith("secret:"):
        if not find_parts(text):
            raise ValueError(NO_REFERENCE)
        return text
    if text.startswith("vault:"):
        if not find_in_vault(text):
            raise ValueError(NOT_IN_VAULT)
        return text
    if not _REFERENCE.fullmatch(text) or ".." in text.partition(":")[2].split("/"):
        raise ValueError("is not a reference; write env:NAME, file:PATH or secret:NAME/KEY")
    return text


def _address(text: str) -> str:
    try:
        parts = urlsplit(text)
    except ValueError:
        raise ValueError(_AN_ADDRESS) from None
    # urlsplit drops line ends and tabs without a word.
    odd = any(letter.isspace() or not letter.isprintable() for letter in text)
    if parts.scheme not in {"http", "https"} or not parts.netloc or odd:
        raise ValueError(_AN_ADDRESS)
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError("holds credentials or a query; write the address alone")
    if fault := find_fault(parts.netloc):
        raise ValueError(f"is not an address: {fault}")
    return text.rstrip("/")


def _api_address(text: str) -> str:
    text = _address(text)
    if not text.endswith("/api"):
        raise ValueError("does not end with /api; write it as http://127.0.0.1:4200/api")
    return text


def _allowed_address(text: str) -> str:
    if "://" in text:
        return _address(text)
    if not re.fullmatch(r"\S+:[0-9]+", text):
        raise ValueError("is not an address; write http(s)://host[:port][/path] or host:port")
    if fault := find_fault(text):
        raise ValueError(f"is not an address: {fault}")
    return text


def _any(addresses: tuple[str, ...]) -> tuple[str, ...]:
    if not addresses:
        raise ValueError("names no address; list those that rows may use")
    return addresses


def _region(text: str) -> str:
    if not re.fullmatch(r"[a-z]{2}(-[a-z]+)+-\d", text):
        raise ValueError("is not a region of AWS; write it as eu-central-1")
    return text


def _path(text: str) -> str:
    if not text.startswith("/") or "\0" in text:
        raise ValueError("is not an absolute path; write it from / on, services run elsewhere")
    return text


Reference = Annotated[str, AfterValidator(_reference)]
Address = Annotated[str, AfterValidator(_address)]
ApiAddress = Annotated[str, AfterValidator(_api_address)]
AllowedAddresses = Annotated[
    tuple[Annotated[str, AfterValidator(_allowed_address)], ...], AfterValidator(_any)
]
Region = Annotated[str, AfterValidator(_region)]
FilePath = Annotated[str, AfterValidator(_path)]
