"""Somebody who stops self-management at a chosen write, and looks at what is written afterwards."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import pytest

from clinical_ai import names
from clinical_ai.adapters.guarded_api import _READS
from tests.support.deploying import Namespace
from tests.support.fake_cluster import Request

REASON: Final = "incident 12"


class Switch:
    """Pulled once `after` writes have begun. `later`: what is written after that all the same.

    Written to the cluster or to Prefect; but for what the `world` does meanwhile, the lease that is
    given back, and what a run tells of itself.
    """

    def __init__(self, site: Namespace, after: int) -> None:
        self._site, self._left = site, after
        self._elsewhere = False
        self.later: list[str] = []
        site.fake.on_write = self._in_cluster
        real: Callable[..., Any] = site.prefect._call

        def call(method: str, path: str, body: Any) -> Any:
            if method != "GET" and not path.endswith(_READS):
                told = path.startswith("/artifacts/") or path.endswith("/decrement-with-lease")
                self._note(f"{method} {path}", allowed=told)
            return real(method, path, body)

        site.prefect._call = call  # type: ignore[method-assign]
        self._pull_when_due()

    @property
    def pulled(self) -> bool:
        """Whether so many writes were begun at all."""
        return self._left < 0

    @contextmanager
    def world(self) -> Iterator[None]:
        """What is written meanwhile is others' doing."""
        self._elsewhere = True
        try:
            yield
        finally:
            self._elsewhere = False

    def _in_cluster(self, asked: Request) -> None:
        if asked.served.kind == "SelfSubjectAccessReview":  # a question
            return
        taken = (asked.body or {}).get("spec", {}).get("holderIdentity")
        self._note(str(asked), allowed=asked.served.kind == "Lease" and not taken)

    def _note(self, told: str, *, allowed: bool) -> None:
        if self._elsewhere:
            return
        if self.pulled and not allowed:
            self.later.append(told)
        self._left -= not self.pulled
        self._pull_when_due()

    def _pull_when_due(self) -> None:
        if self._left:
            return
        self._left = -1
        about = {"name": names.BREAK_GLASS, "namespace": self._site.cluster.namespace}
        switch = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": about}
        self._site.fake.put({**switch, "data": {"stop": REASON}})


@pytest.fixture
def few(rendered: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A release with as few deployments as it needs; nothing is written at the same time."""
    for module in ("deployment_writes", "scheduled_runs"):
        monkeypatch.setattr(f"clinical_ai.steps.{module}.AT_ONCE", 1)
    needed = {names.DEPLOY_SELF, names.VERIFY}
    found = rendered["deployments"]
    return {**rendered, "deployments": [each for each in found if _name(each) in needed]}


def _name(raw: dict[str, Any]) -> str:
    return f"{raw['flow_name']}/{raw['body']['name']}"
