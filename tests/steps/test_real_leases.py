"""The lease keeps changes apart that reach for it at the same moment."""

import os
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from time import monotonic

import pytest

from clinical_ai.adapters.kubernetes_api import open_kubernetes
from clinical_ai.steps.cluster.lease import cluster_lease, find_holder
from tests.support.real_cluster import kubeconfig, own_namespace

pytestmark = pytest.mark.cluster


def test_of_many_at_once_each_has_it_alone() -> None:
    with own_namespace() as cluster:
        place = {"kubeconfig": kubeconfig(), "namespace": cluster.namespace}

        def change(number: int) -> tuple[float, float]:
            api = open_kubernetes(os.environ, **place)
            with cluster_lease(api, f"process {number}", seconds=60):
                start = monotonic()
                for _ in range(20):
                    holder = find_holder(api)
                    assert holder is not None
                    assert holder.who == f"process {number}"
                return start, monotonic()

        with ThreadPoolExecutor(6) as threads:
            spans = sorted(threads.map(change, range(6)))
        assert all(end <= start for (_, end), (start, _) in pairwise(spans))
        assert find_holder(cluster) is None
