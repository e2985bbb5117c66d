"""Cron lines as Prefect reads them: whether its server takes one, and whether that ever comes."""

from functools import cache
from importlib.machinery import SourceFileLoader
from importlib.metadata import distribution
from types import ModuleType
from typing import Any


def is_cron(line: str) -> bool:
    """What Prefect's `validate_cron_string` says: no times by chance or by a hash, either."""
    chance = any(field in {"R", "H", "r", "h"} for field in line.split())
    return not chance and bool(_croniter().croniter.is_valid(line))


def comes(line: str) -> bool:
    """Whether a line that Prefect takes has a day at all, as the 30th of February has not."""
    reader = _croniter()
    try:
        reader.croniter(line).get_next()
    except reader.CroniterBadDateError:
        return False
    return True


@cache
def _croniter() -> Any:
    """The copy of croniter that Prefect brings, by itself.

    To import Prefect for it takes a second, makes a folder in the home of whoever runs this, warns
    of each odd variable of their shell, and in a terminal greets them and reports a new user.
    """
    file = distribution("prefect").locate_file("prefect/_vendor/croniter/croniter.py")
    module = ModuleType(f"{__name__}.croniter")
    SourceFileLoader(module.__name__, str(file)).exec_module(module)
    return module
