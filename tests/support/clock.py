"""A clock that waits jump over, so that no test sleeps."""

from collections.abc import Callable, Iterator

import pytest


class Clock:
    """What `wait_until` sleeps on; `then` is what happens in the world at each sleep."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept = 0
        self.then: Iterator[Callable[[], object]] = iter(())

    def sleep(self, seconds: float) -> None:
        """Time passes, and the next thing happens."""
        self.now += seconds
        self.slept += 1
        if happens := next(self.then, None):
            happens()

    def happens(self, *things: Callable[[], object]) -> None:
        """One of these at each sleep from now on, in order."""
        self.then = iter(things)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Waits of the test take no time."""
    made = Clock()
    monkeypatch.setattr("clinical_ai.waiting.sleep", made.sleep)
    monkeypatch.setattr("clinical_ai.waiting.monotonic", lambda: made.now)
    return made
