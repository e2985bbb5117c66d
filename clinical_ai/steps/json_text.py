"""JSON that is cut into pieces instead of decoded: what is nested stays as it was written.

FHIR counts the digits of a decimal (1.50 is not 1.5) and Python's floats do not, so a nested value
travels as its own text.
"""

import re
from collections.abc import Iterator
from json import JSONDecoder
from typing import Any, NoReturn

_SPACE = re.compile(r"[ \t\n\r]*")
_NUL = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")
_EXTREME = re.compile(r"[0-9][eE][+-]?[0-9]{3}")
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


class UnfitError(ValueError):
    """Not JSON that PostgreSQL can keep; the text tells nothing of it."""


def _refuse(_: str) -> NoReturn:
    raise UnfitError  # NaN and Infinity, which are not JSON


def _finite(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")) or (number == 0 and re.search("[1-9]", text)):
        raise UnfitError
    return number


_scan = JSONDecoder(parse_constant=_refuse).raw_decode
_scan_strictly = JSONDecoder(parse_constant=_refuse, parse_float=_finite).raw_decode
_FAULTS = (ValueError, IndexError, RecursionError)


def without_nul(text: str) -> tuple[str, int]:
    """The text without NUL characters, raw or escaped, and how many there were."""
    raw = text.count("\0")
    if raw:
        text = text.replace("\0", "")
    if "\\u0000" not in text:
        return text, raw
    text, escaped = _NUL.subn(r"\1", text)
    return text, raw + escaped


def members(text: str) -> Iterator[tuple[str, Any, str]]:
    """Name, decoded value and own text of each member of the object that `text` is.

    Raises UnfitError when it is not an object, or holds what PostgreSQL cannot keep.
    """
    scan = _scanner(text)
    try:
        at = _space(text, 0)
        if text[at] != "{":
            raise UnfitError
        at = _space(text, at + 1)
        if text[at] == "}":
            return _end(text, at + 1)
        while True:
            if text[at] != '"':
                raise UnfitError
            name, at = _scan(text, at)
            at = _space(text, _after(text, _space(text, at), ":"))
            value, end = scan(text, at)
            yield name, value, text[at:end]
            at = _space(text, end)
            if text[at] == "}":
                return _end(text, at + 1)
            at = _space(text, _after(text, at, ","))
    except _FAULTS:
        raise UnfitError from None


def elements(text: str) -> Iterator[str]:
    """Own text of each element of the array that `text` is. Raises UnfitError."""
    try:
        at = _space(text, _after(text, _space(text, 0), "["))
        if text[at] == "]":
            return _end(text, at + 1)
        while True:
            _, end = _scan(text, at)
            yield text[at:end]
            at = _space(text, end)
            if text[at] == "]":
                return _end(text, at + 1)
            at = _space(text, _after(text, at, ","))
    except _FAULTS:
        raise UnfitError from None


def is_json(text: str) -> bool:
    """Whether the text is JSON of any type that PostgreSQL can keep."""
    try:
        _, end = _scanner(text)(text, _space(text, 0))
        _end(text, end)
    except _FAULTS:
        return False
    return _NUL.search(text) is None


def _scanner(text: str) -> Any:
    """The fast scanner, unless the text holds something that has to be looked at closely."""
    if _SURROGATE.search(text):
        _refuse_lone_surrogates(text)
    return _scan_strictly if _EXTREME.search(text) else _scan


def _refuse_lone_surrogates(text: str) -> None:
    """Half a character, which UTF-8 cannot write, is not text."""
    try:
        value, _ = _scan(text, _space(text, 0))
        for string in _strings(value):
            string.encode()
    except _FAULTS:
        raise UnfitError from None


def _strings(value: Any) -> Iterator[str]:
    match value:
        case str():
            yield value
        case dict():
            for name, inner in value.items():
                yield name
                yield from _strings(inner)
        case list():
            for inner in value:
                yield from _strings(inner)
        case _:
            return


def _space(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at


def _after(text: str, at: int, sign: str) -> int:
    if text[at] != sign:
        raise UnfitError
    return at + 1


def _end(text: str, at: int) -> None:
    if _space(text, at) != len(text):
        raise UnfitError
