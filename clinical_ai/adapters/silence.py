"""Loggers of libraries that print what they handle: rows, addresses with queries, statements."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Final

_NOTHING: Final = logging.CRITICAL + 1
_turn = Lock()
_held: dict[str, tuple[int, int]] = {}


@contextmanager
def silenced(*loggers: str) -> Iterator[None]:
    """These loggers, and those below them, say nothing; several may hold them at once."""
    for name in loggers:
        _hold(name)
    try:
        yield
    finally:
        for name in loggers:
            _release(name)


def _hold(name: str) -> None:
    logger = logging.getLogger(name)
    with _turn:
        times, level = _held.get(name, (0, logger.level))
        _held[name] = times + 1, level
        logger.setLevel(_NOTHING)


def _release(name: str) -> None:
    with _turn:
        times, level = _held.pop(name)
        if times > 1:
            _held[name] = times - 1, level
        else:
            logging.getLogger(name).setLevel(level)
