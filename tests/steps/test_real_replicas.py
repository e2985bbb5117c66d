"""A number of pods that an autoscaler has chosen stays, whatever settings say."""

from typing import Final

import pytest

from clinical_ai.change import Did
from clinical_ai.names import FIELD_MANAGER, SCALE_MANAGER
from clinical_ai.ports_cluster import Object, Ref
from clinical_ai.steps.cluster.ensure import ensure_objects
from clinical_ai.waiting import Sighting, wait_until
from tests.support.objects import deployment
from tests.support.real_cluster import own_namespace

pytestmark = pytest.mark.cluster

WEB: Final = Ref("apps/v1", "Deployment", "web")
# Below its least number it scales at once, and needs no measurement.
AUTOSCALER: Final[Object] = {
    "apiVersion": "autoscaling/v2",
    "kind": "HorizontalPodAutoscaler",
    "metadata": {"name": WEB.name},
    "spec": {
        "scaleTargetRef": {"apiVersion": WEB.api_version, "kind": WEB.kind, "name": WEB.name},
        "minReplicas": 2,
        "maxReplicas": 3,
    },
}


def owners(found: Object) -> set[str]:
    """Who has chosen its `replicas`."""
    return {
        each["manager"]
        for each in found["metadata"]["managedFields"]
        if "f:replicas" in each.get("fieldsV1", {}).get("f:spec", {})
    }


def test_an_autoscaler_takes_replicas_over_and_keeps_them_without_a_conflict() -> None:
    with own_namespace() as cluster:
        ensure_objects(cluster, [deployment(replicas=1)], write=True)
        assert owners(cluster.get(WEB)) == {SCALE_MANAGER}
        cluster.create(AUTOSCALER)

        def look() -> Sighting:
            number = cluster.get(WEB)["spec"]["replicas"]
            return Sighting(number == 2, f"{number} replicas")

        wait_until("the autoscaler", look, seconds=120)
        assert owners(cluster.get(WEB)).isdisjoint({FIELD_MANAGER, SCALE_MANAGER})
        [same] = ensure_objects(cluster, [deployment(replicas=1)], write=True)
        assert (same.did, same.conflicts) == (Did.UNCHANGED, ())
        wanted = deployment(replicas=1, minReadySeconds=7)
        [changed] = ensure_objects(cluster, [wanted], write=True)
        assert [each.path for each in changed.fields] == [".spec.minReadySeconds"]
        assert changed.conflicts == ()
        assert cluster.get(WEB)["spec"]["replicas"] == 2
