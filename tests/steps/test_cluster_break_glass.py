"""One switch stops every write, and says who pulled it."""

from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import replace
from functools import partial
from itertools import count, repeat
from typing import Any, Final

import pytest
from prefect import Task

import flows.deploy
import flows.register
from clinical_ai import names
from clinical_ai.change import Did
from clinical_ai.errors import PlatformError
from clinical_ai.plans import Stage
from clinical_ai.ports_cluster import Ref
from clinical_ai.steps.cluster.break_glass import Stopped, find_stop, guarded, resume, stop
from clinical_ai.steps.cluster.ensure import ensure_objects
from clinical_ai.steps.cluster.hold import finish_abandoned_hold
from clinical_ai.steps.cluster.lease import find_holder
from clinical_ai.steps.cluster.rollout import RolloutFailed
from clinical_ai.steps.cluster.status import see
from clinical_ai.steps.cluster.uninstall import Options, Removal, plan_removal, remove
from clinical_ai.steps.orchestration import ensure_pools
from clinical_ai.steps.registration import read_plan
from clinical_ai.steps.registration_lease import Unfinished
from clinical_ai.wiring_cluster import ClusterPlatform
from tests.support.clock import Clock
from tests.support.fake_cluster import FakeCluster, Request
from tests.support.fakes import MemorySecrets
from tests.support.installed import Installed, Prepare
from tests.support.kubernetes_examples import RELEASE
from tests.support.objects import config
from tests.support.switch import REASON, Switch
from tests.support.world import World

LATER: Final = replace(RELEASE, image=RELEASE.image.replace("0", "f"))


def test_a_stop_lets_nothing_be_written_until_it_is_taken_back(world: World) -> None:
    cluster, guard = world.api, guarded(world.api)
    assert find_stop(cluster) is None
    assert stop(cluster, "ann", "incident 12").did is Did.STOPPED
    assert "incident 12 (ann, 20" in str(find_stop(cluster))
    with pytest.raises(Stopped, match="incident 12") as refused:
        ensure_objects(cluster, [config(a="1")], write=True, guard=guard)
    delete = f"kubectl delete configmap {names.BREAK_GLASS} -n {cluster.namespace}"
    assert delete in refused.value.remedy
    assert cluster.find(Ref("v1", "ConfigMap", "settings")) is None
    assert resume(cluster).wrote
    assert ensure_objects(cluster, [config(a="1")], write=True, guard=guard)[0].did is Did.CREATED


def test_a_stop_between_two_writes_stops_the_second() -> None:
    fake = FakeCluster()
    cluster = fake.open()
    guard = guarded(cluster, lambda: stop(cluster, "ann", "now") and None)
    wanted = [config("a"), config("b")]
    with pytest.raises(Stopped):
        ensure_objects(cluster, wanted, write=True, guard=guard)
    assert cluster.find(Ref("v1", "ConfigMap", "a"))
    assert cluster.find(Ref("v1", "ConfigMap", "b")) is None


def test_looking_is_allowed_while_stopped(world: World) -> None:
    stop(world.api, "ann", "x")
    guard = guarded(world.api)
    changes = ensure_objects(world.api, [config(a="1")], write=False, guard=guard)
    assert changes[0].did is Did.CREATED


def test_the_first_reason_stays_and_a_bare_key_stops_too(world: World) -> None:
    stop(world.api, "ann", "first")
    assert stop(world.api, "bob", "second").did is Did.UNCHANGED
    assert "first (ann" in str(find_stop(world.api))
    assert resume(world.api).wrote
    assert resume(world.api).did is Did.UNCHANGED
    bare = {"name": names.BREAK_GLASS}
    switch = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": bare, "data": {"other": "x"}}
    world.api.create(switch)
    assert find_stop(world.api) is None
    world.api.patch(Ref("v1", "ConfigMap", names.BREAK_GLASS), {"data": {"stop": ""}})
    assert find_stop(world.api) == "no reason given"


@pytest.mark.parametrize("fault", ["down", "denied"])
def test_a_switch_that_cannot_be_read_stops_too(fault: str) -> None:
    fake = FakeCluster()
    guard = guarded(fake.open())
    if fault == "down":
        fake.down = True
    else:
        fake.denied = {("get", "configmaps")}
    with pytest.raises(PlatformError):
        guard()


# At whichever write of a change.


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[[Installed], None]:
    """deploy/self for a later release, as its flow goes through it; no engine is about it."""
    for name, found in vars(flows.deploy).copy().items():
        if isinstance(found, Task):
            monkeypatch.setattr(flows.deploy, name, without_engine(found))
    for name in ("create_markdown_artifact", "create_table_artifact", "emit_event"):
        monkeypatch.setattr(flows.deploy, name, lambda *_, **__: None)
    monkeypatch.setattr(flows.deploy.catalog, "ensure_catalog", lambda *_: [])
    monkeypatch.setattr(ClusterPlatform, "database", None)
    monkeypatch.setattr(ClusterPlatform, "prove", lambda *_: [])

    def deploy(site: Installed) -> None:
        secrets = MemorySecrets(dict.fromkeys(site.platform().references(), "not-secret"))
        platform = site.platform(release=LATER, secrets=secrets)
        monkeypatch.setattr(flows.deploy, "open_here", lambda: platform)
        flows.deploy.deploy.fn()

    return deploy


def without_engine(wrapped: Task[..., Any]) -> Callable[..., Any]:
    """The task's function, also for who wants its state."""

    def call(*values: Any, return_state: bool = False) -> Any:
        return wrapped.fn(*values)

    return call


def stopped_at(site: Installed, clock: Clock, after: int, change: Callable[[], object]) -> Switch:
    """What becomes of a change that is stopped once it has begun so many writes."""
    switch = Switch(site, after)

    def work() -> None:
        with switch.world():
            site.controllers()

    clock.then = repeat(work)
    with suppress(Stopped, Unfinished, RolloutFailed):
        change()
    return switch


def installed_anew(prepare: Prepare, rendered: dict[str, Any]) -> Installed:
    """With pools, and a worker whose pod is gone."""
    site = prepare("development")
    site.install()
    site.rendered = rendered
    site.prefect.pools.clear()
    ensure_pools(site.prefect, site.platform().pools())
    worker = f"{names.WORKER}-1"
    site.prefect.post(f"/work_pools/{names.POOL}/workers/heartbeat", {"name": worker})
    site.prefect.workers[names.POOL, worker]["status"] = "OFFLINE"
    return site


@pytest.mark.parametrize("broken", [set(), {names.WORKER}])
def test_a_stop_before_any_write_of_deploy_self_lets_no_more_be_written(
    prepare: Prepare,
    clock: Clock,
    run: Callable[[Installed], None],
    few: dict[str, Any],
    broken: set[str],
) -> None:
    """A bad roll-out is not taken back either, and a pool that is held stays so and is told."""
    held = 0
    for after in count():
        site = installed_anew(prepare, few)
        site.broken = broken
        switch = stopped_at(site, clock, after, partial(run, site))
        assert switch.later == [], after
        if not switch.pulled:
            break
        assert find_holder(site.cluster) is None, after
        if any(site.paused()):
            held += 1
            assert site.stage() is Stage.HELD, after
    assert after > 30
    assert held > 2
    assert site.paused() == [False, False]


def test_a_stop_before_any_write_of_register_flows_lets_no_more_be_written(
    prepare: Prepare, clock: Clock, few: dict[str, Any]
) -> None:
    for after in count():
        site = installed_anew(prepare, few)
        platform = site.platform()
        steps = read_plan(platform.api, platform.wanted)
        carry_out = partial(flows.register.carry_out.fn, platform, platform.wanted, steps, False)  # noqa: FBT003
        switch = stopped_at(site, clock, after, carry_out)
        assert switch.later == [], after
        assert site.prefect.leases == {}, after
        if not switch.pulled:
            break
    assert after > 5
    assert len(site.prefect.deployments) == len(few["deployments"])


def test_a_stop_before_any_write_of_an_uninstallation_lets_no_more_be_written(
    prepare: Prepare, clock: Clock
) -> None:
    for after in count():
        site = prepare("development")
        site.install()
        removal = plan_removal(site.cluster, Options(database=True))

        def uninstall(site: Installed = site, removal: Removal = removal) -> None:
            remove(site.cluster, removal, guarded(site.cluster), lambda _: None)

        switch = stopped_at(site, clock, after, uninstall)
        assert switch.later == [], after
        if not switch.pulled:
            break
    assert after > 20
    assert site.image(names.SERVER) is None


def test_a_pool_that_a_stop_left_held_is_told_and_opened_by_whoever_goes_on(
    prepare: Prepare, clock: Clock, few: dict[str, Any], run: Callable[[Installed], None]
) -> None:
    site = installed_anew(prepare, few)

    def pull(_: Request) -> None:
        if site.paused() == [True, False]:  # both are held for the server before
            site.fake.on_write = lambda _: None
            stop(site.cluster, "ann", REASON)

    site.fake.on_write = pull
    with pytest.raises(Stopped):
        run(site)
    assert site.paused() == [True, False]
    seen = see(site.cluster, lambda: nullcontext(site.prefect))
    assert REASON in seen["break_glass"]
    assert names.POOL in seen["held"]
    managed = site.platform().managed
    with pytest.raises(Stopped):
        finish_abandoned_hold(site.cluster, managed, "ann")
    assert site.paused() == [True, False]
    assert resume(site.cluster).wrote
    finish_abandoned_hold(site.cluster, managed, "ann")
    assert (site.paused(), site.stage()) == ([False, False], Stage.DONE)
    run(site)
    assert site.image(names.WORKER) == LATER.image
