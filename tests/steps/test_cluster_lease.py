"""One change at a time, and everybody else learns whose it is."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from clinical_ai import names
from clinical_ai.errors import Locked, Transient
from clinical_ai.ports_cluster import Ref
from clinical_ai.steps.cluster.lease import cluster_lease, find_holder, remove_lease
from tests.support.clock import Clock
from tests.support.fake_cluster import FakeCluster
from tests.support.world import World

LEASE = Ref("coordination.k8s.io/v1", "Lease", names.CLUSTER_LEASE)


@pytest.fixture
def clock(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Clock:
    monkeypatch.setattr("clinical_ai.steps.cluster.lease.monotonic", lambda: clock.now)
    return clock


def spec(api: Any) -> dict[str, Any]:
    return dict(api.get(LEASE)["spec"])


def test_it_says_who_holds_it_and_is_free_afterwards(world: World) -> None:
    assert find_holder(world.api) is None
    with cluster_lease(world.api, "ann@laptop 4711", seconds=0):
        holder = find_holder(world.api)
        assert holder is not None
        assert holder.who == "ann@laptop 4711"
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", spec(world.api)["renewTime"])
    assert find_holder(world.api) is None
    assert spec(world.api)["leaseTransitions"] == 0
    with cluster_lease(world.api, "bob", seconds=0):
        assert spec(world.api)["leaseTransitions"] == 1
    assert find_holder(world.api) is None


def test_the_second_learns_whose_it_is_and_writes_nothing(world: World) -> None:
    with cluster_lease(world.api, "ann", seconds=0):
        before = world.api.get(LEASE)
        with (
            pytest.raises(Locked, match=r"change is under way: ann, since 20.* holds Lease"),
            cluster_lease(world.other("x"), "bob", seconds=0),
        ):
            pytest.fail("two hold it")
        assert world.api.get(LEASE) == before


def test_the_second_gets_it_as_soon_as_the_first_gives_it_back(clock: Clock) -> None:
    cluster = FakeCluster().open()
    first = cluster_lease(cluster, "ann", seconds=0)
    first.__enter__()
    clock.happens(lambda: None, lambda: first.__exit__(None, None, None))
    with cluster_lease(cluster, "bob", seconds=30):
        assert clock.slept == 2
        assert spec(cluster)["holderIdentity"] == "bob"


@pytest.fixture
def killed() -> Iterator[Callable[[Any], None]]:
    """Ann holds it from now on, and is not there any more."""
    held = []  # a context that is collected would give it back

    def kill(cluster: Any) -> None:
        held.append(cluster_lease(cluster, "ann", seconds=0))
        held[-1].__enter__()

    yield kill
    held.clear()


Killed = Callable[[Any], None]


def test_that_of_a_killed_holder_is_free_after_a_minute_without_a_sign_of_life(
    clock: Clock, killed: Killed
) -> None:
    cluster = FakeCluster().open()
    killed(cluster)
    with (
        pytest.raises(Locked, match=r"ann, since .* holds"),
        cluster_lease(cluster, "bob", seconds=58),
    ):
        pytest.fail("too early")
    with cluster_lease(cluster, "bob", seconds=61):
        assert spec(cluster)["leaseTransitions"] == 1


def test_times_that_others_wrote_are_not_trusted(clock: Clock, killed: Killed) -> None:
    cluster = FakeCluster().open()
    killed(cluster)
    cluster.patch(LEASE, {"spec": {"renewTime": "1999-01-01T00:00:00.000000Z"}})
    with pytest.raises(Locked), cluster_lease(cluster, "bob", seconds=58):
        pytest.fail("its clock may be wrong, and it may live")


def test_a_holder_that_renews_keeps_it(clock: Clock) -> None:
    cluster = FakeCluster().open()
    with cluster_lease(cluster, "ann", seconds=0) as lease:
        clock.happens(*[lease.renew] * 200)
        with pytest.raises(Locked), cluster_lease(cluster, "bob", seconds=180):
            pytest.fail("it is renewed")


def test_renewing_costs_a_write_only_now_and_then(clock: Clock) -> None:
    fake = FakeCluster()
    with cluster_lease(fake.open(), "ann", seconds=0) as lease:
        for _ in range(60):
            clock.now += 1
            lease.renew()
    assert len(fake.writes) == 1 + 3 + 1


def test_one_that_was_lost_meanwhile_lets_nothing_be_written(clock: Clock) -> None:
    cluster = FakeCluster().open()
    with cluster_lease(cluster, "ann", seconds=0) as lease:
        bob = cluster_lease(cluster, "bob", seconds=90)
        bob.__enter__()  # ann's process did not run for more than a minute
        for _ in range(2):
            with pytest.raises(Locked, match="was lost to bob, since"):
                lease.renew()
    assert spec(cluster)["holderIdentity"] == "bob"
    bob.__exit__(None, None, None)
    assert find_holder(cluster) is None


@pytest.mark.parametrize("step", [3600, -3600])
def test_one_that_was_lost_while_the_machine_slept_lets_nothing_be_written(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """The monotonic clock stands still then; a wall clock that jumps costs a renewal."""
    fake, wall = FakeCluster(), 1_800_000_000
    monkeypatch.setattr("clinical_ai.waiting.time", lambda: wall)
    cluster = fake.open()
    with cluster_lease(cluster, "ann", seconds=0) as lease:
        wall += step
        lease.renew()
        assert len(fake.writes) == 2
        cluster.patch(LEASE, {"spec": {"holderIdentity": "bob"}})
        lease.renew()
        wall += step
        with pytest.raises(Locked, match="was lost to bob, since"):
            lease.renew()


def test_a_label_that_somebody_put_on_it_loses_nothing(clock: Clock) -> None:
    cluster = FakeCluster().open()
    with cluster_lease(cluster, "ann", seconds=0) as lease:
        cluster.patch(LEASE, {"metadata": {"labels": {"a": "b"}}})
        clock.now += 20
        before = spec(cluster)["renewTime"]
        lease.renew()
        lease.renew()
        assert spec(cluster)["renewTime"] > before
    assert find_holder(cluster) is None


def test_one_whose_last_renewal_was_not_answered_is_given_back(clock: Clock) -> None:
    fake = FakeCluster()
    cluster = fake.open()
    answer = fake.handle_request

    def cut(request: httpx.Request) -> httpx.Response:
        answered = answer(request)
        if request.method == "PATCH":
            fake.handle_request = answer  # type: ignore[method-assign]
            raise httpx.ReadError("reset")
        return answered

    with cluster_lease(cluster, "ann", seconds=0) as lease:
        clock.now += 20
        fake.handle_request = cut  # type: ignore[method-assign]
        with pytest.raises(Transient):
            lease.renew()
    assert find_holder(cluster) is None


@pytest.mark.parametrize("race", ["create", "patch"])
def test_of_two_who_reach_for_it_at_once_one_gets_it(
    clock: Clock, killed: Killed, race: str
) -> None:
    fake = FakeCluster()
    cluster = fake.open()
    if race == "patch":
        with cluster_lease(cluster, "before", seconds=0):
            pass

    def faster(request: Any) -> None:
        fake.on_write = lambda _: None
        killed(fake.open())

    fake.on_write = faster
    with pytest.raises(Locked), cluster_lease(cluster, "bob", seconds=3):
        pytest.fail("two hold it")
    assert spec(cluster)["holderIdentity"] == "ann"


def test_a_server_that_is_away_at_the_end_hides_no_error_of_the_work() -> None:
    fake = FakeCluster()

    def work() -> None:
        with cluster_lease(fake.open(), "a", seconds=0):
            fake.down = True
            raise ValueError("the work")

    with pytest.raises(ValueError, match="the work"):
        work()
    with pytest.raises(Transient), cluster_lease(fake.open(), "a", seconds=0):
        pytest.fail("nobody can hold it")


def test_a_free_one_is_removed_and_one_that_is_not_there_needs_not_be(world: World) -> None:
    with cluster_lease(world.api, "ann", seconds=0):
        pass
    remove_lease(world.api)
    assert world.api.find(LEASE) is None
    remove_lease(world.api)


def test_one_that_somebody_has_taken_stays(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before it was looked at, or between the look and the removal."""
    bob = cluster_lease(world.api, "bob", seconds=0)
    with bob, pytest.raises(Locked, match=r"another change has begun: bob, since 20.* holds Lease"):
        remove_lease(world.api)
    delete = world.api.delete
    carl = cluster_lease(world.api, "carl", seconds=0)

    def delete_late(*words: Any, **options: Any) -> bool:
        carl.__enter__()
        return delete(*words, **options)

    monkeypatch.setattr(world.api, "delete", delete_late)
    with pytest.raises(Locked, match=r"another change has begun: carl, since 20.* holds Lease"):
        remove_lease(world.api)
    assert spec(world.api)["holderIdentity"] == "carl"
    carl.__exit__(None, None, None)
