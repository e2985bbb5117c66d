"""Leases of concurrency limits on a volume that settings name outlive the server's pod."""

import os
from collections.abc import Iterator
from typing import Final

import pytest

from clinical_ai import names
from clinical_ai.ports_cluster import Object, Ref
from clinical_ai.steps.cluster.rollout import await_rollout
from clinical_ai.steps.cluster.workers import pods_of
from clinical_ai.waiting import Sighting, wait_until
from tests.support.cluster_site import REGISTRY
from tests.support.production_site import ProductionSite

pytestmark = [pytest.mark.cluster, pytest.mark.parts, pytest.mark.timeout(900)]

_SERVER: Final = Ref("apps/v1", "Deployment", names.SERVER)
_LIMITS: Final = "/v2/concurrency_limits"
_CLAIM: Final = "leases"


@pytest.fixture
def claimed(production: ProductionSite) -> Iterator[ProductionSite]:
    """The platform keeps leases on a volume; afterwards as it was, where somebody keeps it."""
    volume = Ref("v1", "PersistentVolume", f"{production.namespace}-{_CLAIM}")
    for each in _volume(production, volume.name):
        production.api.create(each)
    opener = Ref("v1", "Pod", _CLAIM, production.data)

    def look() -> Sighting:
        phase = production.api.get(opener)["status"].get("phase")
        return Sighting(phase == "Succeeded", f"it is {phase}")

    wait_until("the folder of the volume", look, seconds=120)
    production.edit_cluster(lease_claim=_CLAIM)
    told = production.deploy()
    assert told.run.completed, told.run.message
    yield production
    if os.environ.get("E2E_SITE"):  # else all of it goes now: no test comes after this one
        production.edit_cluster(lease_claim=None)
        told = production.deploy()
        assert told.run.completed, told.run.message
        production.kubectl("delete", "pvc", _CLAIM)
    production.kubectl("delete", "pv", volume.name, "--wait=false")  # it goes with its claim


def test_a_lease_outlives_the_pod_of_the_server(claimed: ProductionSite) -> None:
    with claimed.reach() as api:
        api.post(f"{_LIMITS}/", {"name": "e2e", "limit": 1})
        take = {"names": ["e2e"], "slots": 1, "mode": "concurrency", "lease_duration": 300}
        lease = api.post(f"{_LIMITS}/increment-with-lease", take)["lease_id"]
    [pod] = pods_of(claimed.api, names.SERVER)
    claimed.kubectl("delete", "pod", pod["metadata"]["name"])
    await_rollout(claimed.api, _SERVER, seconds=180)
    with claimed.reach() as api:
        api.post(f"{_LIMITS}/leases/{lease}/renew", {"lease_duration": 300})  # else it is refused
        api.post(f"{_LIMITS}/decrement-with-lease", {"lease_id": lease})


def _volume(site: ProductionSite, name: str) -> list[Object]:
    """A folder of the node that anybody may write to, as a claim in the platform's namespace."""
    path = f"/var/tmp/{name}"  # noqa: S108 - of the node, under a name of the test's own
    mode = {"accessModes": ["ReadWriteOnce"], "storageClassName": ""}
    folder = {"hostPath": {"path": path, "type": "DirectoryOrCreate"}}
    opener = {
        "restartPolicy": "Never",
        "containers": [
            {
                "name": _CLAIM,
                "image": f"{REGISTRY}/python:3.13",
                "command": ["chmod", "777", "/volume"],
                "volumeMounts": [{"name": "volume", "mountPath": "/volume"}],
            }
        ],
        "volumes": [{"name": "volume", **folder}],
    }
    return [
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": _CLAIM, "namespace": site.data},
            "spec": opener,
        },
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": name},
            "spec": {**mode, **folder, "capacity": {"storage": "10Mi"}},
        },
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": _CLAIM, "namespace": site.namespace},
            "spec": {
                **mode,
                "volumeName": name,
                "resources": {"requests": {"storage": "10Mi"}},
            },
        },
    ]
