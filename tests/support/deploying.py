"""A namespace whose controllers work while others sleep, and the Prefect server in it."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from itertools import repeat
from typing import Any, Final

import pytest

from clinical_ai import names
from clinical_ai.plans import Stage
from clinical_ai.ports_cluster import Object, Ref
from clinical_ai.steps.cluster.deploy import deploy
from clinical_ai.steps.cluster.inventory import Ownership
from clinical_ai.steps.cluster.records import Records
from clinical_ai.steps.cluster.site import Site
from clinical_ai.steps.cluster.synced import secret_of
from tests.support.clock import Clock
from tests.support.fake_cluster import FakeCluster, Request
from tests.support.fake_prefect import FakePrefect
from tests.support.objects import LABELS, config, deployment, secret

OURS: Final = Ownership(LABELS, limit=3)
GOOD, BETTER, BROKEN, SLOW = "good:1", "better:2", "broken:3", "slow:4"
POOLS: Final = (names.POOL, names.PLATFORM_POOL)


class Namespace:
    """A namespace whose controllers work while others sleep, and a Prefect server."""

    def __init__(self) -> None:
        self.fake = FakeCluster()
        self.cluster = self.fake.open()
        self.prefect = FakePrefect()
        for name in POOLS:
            self.prefect.post("/work_pools/", {"name": name, "type": "kubernetes"})
        self.beats = 0

    def site(self, **more: Any) -> Site:
        return Site(self.cluster, OURS, self.beat, **{"api": self.prefect, **more})

    def stand(self, wanted: dict[str, list[Object]] | None = None) -> None:
        """A platform is up, of good images unless another is given, and has proved good."""
        wanted = wanted or stages()
        deploy(self.site(), wanted)
        self.records.write_objects(each_of(wanted))

    def beat(self) -> None:
        self.beats += 1

    @property
    def records(self) -> Records:
        return Records(self.cluster)

    def controllers(self) -> None:
        """Pods of good images are available, Jobs of them have succeeded, Secrets are synced."""
        for (_, kind, _, name), stored in list(self.fake.objects.all.items()):
            found = stored.content
            if kind in {"Deployment", "Job"}:
                who, status = "controller", _status(found, self.behaviour(found))
            elif kind == "ExternalSecret":
                who, status = "operator", _synced(found)
                self._write_secret(found)
            else:
                continue
            if found.get("status") != status:  # a write that changes nothing takes its time, too
                self.fake.edit(kind, name, who, lambda it, to=status: it.update(status=to))

    def _write_secret(self, found: Object) -> None:
        about = found["metadata"]
        owner = {"apiVersion": found["apiVersion"], "kind": found["kind"], "name": about["name"]}
        keys = [each["secretKey"] for each in found["spec"].get("data", [])]
        made = secret(secret_of(found), **dict.fromkeys(keys, "not-secret-of-a-test"))
        made["metadata"] |= {
            "namespace": about["namespace"],
            "annotations": {"reconcile.external-secrets.io/data-hash": "0a1b"},
            "ownerReferences": [{**owner, "uid": about["uid"]}],
        }
        if ("v1", "Secret", about["namespace"], secret_of(found)) not in self.fake.objects.all:
            self.fake.put(made, "operator")

    def behaviour(self, found: Object) -> str:
        """Which of the images its pods behave like."""
        return str(container_of(found)["image"])

    def image(self, name: str) -> str | None:
        """What the Kubernetes Deployment of that name runs; None when there is none."""
        found = self.cluster.find(Ref("apps/v1", "Deployment", name))
        return found and container_of(found)["image"]

    def images(self) -> list[str | None]:
        return [self.image(it) for it in (names.SERVER, names.PLATFORM_WORKER, names.WORKER)]

    def data(self, name: str = "settings") -> Any:
        found = self.cluster.find(Ref("v1", "ConfigMap", name))
        return found and found["data"]

    def paused(self) -> list[bool]:
        return [self.prefect.pools[name]["is_paused"] for name in POOLS]

    def stage(self) -> Stage | None:
        """Where the last hold stands."""
        journal = self.records.find_journal()
        return journal and journal.stage

    def run(self, pool: str) -> str:
        """A run that goes on in a pool."""
        flow = self.prefect.post("/flows/", {"name": "f"})
        body = {"name": "one", "flow_id": flow["id"], "work_pool_name": pool}
        made = self.prefect.post("/deployments/", body)["id"]
        given = {"name": "a-long-run", "state": {"type": "RUNNING"}}
        return str(self.prefect.post(f"/deployments/{made}/create_flow_run", given)["id"])

    def end(self, *runs: str) -> None:
        for run in runs:
            self.prefect.post(f"/flow_runs/{run}/set_state", {"state": {"type": "COMPLETED"}})

    def seen_at_writes(self, name: str) -> list[tuple[list[bool], Stage | None]]:
        """Filled with the pools' state and the journal's at each write of that object."""
        seen: list[tuple[list[bool], Stage | None]] = []

        def note(asked: Request) -> None:
            if asked.name == name:
                seen.append((self.paused(), self.stage()))

        self.fake.on_write = note
        return seen


def container_of(found: Object) -> Any:
    return found["spec"]["template"]["spec"]["containers"][0]


def _synced(found: Object) -> Object:
    generation = found["metadata"]["generation"]
    return {
        "conditions": [{"type": "Ready", "status": "True", "reason": "SecretSynced"}],
        "refreshTime": f"2026-11-27T12:{generation:02}:00Z",
        "syncedResourceVersion": f"{generation}-hash",
    }


def _status(found: Object, image: str) -> Object:
    if found["kind"] == "Job" and image == SLOW:
        return {"active": 1}
    if found["kind"] == "Job":
        ended = {"type": "Failed" if image == BROKEN else "Complete", "status": "True"}
        return {"conditions": [ended], "succeeded": int(image != BROKEN)}
    count = found["spec"]["replicas"]
    condition = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}
    return {
        "observedGeneration": found["metadata"]["generation"],
        "replicas": count,
        "updatedReplicas": count,
        "availableReplicas": 0 if image in {BROKEN, SLOW} else count,
        "conditions": [condition] if image == BROKEN else [],
    }


def workload(name: str, image: str, **spec: Any) -> Object:
    made = deepcopy(deployment(replicas=1, **spec))
    made["metadata"]["name"] = name
    container_of(made)["image"] = image
    return made


def stages(
    server: str = GOOD, worker: str = GOOD, more: Sequence[Object] = (), **spec: Any
) -> dict[str, list[Object]]:
    """A platform; its settings say which server they are of."""
    return {
        "configuration": [config(server=server), *more],
        "server": [workload(names.SERVER, server)],
        "platform worker": [workload(names.PLATFORM_WORKER, worker, **spec)],
        "worker": [workload(names.WORKER, worker, **spec)],
    }


def needing(revision: str, wanted: dict[str, list[Object]]) -> dict[str, list[Object]]:
    """The same platform, whose server needs this revision of the database."""
    [server] = wanted["server"]
    server["metadata"]["annotations"] = {names.REVISION_ANNOTATION: revision}
    return wanted


def each_of(wanted: Mapping[str, Sequence[Object]]) -> list[Object]:
    """The objects of all stages."""
    return [each for stage in wanted.values() for each in stage]


def job(image: str = GOOD) -> Object:
    container = {"name": "migration", "image": image}
    about = {"name": "migration-1", "labels": LABELS}
    pod = {"spec": {"containers": [container], "restartPolicy": "Never"}}
    spec = {"activeDeadlineSeconds": 1800, "template": pod}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": about, "spec": spec}


@pytest.fixture
def namespace(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Namespace:
    """Its controllers work while the test waits."""
    monkeypatch.setattr("clinical_ai.steps.cluster.rollout.monotonic", lambda: clock.now)
    made = Namespace()
    clock.then = repeat(made.controllers)
    return made
