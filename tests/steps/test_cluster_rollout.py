"""A rollout is awaited with patience for what may heal, and none for what will not."""

import pickle
from typing import Any

import pytest

from clinical_ai import names
from clinical_ai.errors import Locked, NeedsOperator, TimedOut
from clinical_ai.ports_cluster import Object, Ref
from clinical_ai.steps.cluster.break_glass import Stopped, guarded, stop
from clinical_ai.steps.cluster.job import await_job, watching
from clinical_ai.steps.cluster.lease import cluster_lease
from clinical_ai.steps.cluster.rollout import RolloutFailed, await_rollout, rollout_state
from clinical_ai.steps.runs import Run
from tests.support.clock import Clock
from tests.support.fake_cluster import FakeCluster
from tests.support.objects import deployment

WEB = Ref("apps/v1", "Deployment", "web")
REVISION = "deployment.kubernetes.io/revision"
GONE: Object = {"waiting": {"reason": "ImagePullBackOff", "message": "not found"}}
RUNS: Object = {"running": {}}


@pytest.fixture
def clock(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Clock:
    monkeypatch.setattr("clinical_ai.steps.cluster.rollout.monotonic", lambda: clock.now)
    return clock


class Site:
    """A Kubernetes Deployment with a new and an old ReplicaSet, as its controller shows them."""

    def __init__(self) -> None:
        self.fake = FakeCluster()
        self.cluster = self.fake.open()
        wanted = deployment()
        wanted["metadata"]["annotations"] = {REVISION: "2"}
        self.uid = self.fake.put(wanted)["metadata"]["uid"]
        for revision, name in (("1", "old"), ("2", "new")):
            self.replica_set(name, revision)

    def replica_set(self, name: str, revision: str, **status: Any) -> None:
        """One that the Deployment owns."""
        owner = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": self.uid}
        labels = {"app": "web", "pod-template-hash": name}
        about = {
            "name": name,
            "labels": labels,
            "annotations": {REVISION: revision},
            "ownerReferences": [{**owner, "controller": True}],
        }
        spec = {"selector": {"matchLabels": labels}}
        kind = {"apiVersion": "apps/v1", "kind": "ReplicaSet"}
        self.fake.put(
            {**kind, "metadata": about, "spec": spec, "status": {"replicas": 1, **status}}
        )

    def pod(self, name: str, state: Object, of: str = "new", **more: Any) -> None:
        """One of a ReplicaSet."""
        labels = {"app": "web", "pod-template-hash": of}
        told = {"name": "web", "image": "x:1", "imageID": "", "ready": False, "restartCount": 0}
        status = {"containerStatuses": [{**told, "state": state, **more}]}
        spec = {"containers": [{"name": "web", "image": "x:1"}]}
        kind = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels}}
        self.fake.put({**kind, "spec": spec, "status": status})

    def status(self, **told: Any) -> None:
        """What the controller has seen."""
        generation = self.fake.look("Deployment", "web")["metadata"]["generation"]
        whole = {"observedGeneration": generation, "replicas": 1, "updatedReplicas": 1, **told}
        self.fake.edit("Deployment", "web", "controller", lambda it: it.update(status=whole))

    def wait(self, seconds: float = 100, **more: Any) -> str:
        return await_rollout(self.cluster, WEB, seconds=seconds, **more).summary


@pytest.mark.parametrize(
    ("spec", "status", "summary"),
    [
        ({}, {"observedGeneration": 1}, "its change is not seen yet"),
        ({"replicas": 2}, {"updatedReplicas": 1}, "1 of 2 new pods are made"),
        ({}, {"updatedReplicas": 1, "replicas": 3}, "2 old pods are still there"),
        ({}, {"updatedReplicas": 1, "replicas": 1}, "0 of 1 new pods are available"),
        (
            {"replicas": 2},
            {"updatedReplicas": 2, "replicas": 2, "availableReplicas": 2},
            "2 pods are available",
        ),
        ({"replicas": 0}, {}, "0 pods are available"),
    ],
)
def test_how_far_a_rollout_is(spec: Object, status: Object, summary: str) -> None:
    found = {"metadata": {"generation": 2}, "spec": {"replicas": 1, **spec}}
    state = rollout_state({**found, "status": {"observedGeneration": 2, **status}})
    assert state.summary == summary
    assert state.done is summary[2:].startswith("pods are available")


def test_it_ends_as_soon_as_all_new_pods_are_available(clock: Clock) -> None:
    site = Site()
    site.pod("p", RUNS)
    clock.happens(site.status, lambda: site.status(availableReplicas=1))
    assert site.wait() == "1 pods are available"
    assert clock.slept == 2


def test_what_heals_in_time_is_no_failure(clock: Clock) -> None:
    site = Site()
    site.status()
    site.pod("p", GONE)
    clock.happens(*[lambda: None] * 5, lambda: site.pod("p", RUNS))
    with pytest.raises(TimedOut, match="0 of 1 new pods are available"):
        site.wait(60)


def test_a_rollout_that_somebody_paused_is_not_waited_for(clock: Clock) -> None:
    site = Site()
    site.fake.edit("Deployment", "web", "ann", lambda it: it["spec"].update(paused=True))
    site.status(updatedReplicas=0)
    with pytest.raises(RolloutFailed, match="somebody has paused its roll-outs") as failed:
        site.wait()
    assert "kubectl -n default rollout resume deployment/web" in failed.value.remedy
    assert clock.now < 10


def test_what_stays_wrong_ends_the_wait_with_its_cause(clock: Clock) -> None:
    site = Site()
    site.status()
    site.pod("p", GONE)
    with pytest.raises(RolloutFailed, match="image 'x:1' does not exist in the registry") as failed:
        site.wait(600)
    assert 10 <= clock.now < 15
    assert "Deployment web" in failed.value.problem
    again = pickle.loads(pickle.dumps(failed.value))  # noqa: S301 - our own
    assert (str(again), again.diagnoses) == (str(failed.value), failed.value.diagnoses)


def test_a_deadline_that_has_passed_ends_the_wait_with_the_cause(clock: Clock) -> None:
    site = Site()
    condition = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}
    site.status(conditions=[condition])
    site.pod("p", {"terminated": {"exitCode": 1, "reason": "Error"}})
    with pytest.raises(RolloutFailed, match="ends with exit code 1"):
        site.wait(600)
    assert clock.slept == 0


def test_what_the_controller_told_of_an_earlier_change_ends_no_wait(clock: Clock) -> None:
    site = Site()
    condition = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}
    site.status(conditions=[condition])
    site.pod("p", GONE)
    site.fake.edit("Deployment", "web", "us", lambda it: it["spec"].update(minReadySeconds=3))
    clock.happens(*[lambda: None] * 90, lambda: site.status(availableReplicas=1))
    assert site.wait() == "1 pods are available"


def test_a_name_that_changes_with_each_try_is_the_same_failure(clock: Clock) -> None:
    site = Site()
    site.status()
    ended = {"terminated": {"exitCode": 1, "reason": "Error"}}
    tries = [lambda n=n: site.pod(f"p{n}", ended) for n in range(60)]

    def next_try() -> None:
        for place in [it for it in site.fake.objects.all if it[1] == "Pod"]:
            del site.fake.objects.all[place]
        tries.pop(0)()

    clock.happens(*[next_try] * 60)
    with pytest.raises(RolloutFailed, match="ends with exit code 1"):
        site.wait(600)
    assert 45 <= clock.now < 50


def test_the_last_lines_of_a_container_that_ends_are_told(clock: Clock) -> None:
    site = Site()
    site.status()
    loop = {"waiting": {"reason": "CrashLoopBackOff"}}
    ended = {"terminated": {"exitCode": 1, "reason": "Error"}}
    site.pod("p", loop, lastState=ended, restartCount=3)
    site.fake.logs["p", "web", True] = "".join(f"line {n}\n" for n in range(30))
    with pytest.raises(RolloutFailed) as failed:
        site.wait()
    assert "line 29" in failed.value.problem
    assert "line 14" not in failed.value.problem
    site.fake.denied = {("get", "pods/log")}
    with pytest.raises(RolloutFailed, match="4 times"):
        site.wait()


def test_pods_of_an_old_release_are_no_concern(clock: Clock) -> None:
    site = Site()
    site.status()
    site.pod("p", GONE, of="old")
    site.replica_set("old", "1", conditions=[{"type": "ReplicaFailure", "status": "True"}])
    with pytest.raises(TimedOut):
        site.wait(60)


def test_pods_that_can_not_be_made_are_told_from_the_replica_set(clock: Clock) -> None:
    site = Site()
    site.status(updatedReplicas=0)
    told = {"type": "ReplicaFailure", "status": "True", "message": "exceeded quota: q, used: x"}
    site.replica_set("new", "2", conditions=[told])
    with pytest.raises(RolloutFailed, match="exceed the quota q") as failed:
        site.wait()
    assert "see `kubectl -n default describe quota`; raise it" in failed.value.remedy


def test_an_outage_of_the_server_is_waited_out_and_each_look_beats(clock: Clock) -> None:
    site = Site()
    site.status(availableReplicas=1)
    site.cluster.get(WEB)
    site.fake.down = True
    beats: list[float] = []
    clock.happens(lambda: None, lambda: setattr(site.fake, "down", False))
    site.wait(beat=lambda: beats.append(clock.now))
    assert len(beats) == 3


def test_an_outage_of_the_server_is_waited_out_when_the_guard_meets_it(clock: Clock) -> None:
    site, work = Site(), Work()
    for fake in (site.fake, work.fake):
        fake.down = True
    clock.happens(
        lambda: setattr(site.fake, "down", False), lambda: site.status(availableReplicas=1)
    )
    site.wait(beat=guarded(site.cluster))
    clock.happens(lambda: setattr(work.fake, "down", False), lambda: work.ended("Complete"))
    await_job(work.cluster, "work", seconds=60, beat=guarded(work.cluster))


def test_self_management_that_is_stopped_ends_the_wait(clock: Clock) -> None:
    site = Site()
    clock.happens(lambda: stop(site.cluster, "ann", "incident 12"))
    with pytest.raises(Stopped, match="incident 12"):
        site.wait(beat=guarded(site.cluster))
    assert clock.slept == 1


def test_a_lease_that_is_lost_ends_the_wait(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clinical_ai.steps.cluster.lease.monotonic", lambda: clock.now)
    site = Site()
    taken = {"holderIdentity": "bob"}
    with cluster_lease(site.cluster, "ann") as lease:
        clock.happens(
            lambda: site.fake.edit(
                "Lease", names.CLUSTER_LEASE, "bob", lambda it: it["spec"].update(taken)
            )
        )
        with pytest.raises(Locked, match="lost to bob"):
            site.wait(beat=guarded(site.cluster, lease.renew))
    assert clock.now < 20


def test_a_deployment_that_somebody_deletes_meanwhile_is_told_and_no_longer_waited_for(
    clock: Clock,
) -> None:
    site = Site()
    clock.happens(lambda: site.cluster.delete(WEB, uid=site.uid))
    with pytest.raises(NeedsOperator, match=r"Deployment web was deleted while .* run this again"):
        site.wait()
    assert clock.slept == 1


class Work:
    """A Job named work, as its controller shows it."""

    def __init__(self) -> None:
        self.fake = FakeCluster()
        self.cluster = self.fake.open()
        self.job({"active": 1})

    def job(self, status: Object) -> None:
        spec = {"containers": [{"name": "work", "image": "x:1"}], "restartPolicy": "Never"}
        about = {"name": "work", "labels": {"prefect.io/flow-run-id": "of-a-run"}}
        kind = {"apiVersion": "batch/v1", "kind": "Job", "metadata": about}
        self.fake.put({**kind, "spec": {"template": {"spec": spec}}, "status": status})

    def ended(self, kind: str, **more: Any) -> None:
        self.job({"conditions": [{"type": kind, "status": "True", **more}]})

    def pod(self, name: str, log: str = "", label: str = "job-name", **status: Any) -> None:
        about = {"name": name, "labels": {label: "work"}}
        spec = {"containers": [{"name": "work", "image": "x:1"}]}
        kind = {"apiVersion": "v1", "kind": "Pod", "metadata": about}
        self.fake.put({**kind, "spec": spec, "status": status})
        if log:
            self.fake.logs[name, "work", False] = log


@pytest.mark.parametrize("label", ["job-name", "batch.kubernetes.io/job-name"])
def test_a_job_that_succeeds_gives_its_last_lines(clock: Clock, label: str) -> None:
    work = Work()
    work.pod("p", "first\nsecond\n", label)
    clock.happens(lambda: work.ended("Complete"))
    assert await_job(work.cluster, "work", seconds=60, tail=1) == "second"


def test_a_job_that_fails_tells_why_with_its_last_lines(clock: Clock) -> None:
    work = Work()
    work.pod("p", "no database\n", phase="Failed")
    work.ended("Failed", reason="BackoffLimitExceeded")
    with pytest.raises(RolloutFailed, match="Job work has failed") as failed:
        await_job(work.cluster, "work", seconds=60)
    assert "BackoffLimitExceeded" in failed.value.problem
    assert "no database" in failed.value.problem


def test_a_job_whose_work_did_not_begin_tells_what_stood_before_it(clock: Clock) -> None:
    work = Work()
    told = {"name": "first", "image": "x:1", "imageID": "", "ready": False, "restartCount": 0}
    ended = {"terminated": {"exitCode": 128, "message": "no such program"}}
    work.pod("p", phase="Failed", initContainerStatuses=[{**told, "state": ended}])
    work.fake.edit(
        "Pod", "p", "a", lambda it: it["spec"].update(initContainers=[{"name": "first"}])
    )
    work.fake.logs["p", "first", False] = "not let in\n"
    work.ended("Failed", reason="BackoffLimitExceeded")
    with pytest.raises(RolloutFailed, match="container first: no such program") as failed:
        await_job(work.cluster, "work", seconds=60)
    assert "not let in" in failed.value.problem


def test_what_does_not_let_a_job_begin_is_told_with_its_last_lines(clock: Clock) -> None:
    work = Work()
    told = {"name": "first", "image": "x:1", "imageID": "", "ready": False, "restartCount": 0}
    work.pod("p", phase="Pending", initContainerStatuses=[{**told, "state": RUNS}])
    work.fake.logs["p", "first", False] = "permission denied\n"
    with pytest.raises(RolloutFailed, match="container first of pod p does not let its work begin"):
        await_job(work.cluster, "work", seconds=120)


def test_a_sidecar_that_starts_first_lets_the_work_begin(clock: Clock) -> None:
    work = Work()
    told = {"name": "mesh", "image": "x:1", "imageID": "", "ready": True, "restartCount": 0}
    work.pod("p", phase="Running", initContainerStatuses=[{**told, "state": RUNS}])
    beside = {"name": "mesh", "restartPolicy": "Always"}
    work.fake.edit("Pod", "p", "a", lambda it: it["spec"].update(initContainers=[beside]))
    with pytest.raises(TimedOut, match="1 active"):
        await_job(work.cluster, "work", seconds=120)


def test_a_failed_try_of_a_job_is_followed_by_the_next(clock: Clock) -> None:
    work = Work()
    ended = {"terminated": {"exitCode": 1, "reason": "Error"}}
    told = {"name": "work", "image": "x", "imageID": "", "ready": False, "restartCount": 0}
    work.pod("p1", phase="Failed", containerStatuses=[{**told, "state": ended}])
    with pytest.raises(TimedOut, match="1 active"):
        await_job(work.cluster, "work", seconds=120)


def test_a_job_whose_pod_can_not_start_is_told_before_its_time_is_up(clock: Clock) -> None:
    work = Work()
    told = {"name": "work", "image": "x:1", "imageID": "", "ready": False, "restartCount": 0}
    work.pod("p1", phase="Pending", containerStatuses=[{**told, "state": GONE}])
    with pytest.raises(RolloutFailed, match="Job work does not come up: image 'x:1' does not"):
        await_job(work.cluster, "work", seconds=120)


def test_a_run_whose_pod_can_not_start_is_told_to_whoever_follows_it(clock: Clock) -> None:
    """Not before there has been time to heal, and not of one that runs, or of another."""
    work = Work()
    told = {"name": "work", "image": "x:1", "imageID": "", "ready": False, "restartCount": 0}
    work.pod("p1", phase="Pending", containerStatuses=[{**told, "state": GONE}])
    watch = watching(work.cluster)

    def run(of: str, state: str) -> Run:
        return Run(of, "tidy-heron", state, "", None, {})

    watch(run("of-a-run", "PENDING"))
    clock.now += 60
    watch(run("of-a-run", "RUNNING"))
    watch(run("of-another", "PENDING"))
    with pytest.raises(RolloutFailed, match="Job work of run tidy-heron does not come up: image"):
        watch(run("of-a-run", "PENDING"))
