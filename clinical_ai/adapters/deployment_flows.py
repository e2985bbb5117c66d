"""The flows behind the entrypoints of a prefect.yaml, each imported once."""

from pathlib import Path
from typing import Any


def first_line(error: BaseException) -> str:
    """Type and first line of an error, shortened."""
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]:.200}"


class Flows:
    """Entrypoint to flow. `unchecked`: those whose file only a pull step brings."""

    def __init__(self) -> None:
        self._loaded: dict[str, Any] = {}
        self.unchecked: set[str] = set()

    def get(self, entrypoint: str, **_options: Any) -> Any:
        """As Prefect's `load_flow_from_entrypoint`."""
        return self._loaded[entrypoint]

    def load(self, entrypoint: str, *, pulled: bool) -> tuple[str, str] | None:
        """Import the flow; what is wrong and what to do, or None."""
        from prefect import Flow

        if entrypoint in self._loaded:
            return None
        place, separator, function = entrypoint.rpartition(":")
        if separator and not function.replace(".", "").isidentifier():
            return f"entrypoint {entrypoint!r:.80} names no function", "write path/to/file.py:flow"
        if not (separator or "." in entrypoint):
            return f"entrypoint {entrypoint!r:.80} names no flow", "write path/to/file.py:flow"
        if separator and not Path(place).is_file():
            if not pulled:
                return f"entrypoint {entrypoint}: there is no file {place}", "correct the path"
            self.unchecked.add(entrypoint)
            self._loaded[entrypoint] = Flow(_later, name=function.replace("_", "-"))
            return None
        return self._import(entrypoint)

    def _import(self, entrypoint: str) -> tuple[str, str] | None:
        from prefect.exceptions import MissingFlowError, ScriptError
        from prefect.flows import load_flow_from_entrypoint

        try:
            self._loaded[entrypoint] = load_flow_from_entrypoint(
                entrypoint, use_placeholder_flow=False
            )
        except ScriptError as error:
            cause = first_line(error.user_exc)
            return f"entrypoint {entrypoint} can't be imported: {cause}", "mend the flow"
        except (ImportError, MissingFlowError) as error:
            return f"entrypoint {entrypoint}: {first_line(error)}", "correct it"
        return None


def _later() -> None:
    """Stands for a flow that a pull step brings."""
