"""Prefect's API for what the platform changes of itself: asks before every write."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from clinical_ai.ports import PrefectApi

_READS: Final = ("/filter", "/paginate", "/count", "/read")  # of Prefect's POST requests
# Whoever stops gives back what is leased to them, or the next one would wait in vain.
_RETURNS: Final = ("/decrement-with-lease",)


@dataclass(frozen=True)
class GuardedApi:
    """The same API; `guard` raises when there may be no write."""

    api: PrefectApi
    guard: Callable[[], None]

    def get(self, path: str) -> Any:
        """The answer, or None for 404."""
        return self.api.get(path)

    def post(
        self, path: str, body: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None
    ) -> Any:
        """The answer; a question is asked, and a lease given back, unguarded."""
        if not path.endswith((*_READS, *_RETURNS)):
            self.guard()
        return self.api.post(path, body)

    def patch(self, path: str, body: Mapping[str, Any]) -> None:
        """Change what the body names."""
        self.guard()
        self.api.patch(path, body)

    def put(self, path: str, body: Mapping[str, Any]) -> None:
        """Replace what is there."""
        self.guard()
        self.api.put(path, body)

    def delete(self, path: str) -> bool:
        """Whether there was something to delete."""
        self.guard()
        return self.api.delete(path)

    def pages(self, path: str, body: Mapping[str, Any] | None = None) -> Iterator[dict[str, Any]]:
        """All rows of a `/filter` path."""
        return self.api.pages(path, body)
