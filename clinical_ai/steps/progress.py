"""How far a long change is, as Prefect's progress artifact: one row of the run, kept up to date."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from clinical_ai.errors import PlatformError
from clinical_ai.ports import PrefectApi

log = logging.getLogger(__name__)

Tell = Callable[[float, str], None]
_WAITS = logging.getLogger("clinical_ai.waiting")


def unheard(_share: float, _text: str) -> None:
    """For whoever has nobody to tell."""


@contextmanager
def progress(api: PrefectApi, key: str, run_id: str) -> Iterator[Tell]:
    """Tell a share from 0 to 1 and what is being done; what a wait sees is told as well.

    Nothing is written before there is something to tell. The server may be the very thing that is
    replaced: an update that it misses is left out.
    """
    body = {"key": key, "type": "progress", "flow_run_id": run_id}
    told, row = 0.0, ""

    def tell(share: float, text: str) -> None:
        nonlocal told, row
        told, seen = share, {"data": round(100 * share, 1), "description": text}
        try:
            if row:
                api.patch(f"/artifacts/{row}", seen)
            else:
                row = str(api.post("/artifacts/", {**body, **seen})["id"])
        except PlatformError as error:
            log.debug("progress is not told: %s", error)

    heard = _Waits(lambda text: tell(told, text))
    _WAITS.addHandler(heard)
    try:
        yield tell
    finally:
        _WAITS.removeHandler(heard)


class _Waits(logging.Handler):
    """What waits log, as progress."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        super().__init__(logging.INFO)
        self._tell = tell

    def emit(self, record: logging.LogRecord) -> None:
        self._tell(record.getMessage())
