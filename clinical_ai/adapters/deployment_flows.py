"""The flows behind the entrypoints of a prefect.yaml, each imported once."""

import os
import sys
from pathlib import Path
from typing import Any

from clinical_ai.adapters.deployment_reasons import first_line


class Flows:
    """Entrypoint to flow. `unchecked`: those whose file only a pull step brings."""

    def __init__(self) -> None:
        self._loaded: dict[str, Any] = {}
        self._faults: dict[tuple[str, bool], tuple[str, str] | None] = {}
        self.unchecked: set[str] = set()

    def get(self, entrypoint: str, **_options: Any) -> Any:
        """As Prefect's `load_flow_from_entrypoint`."""
        return self._loaded[entrypoint]

    def find(self, entrypoint: str) -> Any:
        """The flow, or None when it can't be imported here."""
        return None if entrypoint in self.unchecked else self._loaded.get(entrypoint)

    def load(self, entrypoint: str, *, pulled: bool) -> tuple[str, str] | None:
        """Import the flow; what is wrong and what to do, or None."""
        asked = (entrypoint, pulled)
        if asked not in self._faults:
            self._faults[asked] = self._load(entrypoint, pulled=pulled)
        return self._faults[asked]

    def _load(self, entrypoint: str, *, pulled: bool) -> tuple[str, str] | None:
        from prefect import Flow

        place, separator, function = entrypoint.rpartition(":")
        if separator and not function.replace(".", "").isidentifier():
            return f"entrypoint {entrypoint!r:.80} names no function", "write path/to/file.py:flow"
        if entrypoint.endswith(".py") or not (separator or "." in entrypoint.strip(".")):
            return f"entrypoint {entrypoint!r:.80} names no flow", "write path/to/file.py:flow"
        is_file = separator and place.endswith(".py")
        if is_file and not Path(place).is_file() and not pulled:
            return f"entrypoint {entrypoint}: there is no file {place}", "correct the path"
        if pulled and not (is_file and Path(place).is_file()):
            self.unchecked.add(entrypoint)
            name = function if separator else entrypoint.rpartition(".")[2]
            self._loaded.setdefault(entrypoint, Flow(_later, name=name.replace("_", "-")))
            return None
        if entrypoint in self._loaded and entrypoint not in self.unchecked:
            return None
        return self._import(entrypoint)

    def _import(self, entrypoint: str) -> tuple[str, str] | None:
        from prefect.exceptions import MissingFlowError, ScriptError
        from prefect.flows import load_flow_from_entrypoint

        before, folder, path = set(sys.modules), Path.cwd(), list(sys.path)
        try:
            self._loaded[entrypoint] = load_flow_from_entrypoint(
                entrypoint, use_placeholder_flow=False
            )
        except (ImportError, MissingFlowError) as error:
            return f"entrypoint {entrypoint}: {first_line(error)}", "correct it"
        except BaseException as error:  # noqa: BLE001 - a flow that exits on import, too
            cause = first_line(error.user_exc if isinstance(error, ScriptError) else error)
            return f"entrypoint {entrypoint} can't be imported: {cause}", "mend the flow"
        finally:
            # As in a process of its own: the next one may have modules of the same names.
            os.chdir(folder)
            sys.path[:] = path
            for name in set(sys.modules) - before:
                origin = getattr(sys.modules[name], "__file__", None) or ""
                if origin.startswith(f"{folder}{os.sep}"):
                    del sys.modules[name]
        return None


def _later() -> None:
    """Stands for a flow that a pull step brings."""
