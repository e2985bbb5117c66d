"""dlt shut off from its surroundings: no file, variable or telemetry of the user takes part."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any, Final

from clinical_ai.adapters.silence import silenced

_CONFIGURATION: Final[dict[str, Any]] = {
    "runtime": {
        "dlthub_telemetry": False,
        "log_level": "CRITICAL",
        "intercept_signals": False,  # SIGTERM is the flow's to handle
    },
    # Arrow in, parquet between, ADBC out: 15 times as fast as dlt's defaults.
    "data_writer": {"disable_compression": True, "file_max_items": 100_000},
    "normalize": {"parquet_normalizer": {"add_dlt_load_id": True}, "workers": 1},
    "load": {"workers": 2, "raise_on_max_retries": 2},
}
_turn: Final = Lock()


@contextmanager
def sealed_dlt(folder: Path) -> Iterator[None]:
    """Inside, dlt knows this configuration and this folder and nothing else, and logs nothing.

    It prints whole rows when a load fails; that goes nowhere. dlt keeps one context a process, so
    threads take turns. The context is set before dlt makes its own, which would read the
    user's files and start telemetry.
    """
    from dlt.common.configuration.container import Container
    from dlt.common.configuration.specs.pluggable_run_context import PluggableRunContext
    from dlt.common.runtime.anon_tracker import disable_anon_tracker

    container = Container()
    with _turn, silenced("dlt"):
        there = PluggableRunContext in container  # asking for it would make it
        before = container[PluggableRunContext] if there else None
        disable_anon_tracker()
        container[PluggableRunContext] = PluggableRunContext(_sealed_context(str(folder)))
        try:
            yield
        finally:
            if before is None:
                del container[PluggableRunContext]
            else:
                container[PluggableRunContext] = before


def _sealed_context(place: str) -> Any:
    from dlt.common.configuration.providers.dictionary import DictionaryProvider
    from dlt.common.configuration.providers.provider import ConfigProvider
    from dlt.common.runtime.run_context import RunContext

    class Sealed(RunContext):
        """All folders are ours; environment variables and TOML files are not read."""

        global_dir = data_dir = run_dir = local_dir = settings_dir = property(lambda _: place)

        def initial_providers(self) -> list[ConfigProvider]:
            """One provider, from memory."""
            provider = DictionaryProvider()
            provider._config_doc = _CONFIGURATION
            return [provider]

    return Sealed(place)
