"""A connector run in a process of its own that kills itself (SIGKILL) at a chosen point.

python -m tests.support.killed_run POINT FOLDER    (the database's URL on standard input)
"""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from clinical_ai.adapters import dlt_loader, dlt_postgres
from clinical_ai.adapters.folder_storage import FolderStore
from tests.support.connector import Bench

POINTS = (
    "rows are read",
    "tables are made",
    "rows are staged",
    "rows are merged",
    "all is committed",
)


def _die(*_args: Any, **_named: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _after(owner: Any, name: str) -> None:
    """Die when this has been done."""
    real: Callable[..., Any] = getattr(owner, name)

    def done(*args: Any, **named: Any) -> Any:
        real(*args, **named)
        _die()

    setattr(owner, name, done)


def _prepare(point: str) -> None:
    from dlt.load.load import Load
    from dlt.pipeline.pipeline import Pipeline

    match point:
        case "rows are read":
            _after(Pipeline, "extract")
        case "tables are made":
            _after(dlt_loader.DltLoader, "_make_tables")
        case "rows are staged":
            _after(dlt_postgres._CopyJob, "run")
        case "rows are merged":
            Load.complete_package = _die  # type: ignore[method-assign]
        case "all is committed":
            _after(Load, "complete_package")
        case unknown:
            raise ValueError(unknown)


def main() -> None:
    _prepare(sys.argv[1])
    Bench(SecretStr(sys.stdin.read()), FolderStore(Path(sys.argv[2]))).run("fhir")


if __name__ == "__main__":
    main()
