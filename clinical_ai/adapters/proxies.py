"""Which proxy stands between us and an address: HTTPS_PROXY and NO_PROXY as kubectl reads them."""

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import urlsplit


def find_proxy(url: str, environ: Mapping[str, str]) -> str | None:
    """The proxy's address, or None. Unlike httpx's own reading, NO_PROXY may name networks.

    An API server is most often an address of a private network, which NO_PROXY names whole.
    """
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    found = _variable(environ, f"{parts.scheme}_proxy")
    if not found or host == "localhost" or _is_loopback(host):
        return None
    excepted = _variable(environ, "no_proxy").split(",")
    if any(_covers(entry.strip().lower(), host, port) for entry in excepted):
        return None
    return found if "://" in found else f"http://{found}"


def _variable(environ: Mapping[str, str], name: str) -> str:
    return environ.get(name.upper()) or environ.get(name) or ""


def _covers(entry: str, host: str, port: int) -> bool:
    """Whether an entry of NO_PROXY names this host: `*`, a network, an address or a domain."""
    if entry == "*":
        return True
    address = _address(host)
    if "/" in entry:
        try:
            return address is not None and address in ip_network(entry, strict=False)
        except ValueError:
            return False
    name, colon, told = entry.rpartition(":")
    if colon and told.isdecimal() and _address(entry) is None:
        if int(told) != port:
            return False
        entry = name.strip("[]")
    if address is not None:
        return address == _address(entry)
    domain = entry.removeprefix("*").lstrip(".")
    if not domain:
        return False
    within = host.endswith(f".{domain}")
    return within if entry.startswith((".", "*")) else within or host == domain


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None


def _is_loopback(host: str) -> bool:
    address = _address(host)
    return address is not None and address.is_loopback
