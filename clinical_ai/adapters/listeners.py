"""Who listens on a port of this machine."""

import os
import socket
from collections.abc import Container
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil

from clinical_ai.adapters.orphans import processes_of
from clinical_ai.errors import NeedsOperator


def is_free(port: int) -> bool:
    """Whether somebody could listen there now, on the loopback."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def listens(root: Path, port: int) -> bool:
    """Whether a process of the platform in this state folder listens there."""
    return any(_has_open(process, port) for process in processes_of(root))


def port_of(address: str) -> int:
    """The port of an `http://` address."""
    return urlsplit(address).port or 80


def check_port(address: str, root: Path, inner: Container[int] = ()) -> str:
    """The port of this address is free, or this platform's own; NeedsOperator when it is not.

    `inner`: ports of the platform's other parts.
    """
    port = port_of(address)
    if port in inner:
        raise NeedsOperator(
            f"port {port} is that of another part of this platform", "choose another with PORT="
        )
    if port < 1024 and os.geteuid() != 0:
        raise NeedsOperator(f"port {port} is for root only", "choose one above 1023 with PORT=")
    if not is_free(port) and not listens(root, port):
        other = port + 1 if port < 65535 else port - 1
        raise NeedsOperator(
            f"port {port} is taken by {_holder(port)}",
            f"stop that, or choose another port: make up PORT={other}",
        )
    return f"port {port}"


def _has_open(process: psutil.Process, port: int) -> bool:
    try:
        found = process.net_connections("tcp")
    except psutil.Error:
        return False  # gone meanwhile
    return any(_listens_at(connection, port) for connection in found)


def _listens_at(connection: Any, port: int) -> bool:
    """`connection` as psutil tells it; one that was never bound has no address."""
    at = connection.laddr
    return bool(connection.status == psutil.CONN_LISTEN and at and at.port == port)


def _holder(port: int) -> str:
    """The process that listens there, where this user may see it (macOS tells root only)."""
    try:
        found = psutil.net_connections("tcp")
        pids = {connection.pid for connection in found if _listens_at(connection, port)}
        pid = max(filter(None, pids), default=None)
        if pid:
            return f"process {pid} ({psutil.Process(pid).name()})"
    except psutil.Error:
        return "another process"
    return "a process of another user" if pids else "a process that does not listen yet"
