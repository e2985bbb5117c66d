"""Which addresses a row of the guide's tables may reach, and through which proxy."""

import re
from collections.abc import Iterable
from urllib.parse import SplitResult, unquote, urlsplit

_PORTS = {"http": 80, "https": 443}


def within(address: str, allowed: Iterable[str]) -> bool:
    """Whether the address is one of the allowed URL prefixes, or below one.

    Scheme, host and port are compared as such and the path by whole segments:
    `https://fhir.example/r4` allows neither `https://fhir.example/r4x` nor
    `https://fhir.example.evil/r4` nor a path that climbs out with `..`.
    """
    wanted = _parsed(address)
    return wanted is not None and any(_covers(prefix, wanted) for prefix in allowed)


def origin(address: str) -> str:
    """Scheme, host and port: what an error may tell about an address."""
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def bypasses_proxy(host: str, no_proxy: str | None) -> bool:
    """Whether `no_proxy` (as curl reads it: hosts and domains, comma-separated) names the host."""
    entries = [entry.strip().lower().lstrip(".") for entry in (no_proxy or "").split(",")]
    host = host.lower()
    return any(
        entry == "*" or host == entry or host.endswith(f".{entry}") for entry in entries if entry
    )


def _covers(prefix: str, wanted: SplitResult) -> bool:
    allowed = _parsed(prefix)
    if allowed is None or _place(allowed) != _place(wanted):
        return False
    base = allowed.path.rstrip("/")
    return wanted.path.rstrip("/") == base or wanted.path.startswith(f"{base}/")


def _place(parts: SplitResult) -> tuple[str, str | None, int | None]:
    return parts.scheme, parts.hostname, parts.port or _PORTS.get(parts.scheme)


def _parsed(address: str) -> SplitResult | None:
    """None for what is not a plain http(s) address, or tries to leave its path."""
    try:
        parts = urlsplit(address)
        parts.port  # noqa: B018  (reading it is the check: a wrong port raises)
    except ValueError:
        return None
    if parts.scheme not in _PORTS or not parts.hostname or parts.username is not None:
        return None
    if re.search(r"[\s\\]", address) or ".." in re.split(r"[/\\]", unquote(parts.path)):
        return None
    return parts
