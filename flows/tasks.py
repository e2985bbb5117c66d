"""Steps as tasks: how Prefect may retry them. The behaviour is in `clinical_ai.steps`."""

import logging
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from clinical_ai.errors import TimedOut, Transient

# Prefect hands on what our loggers say, but gives them no level: waits would never be told.
logging.getLogger("clinical_ai").setLevel(logging.getLogger("prefect").level)


def _is_transient(_task: Any, _run: Any, state: Any) -> bool:
    """A wait that came to its end has taken all the time that it may; it is not begun again."""
    result = state.result(raise_on_failure=False)
    return isinstance(result, Transient) and not isinstance(result, TimedOut)


# Steps that act are never cached: the world may have changed since.
acting = task(
    retries=3,
    retry_delay_seconds=[5, 15, 45],
    retry_condition_fn=_is_transient,
    cache_policy=NO_CACHE,
)
