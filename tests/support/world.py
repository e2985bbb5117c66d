"""A cluster for a test: the API server in memory, or a namespace of a real one by `make e2e`."""

import os
from collections.abc import Iterator

import pytest

from clinical_ai.adapters.kubernetes_api import KubernetesApi, open_kubernetes
from clinical_ai.ports_cluster import Object
from tests.support.fake_cluster import FakeCluster
from tests.support.real_cluster import as_account, kubeconfig, own_namespace


class World:
    """A cluster with a namespace of the test's own, seen by us and by somebody else."""

    def __init__(self, api: KubernetesApi, fake: FakeCluster | None) -> None:
        self.api = api
        self.fake = fake

    def other(self, manager: str) -> KubernetesApi:
        """The same cluster as another program sees it, which writes under its own name."""
        if self.fake is not None:
            return self.fake.open(self.api.namespace, manager=manager)
        again = open_kubernetes(os.environ, kubeconfig=kubeconfig(), namespace=self.api.namespace)
        again._manager = manager
        return again

    def may_only(self, rules: list[Object], denied: set[tuple[str, str]]) -> KubernetesApi:
        """The same as an account sees it that may do this in its namespace.

        `denied`: what of the rest the tests ask for there.
        """
        if self.fake is None:
            return as_account(self.api, rules)
        self.fake.denied, self.fake.confined = denied, True
        return self.api


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.cluster)])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    """Each test that asks for it runs on both."""
    if request.param == "fake":
        fake = FakeCluster("contract-test")
        yield World(fake.open("contract-test"), fake)
    else:
        with own_namespace() as api:
            yield World(api, None)
