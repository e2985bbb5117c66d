"""A few requests to one server at a time: it works on one while another waits for its database."""

from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_EXCEPTION, Executor, wait
from typing import Final, TypeVar

AT_ONCE: Final = 3  # more gain nothing: Prefect's server is one process

Item = TypeVar("Item")


def each(workers: Executor, job: Callable[[Item], object], items: Iterable[Item]) -> None:
    """The job is done for each item; returns, or raises what failed, when none is under way."""
    futures = [workers.submit(job, item) for item in items]
    wait(futures, return_when=FIRST_EXCEPTION)
    for future in futures:
        future.cancel()
    wait(futures)
    for future in futures:
        if not future.cancelled():
            future.result()
