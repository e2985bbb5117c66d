"""A Secret from Vault is awaited, and what stands in its way is told with Vault's own words."""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

import pytest

from clinical_ai.errors import NeedsOperator
from clinical_ai.ports_cluster import Object, Ref
from clinical_ai.steps.cluster.break_glass import Stopped, guarded, stop
from clinical_ai.steps.cluster.rollout import RolloutFailed
from clinical_ai.steps.cluster.synced import await_synced, check_synced
from tests.support.clock import Clock
from tests.support.fake_cluster import FakeCluster, Request
from tests.support.objects import secret

API: Final = "external-secrets.io/v1"
REF: Final = Ref(API, "ExternalSecret", "aws")
NOON: Final = "2026-11-27T12:00:00Z"
MORNING: Final = "2026-11-27T08:00:00Z"
HASH: Final = {"reconcile.external-secrets.io/data-hash": "0a1b"}
DENIED: Final = "permission denied"


@pytest.fixture
def clock(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Clock:
    monkeypatch.setattr("clinical_ai.steps.cluster.synced.monotonic", lambda: clock.now)
    return clock


class Site:
    """A cluster with a store and what is to be kept from it."""

    def __init__(self) -> None:
        self.fake = FakeCluster()
        self.fake.serve(API, "ExternalSecret", "externalsecrets")
        self.fake.serve(API, "SecretStore", "secretstores")
        self.cluster = self.fake.open()
        self.fake.put({"apiVersion": API, "kind": "SecretStore", "metadata": {"name": "vault"}})
        spec = {"secretStoreRef": {"name": "vault"}, "refreshInterval": "5m0s"}
        wanted = {"apiVersion": API, "kind": "ExternalSecret", "metadata": {"name": "aws"}}
        self.uid = self.fake.put({**wanted, "spec": spec})["metadata"]["uid"]

    def tell(self, kind: str, name: str, status: str, **more: Any) -> None:
        """What the operator says."""
        condition = {"type": "Ready", "status": status, "reason": "SecretSynced", "message": "x"}
        told = {"conditions": [{**condition, **more}]}
        self.fake.edit(kind, name, "operator", lambda it: it.update(status=told))

    def told(self, generation: int | None = None, at: str = NOON, **more: Any) -> None:
        """The operator says that it has done its work."""
        self.tell("ExternalSecret", "aws", "True", **more)
        seen = generation or self.cluster.get(REF)["metadata"]["generation"]
        status = {"refreshTime": at, "syncedResourceVersion": f"{seen}-0a1b"}
        self.fake.edit("ExternalSecret", "aws", "operator", lambda it: it["status"].update(status))

    def sync(self, generation: int | None = None, at: str = NOON) -> None:
        """The operator has done its work."""
        self.make_secret()
        self.told(generation, at)

    def make_secret(self, owner: str = "", **annotations: str) -> None:
        made = secret("aws", key="not-secret-of-a-test")
        about = {"apiVersion": API, "kind": "ExternalSecret", "name": "aws"}
        made["metadata"]["ownerReferences"] = [{**about, "uid": owner or self.uid}]
        made["metadata"]["annotations"] = annotations or HASH
        self.fake.put(made)

    def remove_secret(self) -> None:
        ref = Ref("v1", "Secret", "aws")
        self.cluster.delete(ref, uid=self.cluster.get(ref)["metadata"]["uid"])

    def asked(self) -> list[str]:
        """What was written to have the operator look again."""
        return [each for each in self.fake.writes if each.startswith("patch")]

    def warn(self, message: str) -> None:
        found: Object = {"apiVersion": "v1", "kind": "Event", "metadata": {"name": "told"}}
        about = {"involvedObject": {"uid": self.uid}, "type": "Warning", "message": message}
        self.fake.put({**found, **about})

    def check(self, *, minute: int = 1) -> str:
        now = datetime(2026, 11, 27, 12, minute, tzinfo=UTC)
        return check_synced(self.cluster, REF, now)


def test_it_is_awaited_until_its_newest_generation_is_synced(clock: Clock) -> None:
    site = Site()
    generation = site.cluster.get(REF)["metadata"]["generation"]
    site.sync(generation - 1 or 9, MORNING)
    clock.happens(site.sync)
    assert await_synced(site.cluster, REF, seconds=30).summary == f"synced at {NOON}"
    assert clock.slept == 1


def test_a_secret_that_the_operator_has_not_written_is_not_synced(clock: Clock) -> None:
    """Whatever it says: somebody may have deleted the Secret, or made it."""
    site = Site()
    site.told(at=MORNING)
    clock.happens(lambda: site.make_secret(of="somebody"), *[lambda: None] * 9, site.sync)
    assert await_synced(site.cluster, REF, seconds=30).done
    assert clock.slept == 11
    assert site.asked() == ["patch secretstores/vault", "patch externalsecrets/aws"]


def test_ready_for_another_reason_is_not_synced(clock: Clock) -> None:
    site = Site()
    site.make_secret()
    site.told(reason="SecretMissing")
    clock.happens(lambda: None, site.sync)
    site.told(at=MORNING, reason="SecretMissing")
    assert await_synced(site.cluster, REF, seconds=30).done
    assert clock.slept == 2


def test_a_sync_that_was_asked_for_is_proved_by_a_later_time(clock: Clock) -> None:
    """Else the Secret may be the one of before, which is there, owned and has its hash."""
    site = Site()
    site.sync(at=MORNING)
    site.tell("ExternalSecret", "aws", "False", reason="SecretSyncedError")
    site.fake.edit(
        "ExternalSecret", "aws", "operator", lambda it: it["status"].update(refreshTime=MORNING)
    )
    clock.happens(partial(site.sync, at=MORNING), *[lambda: None] * 40, site.sync)
    assert await_synced(site.cluster, REF, seconds=300).summary == f"synced at {NOON}"
    assert clock.slept == 42
    assert len(site.asked()) == 4  # and once more when it had not moved for a while


def test_who_may_not_read_secrets_believes_what_the_operator_says(clock: Clock) -> None:
    site = Site()
    site.fake.denied = {("get", "secrets")}
    site.told()
    assert await_synced(site.cluster, REF, seconds=30).done


def test_no_value_of_the_secret_is_asked_for(clock: Clock) -> None:
    site = Site()
    site.sync()
    await_synced(site.cluster, REF, seconds=30)
    site.check()
    asked = [it.accept for it in site.fake.requests if it.served.kind == "Secret"]
    assert asked
    assert all("as=PartialObjectMetadata" in each for each in asked)


def test_an_outage_of_the_server_is_waited_out_when_the_guard_meets_it(clock: Clock) -> None:
    site = Site()
    site.fake.down = True
    clock.happens(lambda: setattr(site.fake, "down", False), site.sync)
    await_synced(site.cluster, REF, seconds=30, beat=guarded(site.cluster))
    assert clock.slept == 2


def test_an_operator_that_waits_after_failures_is_asked_to_look_again(clock: Clock) -> None:
    site = Site()
    site.tell("ExternalSecret", "aws", "False", reason="SecretSyncedError")
    asked: list[Object] = []

    def wait() -> None:
        for kind, name in (("SecretStore", "vault"), ("ExternalSecret", "aws")):
            asked.append(site.cluster.get(Ref(API, kind, name))["metadata"]["annotations"])

    clock.happens(wait, *[lambda: None] * 33, wait, site.sync)
    await_synced(site.cluster, REF, seconds=300)
    assert [list(each) for each in asked] == [["force-sync"]] * 4
    assert len(site.fake.writes) == 4  # twice, each time the store, too


def test_a_stop_between_store_and_secret_leaves_the_secret_alone(clock: Clock) -> None:
    site = Site()
    site.tell("ExternalSecret", "aws", "False", reason="SecretSyncedError")

    def pull(_: Request) -> None:
        site.fake.on_write = lambda _: None
        stop(site.cluster, "ann", "incident 12")

    site.fake.on_write = pull
    with pytest.raises(Stopped):
        await_synced(site.cluster, REF, seconds=300, beat=guarded(site.cluster))
    assert "annotations" in site.cluster.get(Ref(API, "SecretStore", "vault"))["metadata"]
    assert "annotations" not in site.cluster.get(REF)["metadata"]


def test_what_is_only_being_synced_is_left_to_the_operator(clock: Clock) -> None:
    site = Site()
    clock.happens(*[lambda: None] * 20, site.sync)
    await_synced(site.cluster, REF, seconds=300)
    assert site.fake.writes == []


def test_what_vault_says_is_told_after_a_minute(clock: Clock) -> None:
    site = Site()
    told = {"reason": "SecretSyncedError", "message": "could not get secret data from provider"}
    site.tell("ExternalSecret", "aws", "False", **told)
    site.tell("SecretStore", "vault", "False", message="unable to log in")
    site.warn(f"Code: 403. Errors: * {DENIED}")
    with pytest.raises(RolloutFailed) as refused:
        await_synced(site.cluster, REF, seconds=300)
    assert clock.now == 60
    text = str(refused.value)
    for part in ("could not get secret data", "unable to log in", DENIED, "Vault is up, and its"):
        assert part in text


def test_a_vault_that_comes_up_within_a_minute_is_waited_for(clock: Clock) -> None:
    site = Site()
    site.tell("ExternalSecret", "aws", "False", reason="SecretSyncedError")
    clock.happens(*[lambda: None] * 50, site.sync)
    assert await_synced(site.cluster, REF, seconds=300).done


def test_an_operator_that_does_not_look_is_named(clock: Clock) -> None:
    with pytest.raises(RolloutFailed, match="see whether External Secrets Operator runs"):
        await_synced(Site().cluster, REF, seconds=300)


# What verify proves.


def test_a_synced_secret_is_proven_by_the_time_of_its_last_comparison() -> None:
    site = Site()
    site.sync()
    assert site.check() == f"Secret aws synced at {NOON}"


def test_one_that_is_not_compared_with_vault_any_more_is_a_fault() -> None:
    site = Site()
    site.sync()
    assert site.check(minute=16)
    with pytest.raises(NeedsOperator, match="17 minutes ago, and should be every 5m0s"):
        site.check(minute=17)


def test_a_secret_that_somebody_else_made_is_a_fault() -> None:
    site = Site()
    site.sync()
    site.make_secret(owner="another")
    with pytest.raises(NeedsOperator, match="somebody else made it"):
        site.check()


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (Site.remove_secret, "Secret aws is not there"),
        (lambda site: site.make_secret(of="somebody"), "somebody else made it"),
    ],
)
def test_a_secret_without_what_the_operator_wrote_is_a_fault(
    spoil: Callable[[Site], None], told: str
) -> None:
    site = Site()
    site.sync()
    spoil(site)
    with pytest.raises(NeedsOperator, match=told):
        site.check()


def test_one_that_vault_refuses_is_a_fault() -> None:
    site = Site()
    site.tell("ExternalSecret", "aws", "False", reason="SecretSyncedError")
    with pytest.raises(NeedsOperator, match="is not in step with Vault: SecretSyncedError"):
        site.check()
