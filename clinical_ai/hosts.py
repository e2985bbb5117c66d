"""Which hosts and ports an address may name, and which of the hosts are in a cluster."""

import re
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Final

from clinical_ai.secret_references import LABEL, LONGEST

_PLACE: Final = re.compile(
    r"(?P<host>[A-Za-z0-9._-]+|\[(?P<v6>[0-9A-Fa-f:.]+)\])(:(?P<port>[0-9]*))?"
)
# Not of RFC 1123, but there are hosts outside clusters with such names.
_WORD: Final = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")  # what resolvers read as an IPv4 address
_HIGHEST: Final = 65_535


def find_fault(place: str) -> str | None:
    """What is wrong with HOST[:PORT], as "problem; remedy" without any of it, or None."""
    found = _PLACE.fullmatch(place)
    if found is None:
        return "there is no host in it; write a name, an IPv4 address or an IPv6 one in brackets"
    port = found["port"]
    if port and not (len(port) <= len(str(_HIGHEST)) and 1 <= int(port) <= _HIGHEST):
        return f"there is no such port; write one from 1 to {_HIGHEST}"
    if found["v6"]:
        return None if _is(IPv6Address, found["v6"]) else _no_ip("IPv6", "[fd00::1]")
    return _name_fault(found["host"].lower())


def find_namespace(host: str) -> str | None:
    """That of NAME.NAMESPACE.svc[.DOMAIN], which is how a cluster names a Service, else None."""
    words = host.split(".")
    return words[1] if len(words) > 2 and words[2] == "svc" else None


def _name_fault(host: str) -> str | None:
    words = host.removesuffix(".").split(".")
    if all(map(_NUMBER.fullmatch, words)):
        return None if _is(IPv4Address, host) else _no_ip("IPv4", "10.0.0.1")
    if len(host) > LONGEST or not all(map(_WORD.fullmatch, words)):
        return (
            "there is no such host name; write words of letters, digits and -, at most 63 in each,"
            " first and last a letter or a digit, with one dot between them"
        )
    if find_namespace(host) and not all(re.fullmatch(LABEL, word) for word in words[:2]):
        return (
            "there is no such Service; write NAME.NAMESPACE.svc, NAME and NAMESPACE of letters,"
            " digits and -, first and last a letter or a digit, at most 63 in each"
        )
    return None


def _is(kind: type[IPv4Address] | type[IPv6Address], text: str) -> bool:
    try:
        kind(text)
    except AddressValueError:
        return False
    return True


def _no_ip(kind: str, example: str) -> str:
    return f"there is no such {kind} address; write it as {example}"
