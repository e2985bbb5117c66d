"""A foreign error told by its type and place: its text may hold rows, names or addresses."""

from pathlib import Path


def whereabouts(met: BaseException) -> str:
    """As in `KeyError in parser.py:120`."""
    at = met.__traceback__
    while at is not None and at.tb_next is not None:
        at = at.tb_next
    place = f"{Path(at.tb_frame.f_code.co_filename).name}:{at.tb_lineno}" if at else "no place"
    return f"{type(met).__name__} in {place}"


def is_interruption(met: BaseException) -> bool:
    """Whether somebody ends the run (Ctrl-C, SIGTERM): no fault, and never told as one."""
    return not isinstance(met, Exception)
