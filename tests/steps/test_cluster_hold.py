"""While a worker is replaced its pool hands out no run, and a kill leaves no pool held."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from itertools import repeat
from typing import Any

import pytest

from clinical_ai import names
from clinical_ai.errors import PlatformError, TimedOut, Transient
from clinical_ai.plans import Stage
from clinical_ai.ports_cluster import Object, Ref
from clinical_ai.steps.cluster.deploy import deploy
from clinical_ai.steps.cluster.hold import finish_abandoned_hold, finish_hold
from clinical_ai.steps.cluster.inventory import read_inventory
from clinical_ai.steps.cluster.lease import cluster_lease, find_holder
from clinical_ai.steps.cluster.rollout import RolloutFailed
from clinical_ai.steps.roll import new_journal
from tests.support.clock import Clock
from tests.support.deploying import BETTER, BROKEN, GOOD, OURS, Namespace, job, stages, workload
from tests.support.fake_cluster import Request
from tests.support.objects import config
from tests.support.sleeping_runs import runs_without_process, sleeping_runs


class Killed(BaseException):
    """What SIGKILL is to a process: nothing catches it."""


class Later:
    """The controllers' world, in which `then` comes at the fifth look at which `due` holds."""

    def __init__(
        self, namespace: Namespace, due: Callable[[], bool], then: Callable[[], object]
    ) -> None:
        self._namespace, self._due, self._then = namespace, due, then
        self._left = 5

    def __call__(self) -> None:
        self._namespace.controllers()
        self._left -= self._due()
        if not self._left:
            self._then()


@pytest.mark.parametrize(
    ("name", "paused"),
    [(names.WORKER, [True, False]), (names.PLATFORM_WORKER, [False, True])],
)
def test_a_pool_is_held_while_its_worker_is_replaced_and_open_afterwards(
    namespace: Namespace, name: str, paused: list[bool]
) -> None:
    deploy(namespace.site(), stages())
    seen = namespace.seen_at_writes(name)
    deploy(namespace.site(), stages(worker=BETTER))
    assert seen == [(paused, Stage.HELD)]
    assert namespace.images()[1:] == [BETTER, BETTER]
    assert (namespace.paused(), namespace.stage()) == ([False, False], Stage.DONE)


def test_a_pool_that_was_paused_by_hand_stays_paused(namespace: Namespace) -> None:
    deploy(namespace.site(), stages())
    namespace.prefect.pools[names.POOL]["is_paused"] = True
    deploy(namespace.site(), stages(worker=BETTER))
    assert namespace.image(names.WORKER) == BETTER
    assert namespace.paused() == [True, False]


def test_runs_of_the_clinical_pool_end_before_their_worker_is_replaced(
    namespace: Namespace, clock: Clock
) -> None:
    deploy(namespace.site(), stages())
    run = namespace.run(names.POOL)

    def is_held() -> bool:
        return namespace.stage() is Stage.HELD and namespace.paused()[0]

    def ends() -> None:
        assert namespace.image(names.WORKER) == GOOD
        namespace.end(run)

    clock.then = repeat(Later(namespace, is_held, ends))
    deploy(namespace.site(drain_seconds=60), stages(worker=BETTER))
    assert namespace.image(names.WORKER) == BETTER


def test_a_run_whose_worker_had_asked_before_the_hold_ends_before_it_is_replaced(
    namespace: Namespace, clock: Clock
) -> None:
    deploy(namespace.site(), stages())
    run, left = "", 12

    def is_seen_late() -> None:
        nonlocal run, left
        namespace.controllers()
        left -= namespace.stage() is Stage.HELD and namespace.paused()[0]
        if left == 5 and not run:
            run = namespace.run(names.POOL)
        if left == 0:
            assert namespace.image(names.WORKER) == GOOD
            namespace.end(run)

    clock.then = repeat(is_seen_late)
    deploy(namespace.site(drain_seconds=60), stages(worker=BETTER))
    assert run
    assert namespace.image(names.WORKER) == BETTER


def test_runs_that_do_not_end_keep_their_worker_and_are_named(namespace: Namespace) -> None:
    deploy(namespace.site(), stages())
    namespace.run(names.POOL)
    with pytest.raises(TimedOut, match="a-long-run"):
        deploy(namespace.site(drain_seconds=60), stages(worker=BETTER))
    assert namespace.image(names.WORKER) == GOOD
    assert namespace.paused() == [False, False]


def test_no_pool_hands_out_a_run_while_the_server_is_replaced(namespace: Namespace) -> None:
    deploy(namespace.site(), stages())
    seen = namespace.seen_at_writes(names.SERVER)
    deploy(namespace.site(), stages(server=BETTER))
    assert seen == [([True, True], Stage.HELD)]
    assert namespace.image(names.SERVER) == BETTER
    assert (namespace.paused(), namespace.stage()) == ([False, False], Stage.DONE)


@pytest.mark.parametrize("begins", [True, False])
@pytest.mark.parametrize(
    ("stage", "name"), [("server", names.SERVER), ("platform worker", names.PLATFORM_WORKER)]
)
def test_runs_that_were_taken_have_begun_before_the_server_or_their_worker_is_replaced(
    namespace: Namespace, clock: Clock, begins: bool, stage: str, name: str
) -> None:
    """A server would not know of their slots, a worker not of them. Who can't begin stops none."""
    deploy(namespace.site(), stages())
    run = namespace.run(names.PLATFORM_POOL)
    pending = {"state": {"type": "PENDING"}, "force": True}
    namespace.prefect.post(f"/flow_runs/{run}/set_state", pending)
    began = clock.now

    def is_held() -> bool:
        return begins and namespace.paused()[1] and namespace.stage() is Stage.HELD

    def begin() -> None:
        assert namespace.image(name) == GOOD
        running = {"state": {"type": "RUNNING"}, "force": True}
        namespace.prefect.post(f"/flow_runs/{run}/set_state", running)

    clock.then = repeat(Later(namespace, is_held, begin))
    deploy(namespace.site(), {**stages(), stage: [workload(name, BETTER)]})
    assert namespace.image(name) == BETTER
    assert (clock.now - began > 60) is not begins


@pytest.mark.parametrize("stops", [True, False])
def test_the_server_of_before_has_stopped_before_pools_are_open_again(
    namespace: Namespace, clock: Clock, stops: bool
) -> None:
    """Each may keep leases of its own. One on a node that is gone never stops."""
    deploy(namespace.site(), stages())
    space, ref = namespace.cluster.namespace, Ref("v1", "Pod", "old")
    about: Any = {"name": "old", "namespace": space, "labels": {"app": names.SERVER}}
    about["finalizers"] = ["stops"]  # as long as a pod stops, it is there
    old = namespace.fake.put({"apiVersion": "v1", "kind": "Pod", "metadata": about})
    namespace.cluster.delete(ref, uid=old["metadata"]["uid"])
    began = clock.now

    def is_replaced() -> bool:
        return stops and namespace.image(names.SERVER) == BETTER

    def stop() -> None:
        assert namespace.paused() == [True, True]
        gone: dict[str, list[str]] = {"finalizers": []}
        namespace.fake.edit("Pod", "old", "kubelet", lambda it: it["metadata"].update(gone))

    clock.then = repeat(Later(namespace, is_replaced, stop))
    deploy(namespace.site(), stages(server=BETTER))
    assert namespace.paused() == [False, False]
    assert (namespace.cluster.find(ref) is None) is stops
    assert (clock.now - began > 60) is not stops


def test_pools_are_open_again_as_soon_as_the_new_server_answers(
    namespace: Namespace, clock: Clock
) -> None:
    """A port that is forwarded to the one before is cut, and moves."""
    deploy(namespace.site(), stages())

    def fall(asked: Request) -> None:
        if asked.name == names.SERVER:
            namespace.prefect.down = True

    def answer() -> None:
        namespace.prefect.down = False

    namespace.fake.on_write = fall
    clock.then = repeat(Later(namespace, lambda: namespace.prefect.down, answer))
    deploy(namespace.site(), stages(server=BETTER))
    assert namespace.image(names.SERVER) == BETTER
    assert (namespace.paused(), namespace.stage()) == ([False, False], Stage.DONE)


def test_a_server_that_never_answers_again_is_told_and_takes_nothing_back(
    namespace: Namespace,
) -> None:
    namespace.stand()

    def fall(asked: Request) -> None:
        if asked.name == names.SERVER:
            namespace.prefect.down = True

    namespace.fake.on_write = fall
    with pytest.raises(Transient):
        deploy(namespace.site(), stages(server=BETTER))
    assert namespace.image(names.SERVER) == BETTER
    assert namespace.stage() is Stage.HELD


def test_a_bad_server_has_stopped_before_pools_are_open_again(
    namespace: Namespace, clock: Clock
) -> None:
    """It may have been ready for a while, and have given slots, before it was taken back."""
    namespace.stand()
    space = namespace.cluster.namespace
    about: Any = {"name": "bad", "namespace": space, "labels": {"app": names.SERVER}}
    about["finalizers"] = ["stops"]
    bad = namespace.fake.put({"apiVersion": "v1", "kind": "Pod", "metadata": about})

    def goes(asked: Request) -> None:
        if asked.name == names.SERVER and namespace.image(names.SERVER) == BETTER:
            namespace.cluster.delete(Ref("v1", "Pod", "bad"), uid=bad["metadata"]["uid"])

    def is_put_back() -> bool:
        return namespace.image(names.SERVER) == GOOD

    seen: list[list[bool]] = []

    def stop() -> None:
        seen.append(namespace.paused())
        gone: dict[str, list[str]] = {"finalizers": []}
        namespace.fake.edit("Pod", "bad", "kubelet", lambda it: it["metadata"].update(gone))

    namespace.fake.on_write = goes
    wanted = stages(server=BETTER, worker=BROKEN)
    clock.then = repeat(Later(namespace, is_put_back, stop))
    with pytest.raises(RolloutFailed):
        deploy(namespace.site(), wanted)
    assert seen == [[True, True]]
    assert namespace.paused() == [False, False]


@pytest.mark.parametrize("state", ["AwaitingRetry", "Paused"])
def test_a_run_that_sleeps_in_its_process_keeps_its_worker_until_it_ends(
    namespace: Namespace, clock: Clock, state: str
) -> None:
    deploy(namespace.site(), stages())
    runs_without_process(namespace.prefect, names.POOL)
    asleep = sleeping_runs(namespace.prefect, names.POOL)
    run = asleep.pop(state)
    namespace.end(*asleep.values())
    with pytest.raises(TimedOut, match=rf"\({state}\)"):
        deploy(namespace.site(drain_seconds=60), stages(worker=BETTER))
    assert namespace.image(names.WORKER) == GOOD

    def goes_on_and_ends() -> None:
        assert namespace.image(names.WORKER) == GOOD
        namespace.end(run)

    clock.then = repeat(Later(namespace, lambda: namespace.paused()[0], goes_on_and_ends))
    deploy(namespace.site(drain_seconds=60), stages(worker=BETTER))
    assert namespace.image(names.WORKER) == BETTER


def test_the_guard_is_called_while_runs_are_waited_for(namespace: Namespace) -> None:
    """As a lease runs out that nobody renews, and another one would take it."""
    deploy(namespace.site(), stages())
    namespace.run(names.POOL)
    namespace.beats = 0
    with pytest.raises(TimedOut):
        deploy(namespace.site(drain_seconds=600), stages(worker=BETTER))
    assert namespace.beats > 100


def test_runs_of_the_platforms_pool_live_on_without_their_worker(namespace: Namespace) -> None:
    deploy(namespace.site(), stages())
    namespace.run(names.PLATFORM_POOL)
    deploy(namespace.site(drain_seconds=0), stages(worker=BETTER))
    assert namespace.image(names.PLATFORM_WORKER) == BETTER


def test_a_change_that_replaces_no_pod_holds_no_pool(namespace: Namespace) -> None:
    deploy(namespace.site(), stages())
    seen = namespace.seen_at_writes(names.WORKER)
    deploy(namespace.site(), stages(minReadySeconds=5))
    assert seen == [([False, False], None)]


def test_without_a_server_there_is_nothing_to_hold(namespace: Namespace) -> None:
    deploy(namespace.site(api=None), stages())
    deploy(namespace.site(api=None), stages(worker=BETTER))
    assert namespace.image(names.WORKER) == BETTER
    assert namespace.stage() is None


def test_a_pool_that_is_not_there_needs_no_hold(namespace: Namespace) -> None:
    deploy(namespace.site(), stages())
    del namespace.prefect.pools[names.POOL]
    deploy(namespace.site(), stages(worker=BETTER))
    assert namespace.image(names.WORKER) == BETTER


def test_an_outage_of_prefect_hides_no_bad_rollout_and_keeps_nothing_from_being_put_back(
    namespace: Namespace,
) -> None:
    namespace.stand()

    def fall(asked: Request) -> None:
        if asked.name == names.WORKER:
            namespace.prefect.down = True

    namespace.fake.on_write = fall
    wanted = {**stages(), "worker": [workload(names.WORKER, BROKEN)]}
    with pytest.raises(RolloutFailed):
        deploy(namespace.site(), wanted)
    assert namespace.image(names.WORKER) == GOOD
    namespace.prefect.down = False
    assert namespace.paused() == [True, False]
    deploy(namespace.site(), stages())
    assert namespace.paused() == [False, False]


def test_runs_that_a_bad_worker_took_end_before_it_is_put_back(
    namespace: Namespace, clock: Clock
) -> None:
    """One of its pods may work, and poll as soon as it is there."""
    namespace.stand()
    run, left = "", 5

    def takes_one_that_ends_after_a_while() -> None:
        nonlocal run, left
        namespace.controllers()
        if namespace.image(names.WORKER) == BROKEN and not run:
            run = namespace.run(names.POOL)
        left -= bool(run)
        if not left:
            assert namespace.image(names.WORKER) == BROKEN
            assert namespace.paused() == [True, False]
            namespace.end(run)

    clock.then = repeat(takes_one_that_ends_after_a_while)
    wanted = {**stages(), "worker": [workload(names.WORKER, BROKEN)]}
    with pytest.raises(RolloutFailed):
        deploy(namespace.site(drain_seconds=60), wanted)
    assert left <= 0
    assert namespace.image(names.WORKER) == GOOD
    assert namespace.paused() == [False, False]


def test_a_bad_worker_whose_runs_do_not_end_stays_and_cuts_none(
    namespace: Namespace, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    namespace.stand()

    def takes_one() -> None:
        namespace.controllers()
        if namespace.image(names.WORKER) == BROKEN and not namespace.prefect.runs:
            namespace.run(names.POOL)

    clock.then = repeat(takes_one)
    wanted = {**stages(), "worker": [workload(names.WORKER, BROKEN)]}
    with pytest.raises(RolloutFailed):
        deploy(namespace.site(drain_seconds=60), wanted)
    assert namespace.image(names.WORKER) == BROKEN
    assert f"Deployment {names.WORKER} could not be put back" in caplog.text
    assert "a-long-run" in caplog.text
    assert namespace.paused() == [False, False]


# What Prefect is asked to do when a run ends that holds a pool.


def promised(namespace: Namespace) -> list[tuple[str, str]]:
    """Which pools are opened when which events of runs come."""
    ids = {row["id"]: name for name, row in namespace.prefect.pools.items()}
    return [
        (ids[each["actions"][0]["work_pool_id"]], each["trigger"]["match"]["prefect.resource.id"])
        for each in namespace.prefect.automations.values()
    ]


def test_a_pool_is_opened_at_the_end_of_the_run_that_holds_it(namespace: Namespace) -> None:
    deploy(namespace.site(), stages())
    seen = []
    namespace.fake.on_write = lambda asked: (
        seen.append(promised(namespace)) if asked.name in names.WORKERS.values() else None
    )
    deploy(namespace.site(run="one"), stages(worker=BETTER))
    promises = [[(pool, "prefect.flow-run.one")] for pool in (names.PLATFORM_POOL, names.POOL)]
    assert seen == promises
    assert promised(namespace) == []


def test_it_is_asked_for_before_the_pool_is_held(
    namespace: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    deploy(namespace.site(), stages())
    order = []
    change = namespace.prefect.patch

    def note(path: str, body: Any) -> Any:
        order.append((path, promised(namespace)))
        return change(path, body)

    monkeypatch.setattr(namespace.prefect, "patch", note)
    deploy(namespace.site(run="one"), stages(worker=BETTER))
    promise = (names.PLATFORM_POOL, "prefect.flow-run.one")
    assert order[0] == (f"/work_pools/{names.PLATFORM_POOL}", [promise])


def test_a_pool_that_was_paused_by_hand_is_not_opened_at_the_end_of_a_run(
    namespace: Namespace,
) -> None:
    deploy(namespace.site(), stages())
    for name in (names.POOL, names.PLATFORM_POOL):
        namespace.prefect.pools[name]["is_paused"] = True
    seen = []
    namespace.fake.on_write = lambda _: seen.append(promised(namespace))
    deploy(namespace.site(run="one"), stages(worker=BETTER))
    assert set(map(tuple, seen)) == {()}


def test_whoever_is_no_run_asks_for_nothing(namespace: Namespace) -> None:
    deploy(namespace.site(), stages())
    seen = []
    namespace.fake.on_write = lambda _: seen.append(promised(namespace))
    deploy(namespace.site(), stages(worker=BETTER))
    assert set(map(tuple, seen)) == {()}


# A kill in between.


def die(namespace: Namespace) -> None:
    """A process that deploys is gone: it does nothing any more."""
    namespace.prefect.down = namespace.fake.down = True
    raise Killed


def deploy_until_killed(namespace: Namespace, wanted: Mapping[str, Sequence[Object]]) -> None:
    """A flow run of the id `killed` deploys, and dies in between; then the world goes on."""
    with suppress(Killed, Transient):
        deploy(namespace.site(run="killed"), wanted)
    assert namespace.prefect.down
    namespace.prefect.down = namespace.fake.down = False
    namespace.fake.on_write = lambda _: None


def killed_at_writes_of(namespace: Namespace, name: str, **wanted: str) -> None:
    """It dies when it would write this object."""
    namespace.fake.on_write = lambda asked: die(namespace) if asked.name == name else None
    deploy_until_killed(namespace, stages(**wanted))


def test_pools_that_a_killed_run_held_are_open_after_the_next(namespace: Namespace) -> None:
    deploy(namespace.site(), stages())
    killed_at_writes_of(namespace, names.WORKER, worker=BETTER)
    assert (namespace.paused(), namespace.stage()) == ([True, False], Stage.HELD)
    assert promised(namespace) == [(names.POOL, "prefect.flow-run.killed")]
    finish_hold(namespace.records, namespace.prefect)
    assert (namespace.paused(), namespace.stage()) == ([False, False], Stage.DONE)
    assert promised(namespace) == []
    namespace.prefect.pools[names.POOL]["is_paused"] = True  # by hand, after that
    finish_hold(namespace.records, namespace.prefect)
    assert namespace.paused() == [True, False]


def test_a_pool_that_was_paused_by_hand_after_prefect_opened_it_stays_so(
    namespace: Namespace,
) -> None:
    deploy(namespace.site(), stages())
    killed_at_writes_of(namespace, names.WORKER, worker=BETTER)
    namespace.prefect.ends("killed")
    assert (namespace.paused(), namespace.stage()) == ([False, False], Stage.HELD)
    namespace.prefect.pools[names.POOL]["is_paused"] = True
    deploy(namespace.site(run="next"), stages(worker=BETTER))
    assert namespace.image(names.WORKER) == BETTER
    assert namespace.paused() == [True, False]
    assert promised(namespace) == []


@pytest.mark.parametrize("last", ["lifted the pool", "closed the journal", "removed the promise"])
def test_a_pool_that_was_paused_by_hand_after_a_kill_at_the_end_of_a_hold_stays_so(
    namespace: Namespace, monkeypatch: pytest.MonkeyPatch, last: str
) -> None:
    deploy(namespace.site(), stages())
    remove = namespace.prefect.delete

    def closes(asked: Request) -> None:
        if asked.name == names.JOURNAL and namespace.stage() is Stage.HELD:
            die(namespace)

    def removes(path: str) -> None:
        if last == "removed the promise":
            remove(path)
        die(namespace)

    with monkeypatch.context() as patch:
        if last == "lifted the pool":
            namespace.fake.on_write = closes
        else:
            patch.setattr(namespace.prefect, "delete", removes)
        deploy_until_killed(namespace, stages(worker=BETTER))
    assert namespace.paused() == [False, False]
    namespace.prefect.ends("killed")
    namespace.prefect.pools[names.PLATFORM_POOL]["is_paused"] = True
    deploy(namespace.site(run="next"), stages(worker=BETTER))
    assert namespace.paused() == [False, True]


def test_what_a_killed_run_has_left_promised_tells_nothing_of_the_next_hold(
    namespace: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    deploy(namespace.site(), stages())
    with monkeypatch.context() as patch:
        patch.setattr(namespace.prefect, "delete", lambda _: die(namespace))
        deploy_until_killed(namespace, stages(worker=BETTER))
    namespace.prefect.ends("killed")
    killed_at_writes_of(namespace, names.WORKER, worker=BETTER)
    assert namespace.paused() == [True, False]
    finish_hold(namespace.records, namespace.prefect)
    assert (namespace.paused(), namespace.stage()) == ([False, False], Stage.DONE)


def test_a_hold_whose_pool_is_open_or_gone_is_closed(namespace: Namespace) -> None:
    journal = new_journal("a worker is replaced").held({names.POOL: False})
    for _ in range(2):
        namespace.records.write_journal(journal)
        finish_hold(namespace.records, namespace.prefect)
        assert namespace.stage() is Stage.DONE
        namespace.prefect.pools.pop(names.POOL, None)


def test_a_hold_is_finished_by_whoever_starts_a_run_when_its_holder_is_dead(
    namespace: Namespace, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As no run of a held pool begins, also none that would open it."""
    monkeypatch.setattr("clinical_ai.steps.cluster.lease.monotonic", lambda: clock.now)
    deploy(namespace.site(), stages())
    killed_at_writes_of(namespace, names.WORKER, worker=BETTER)
    with cluster_lease(namespace.cluster, "whoever lives") as lease:

        def renew() -> None:
            namespace.controllers()
            lease.renew()

        clock.then = repeat(renew)
        finish_abandoned_hold(namespace.cluster, namespace.prefect, "ann")
        assert (namespace.paused(), namespace.stage()) == ([True, False], Stage.HELD)
    finish_abandoned_hold(namespace.cluster, namespace.prefect, "ann")
    assert (namespace.paused(), namespace.stage()) == ([False, False], Stage.DONE)
    assert find_holder(namespace.cluster) is None


def test_without_a_hold_whoever_starts_a_run_writes_nothing(namespace: Namespace) -> None:
    deploy(namespace.site(), stages())
    namespace.fake.requests.clear()
    finish_abandoned_hold(namespace.cluster, namespace.prefect, "ann")
    assert namespace.fake.writes == []


@pytest.mark.parametrize(
    ("stage", "name", "held"),
    [
        ("server", names.SERVER, (True, True)),
        ("platform worker", names.PLATFORM_WORKER, (False, True)),
        ("worker", names.WORKER, (True, False)),
    ],
)
def test_pools_are_held_while_a_replacement_ends_that_a_kill_left_to_kubernetes(
    namespace: Namespace, clock: Clock, stage: str, name: str, held: tuple[bool, bool]
) -> None:
    deploy(namespace.site(), stages())
    wanted = {**stages(), stage: [workload(name, BETTER)]}
    clock.then = repeat(lambda: namespace.image(name) == BETTER and die(namespace))
    deploy_until_killed(namespace, wanted)
    namespace.prefect.ends("killed")
    assert (namespace.image(name), namespace.paused()) == (BETTER, [False, False])
    namespace.run(names.POOL)  # Kubernetes ends it, or has ended it, whoever waits
    seen = set()

    def look() -> None:
        seen.add(tuple(namespace.paused()))
        namespace.controllers()

    clock.then = repeat(look)
    deploy(namespace.site(run="next"), wanted)
    assert seen == {held}
    assert (namespace.paused(), namespace.stage()) == ([False, False], Stage.DONE)


@pytest.mark.parametrize(("old", "held"), [(1, True), (0, False)])
def test_what_is_not_up_holds_pools_only_while_pods_of_before_are_there(
    namespace: Namespace, clock: Clock, old: int, held: bool
) -> None:
    """A server that is ill, or alone on a node that is gone, may not even answer."""
    deploy(namespace.site(), stages())
    status = {"replicas": 1 + old, "availableReplicas": old}
    namespace.fake.edit(
        "Deployment", names.SERVER, "controller", lambda it: it["status"].update(status)
    )
    seen = []

    def look() -> None:
        seen.append(namespace.paused())
        namespace.controllers()

    clock.then = repeat(look)
    deploy(namespace.site(), stages())
    assert seen == [[held, held]]
    assert namespace.paused() == [False, False]


def test_a_pool_that_was_paused_by_hand_stays_so_after_a_kill(namespace: Namespace) -> None:
    deploy(namespace.site(), stages())
    namespace.prefect.pools[names.POOL]["is_paused"] = True
    killed_at_writes_of(namespace, names.WORKER, worker=BETTER)
    deploy(namespace.site(), stages(worker=BETTER))
    assert namespace.image(names.WORKER) == BETTER
    assert namespace.paused() == [True, False]


@pytest.mark.parametrize("after", range(14))
def test_a_kill_before_any_write_is_healed_by_the_next_run(
    namespace: Namespace, after: int
) -> None:
    deploy(namespace.site(), stages(more=[config("old")]), job())
    namespace.fake.requests.clear()

    def dies(_: Request) -> None:
        if len(namespace.fake.writes) > after:
            namespace.prefect.down = namespace.fake.down = True
            raise Killed

    namespace.fake.on_write = dies
    wanted = stages(BETTER, BETTER, more=[config("new")])
    with suppress(Killed, PlatformError):
        deploy(namespace.site(), wanted)
    namespace.prefect.down = namespace.fake.down = False
    namespace.fake.on_write = lambda _: None
    deploy(namespace.site(), wanted)
    assert namespace.images() == [BETTER] * 3
    assert (namespace.data("old"), namespace.data("new")) == (None, {})
    assert namespace.paused() == [False, False]
    assert set(read_inventory(namespace.cluster, OURS).uids) == {
        Ref.of(each) for it in wanted.values() for each in it
    }
