"""Objects are deployed stage by stage, and a bad roll-out is taken back."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import repeat

import pytest

from clinical_ai import names
from clinical_ai.change import Change, Did
from clinical_ai.errors import NeedsOperator, PlatformError, StillRunning, TimedOut
from clinical_ai.ports_cluster import Object, Ref
from clinical_ai.steps.cluster.deploy import deploy, look
from clinical_ai.steps.cluster.migrate import migrate
from clinical_ai.steps.cluster.rollout import RolloutFailed
from clinical_ai.steps.cluster.site import Site
from tests.support.clock import Clock
from tests.support.deploying import (
    BETTER,
    BROKEN,
    GOOD,
    OURS,
    SLOW,
    Namespace,
    container_of,
    job,
    needing,
    stages,
    workload,
)
from tests.support.fake_objects import Place
from tests.support.fake_refusals import Refusal
from tests.support.objects import LABELS, config


def did(changes: Sequence[Change]) -> dict[str, Did]:
    """Of workloads and settings, by name."""
    return {
        change.what.rpartition(" ")[2].removeprefix(names.PRODUCT): change.did for change in changes
    }


# What is wanted comes to be.


def test_all_stages_come_up_and_are_not_good_before_they_are_proved(namespace: Namespace) -> None:
    changes = deploy(namespace.site(), stages(), job())
    assert {change.did for change in changes} == {Did.CREATED}
    assert namespace.images() == [GOOD] * 3
    assert namespace.records.find_objects() == []


def test_the_second_time_nothing_is_written(namespace: Namespace) -> None:
    deploy(namespace.site(), stages(), job())
    namespace.fake.requests.clear()
    changes = deploy(namespace.site(), stages(), job())
    assert not any(change.wrote for change in changes)
    assert namespace.fake.writes == []


def test_a_stage_begins_when_the_one_before_is_up(namespace: Namespace) -> None:
    with pytest.raises(RolloutFailed, match=names.SERVER):
        deploy(namespace.site(), stages(server=BROKEN))
    assert namespace.images() == [BROKEN, None, None]


def test_a_workload_that_somebody_deletes_while_it_comes_up_is_made_anew_the_next_time(
    namespace: Namespace, clock: Clock
) -> None:
    ref = Ref("apps/v1", "Deployment", names.SERVER)

    def delete() -> None:
        uid = namespace.cluster.get(ref)["metadata"]["uid"]
        namespace.cluster.delete(ref, uid=uid)

    clock.then = iter([delete])
    with pytest.raises(NeedsOperator, match=f"{names.SERVER} was deleted while .* run this again"):
        deploy(namespace.site(), stages())
    clock.then = repeat(namespace.controllers)
    deploy(namespace.site(), stages())
    assert namespace.images() == [GOOD] * 3


def test_what_is_wanted_no_more_goes_once_the_rest_is_up(namespace: Namespace) -> None:
    deploy(namespace.site(), stages(more=[config("old")]))
    changes = deploy(namespace.site(), stages())
    assert did(changes)["old"] is Did.REMOVED
    assert namespace.data("old") is None


def test_what_could_not_be_deleted_is_told_and_goes_the_next_time(
    namespace: Namespace, caplog: pytest.LogCaptureFixture
) -> None:
    deploy(namespace.site(), stages(more=[config("old")]))
    namespace.fake.denied = {("delete", "configmaps")}
    deploy(namespace.site(), stages())
    assert "tried again next time" in caplog.text
    assert namespace.data("old") is not None
    namespace.fake.denied = set()
    deploy(namespace.site(), stages())
    assert namespace.data("old") is None


@pytest.mark.parametrize("mounted", [True, False])
def test_a_secret_stays_for_pods_that_read_it_when_its_external_secret_goes(
    namespace: Namespace, *, mounted: bool
) -> None:
    """As when an operator takes over a Secret that Vault has filled so far."""
    owner = {"apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret"}
    namespace.fake.serve("external-secrets.io/v1", "ExternalSecret", "externalsecrets")
    about = {"name": "aws", "labels": LABELS}
    spec = {"target": {"name": "filled"}}
    deploy(namespace.site(), stages(more=[{**owner, "metadata": about, "spec": spec}]))
    uid = namespace.fake.look("ExternalSecret", "aws")["metadata"]["uid"]
    made = {"name": "filled", "ownerReferences": [{**owner, "name": "aws", "uid": uid}]}
    namespace.fake.put({"apiVersion": "v1", "kind": "Secret", "metadata": made})
    wanted = stages()
    if mounted:
        [worker] = wanted["worker"]
        volume = {"name": "aws", "secret": {"secretName": "filled"}}
        worker["spec"]["template"]["spec"]["volumes"] = [volume]
    deploy(namespace.site(), wanted)
    assert namespace.cluster.find(Ref("external-secrets.io/v1", "ExternalSecret", "aws")) is None
    assert (namespace.cluster.find(Ref("v1", "Secret", "filled")) is not None) is mounted


def test_a_prune_that_is_refused_is_so_before_anything_is_applied(namespace: Namespace) -> None:
    deploy(namespace.site(), stages(more=[config(f"old-{number}") for number in range(4)]))
    namespace.fake.requests.clear()
    with pytest.raises(NeedsOperator, match="4 objects would be deleted, 3 at once") as refused:
        deploy(namespace.site(), stages(server=BETTER, worker=BETTER, more=[config("new")]), job())
    assert namespace.fake.writes == []
    assert namespace.images() == [GOOD] * 3
    assert "old-2" in refused.value.problem
    assert "set kubernetes.prune-limit to 4" in refused.value.remedy
    assert "`clinical-ai deploy --runtime kubernetes`, which asks" in refused.value.remedy


def test_more_than_the_limit_goes_when_a_person_has_agreed_to_each_of_it(
    namespace: Namespace,
) -> None:
    refs = [Ref("v1", "ConfigMap", f"old-{number}") for number in range(4)]
    old = [config(ref.name) for ref in refs]
    deploy(namespace.site(), stages(more=old))
    site = namespace.site()
    for agreed in (refs[:3], [*refs[:3], Ref("v1", "ConfigMap", "other")]):
        own = replace(site.ownership, agreed=frozenset(agreed))
        with pytest.raises(NeedsOperator, match="4 objects would be deleted"):
            deploy(replace(site, ownership=own), stages())
    deploy(replace(site, ownership=replace(site.ownership, agreed=frozenset(refs))), stages())
    assert [namespace.data(ref.name) for ref in refs] == [None] * 4


def test_a_part_that_others_follow_prunes_nothing(namespace: Namespace) -> None:
    deploy(namespace.site(), stages(more=[config("old")]))
    deploy(namespace.site(), {"configuration": [config(server=BETTER)]}, all_of_it=False)
    assert namespace.data() == {"server": BETTER}
    assert namespace.images() == [GOOD] * 3
    assert namespace.data("old") is not None


def test_what_a_part_made_is_known_to_whoever_prunes_later(namespace: Namespace) -> None:
    deploy(namespace.site(), {"configuration": [config("old")]}, all_of_it=False)
    deploy(namespace.site(), stages())
    assert namespace.data("old") is None


def test_looking_tells_what_deploying_does_and_writes_nothing(namespace: Namespace) -> None:
    deploy(namespace.site(), stages(more=[config("old")]))
    namespace.fake.requests.clear()
    wanted = stages(server=BETTER, more=[config("new")])
    looked = did(look(namespace.site(), wanted))
    assert namespace.fake.writes == []
    assert looked["old"] is Did.REMOVED
    assert looked["new"] is Did.CREATED
    done = did(deploy(namespace.site(), wanted))
    assert {name: it for name, it in done.items() if name in looked} == looked


def test_nothing_is_written_when_the_guard_refuses(namespace: Namespace) -> None:
    deploy(namespace.site(), stages(), job())
    namespace.fake.requests.clear()

    def refuse() -> None:
        raise NeedsOperator("stopped", "resume")

    site = Site(namespace.cluster, OURS, refuse, namespace.prefect)
    with pytest.raises(NeedsOperator, match="stopped"):
        deploy(site, stages(server=BETTER), job())
    assert namespace.fake.writes == []


# A bad roll-out is taken back.


@pytest.mark.parametrize(("image", "error"), [(BROKEN, RolloutFailed), (SLOW, TimedOut)])
def test_what_was_changed_is_put_back_when_something_does_not_come_up(
    namespace: Namespace, image: str, error: type[PlatformError]
) -> None:
    namespace.stand()
    before = namespace.records.find_objects()
    with pytest.raises(error, match=names.SERVER):
        deploy(namespace.site(), stages(server=image, worker=BETTER))
    assert namespace.images() == [GOOD] * 3
    assert namespace.data() == {"server": GOOD}
    assert namespace.records.find_objects() == before


def test_what_is_written_and_put_back_is_noted_at_once(namespace: Namespace) -> None:
    """A call that fails gives nothing back, and its report tells what it has done."""
    namespace.stand()
    noted: list[Change] = []
    with pytest.raises(RolloutFailed):
        deploy(namespace.site(note=noted.append), stages(server=BETTER, worker=BROKEN))
    server, worker = (f"Deployment {it}" for it in (names.SERVER, names.PLATFORM_WORKER))
    written = [each.what for each in noted if "put back" not in each.detail]
    back = [each.what for each in noted if each.detail == "put back as it was last found good"]
    assert written[-2:] == [server, worker]
    assert back == [worker, server, *reversed(written[:-2])]
    assert all(each.did is Did.UPDATED for each in noted)
    assert all(it.details == [it.detail] for it in noted if "put back" in it.detail)


def test_what_is_pruned_is_noted(namespace: Namespace) -> None:
    deploy(namespace.site(), stages(more=[config("old")]))
    noted: list[Change] = []
    deploy(namespace.site(note=noted.append), stages())
    assert [(each.what, each.did) for each in noted] == [("ConfigMap old", Did.REMOVED)]


def test_what_a_killed_one_changed_is_put_back_by_the_next(namespace: Namespace) -> None:
    namespace.stand()

    def killed() -> None:
        if namespace.image(names.PLATFORM_WORKER) == BROKEN:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        deploy(replace(namespace.site(), guard=killed), stages(server=BETTER, worker=BROKEN))
    assert namespace.image(names.SERVER) == BETTER
    with pytest.raises(RolloutFailed):
        deploy(namespace.site(), stages(server=BETTER, worker=BROKEN))
    assert namespace.images() == [GOOD] * 3


def test_stages_before_the_bad_one_are_put_back_too(namespace: Namespace) -> None:
    namespace.stand()
    with pytest.raises(RolloutFailed, match=names.PLATFORM_WORKER):
        deploy(namespace.site(), stages(server=BETTER, worker=BROKEN))
    assert namespace.images() == [GOOD] * 3
    assert namespace.paused() == [False, False]


def test_what_was_put_back_is_good_and_a_better_one_follows(namespace: Namespace) -> None:
    namespace.stand()
    with pytest.raises(RolloutFailed):
        deploy(namespace.site(), stages(server=BROKEN))
    assert not any(change.wrote for change in deploy(namespace.site(), stages()))
    deploy(namespace.site(), stages(server=BETTER))
    assert namespace.image(names.SERVER) == BETTER


def test_what_only_the_bad_one_had_goes_with_the_next_good_one(namespace: Namespace) -> None:
    namespace.stand()
    with pytest.raises(RolloutFailed):
        deploy(namespace.site(), stages(server=BROKEN, more=[config("new")]))
    assert namespace.data("new") is not None
    deploy(namespace.site(), stages())
    assert namespace.data("new") is None


def test_what_an_unproved_one_pruned_is_put_back_with_what_needs_it(namespace: Namespace) -> None:
    namespace.stand(stages(more=[config("old")]))
    deploy(namespace.site(), stages(server=BETTER))
    assert namespace.data("old") is None
    with pytest.raises(RolloutFailed):
        deploy(namespace.site(), stages(server=BROKEN))
    assert namespace.images() == [GOOD] * 3
    assert namespace.data("old") is not None
    deploy(namespace.site(), stages(server=BETTER))
    assert namespace.data("old") is None


def test_one_that_cannot_be_put_back_keeps_no_other_from_it(
    namespace: Namespace, caplog: pytest.LogCaptureFixture
) -> None:
    namespace.stand()

    def refuse(content: Object) -> None:
        if _is_workload(content, names.SERVER) and container_of(content)["image"] == GOOD:
            raise Refusal(403, "Forbidden", "not that one")

    namespace.fake.admit = refuse
    with pytest.raises(RolloutFailed, match="progress deadline"):
        deploy(namespace.site(), stages(server=BROKEN))
    assert namespace.image(names.SERVER) == BROKEN
    assert namespace.data() == {"server": GOOD}
    assert f"Deployment {names.SERVER} could not be put back" in caplog.text
    assert "ConfigMap settings is put back" in caplog.text


@pytest.mark.parametrize("takes_effect", [False, True])
def test_a_request_without_an_answer_keeps_nothing_from_being_put_back(
    namespace: Namespace, monkeypatch: pytest.MonkeyPatch, *, takes_effect: bool
) -> None:
    """Each write of the undo but the first of each object meets an outage of its own."""
    namespace.stand()
    apply, cut = namespace.fake.objects.apply, set()

    def cut_off(place: Place, wanted: Object, manager: str, *, dry_run: bool) -> Object:
        undoing = namespace.image(names.PLATFORM_WORKER) == BROKEN or cut
        if not undoing or dry_run or place in cut or wanted.get("spec") == {"replicas": 1}:
            return apply(place, wanted, manager, dry_run=dry_run)
        cut.add(place)
        if takes_effect:
            apply(place, wanted, manager, dry_run=dry_run)
        raise Refusal(503, "ServiceUnavailable", "too busy")

    monkeypatch.setattr(namespace.fake.objects, "apply", cut_off)
    with pytest.raises(RolloutFailed):
        deploy(namespace.site(), stages(server=BETTER, worker=BROKEN))
    assert len(cut) >= 3
    assert namespace.images() == [GOOD] * 3
    assert namespace.data() == {"server": GOOD}
    assert namespace.paused() == [False, False]


def test_a_longer_outage_ends_the_undo_and_is_told(
    namespace: Namespace, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    namespace.stand()

    def fall() -> None:
        namespace.controllers()
        namespace.fake.down = namespace.behaviour(namespace.fake.look(*worker)) == SLOW

    worker = ("Deployment", names.WORKER)
    clock.then = repeat(fall)
    with pytest.raises(TimedOut):
        deploy(namespace.site(seconds=60), {**stages(), "worker": [workload(names.WORKER, SLOW)]})
    assert "nothing is put back: what was good is not there after 30 s: no answer" in caplog.text


def _is_workload(content: Object, name: str) -> bool:
    return content["kind"] == "Deployment" and content["metadata"]["name"] == name


def test_damaged_records_hide_no_bad_rollout(
    namespace: Namespace, caplog: pytest.LogCaptureFixture
) -> None:
    namespace.stand()
    good = Ref("v1", "ConfigMap", names.GOOD_OBJECTS)
    namespace.cluster.patch(good, {"binaryData": {"objects.json.gz": "b29wcw=="}})
    with pytest.raises(RolloutFailed, match=names.SERVER):
        deploy(namespace.site(), stages(server=BROKEN))
    assert f"ConfigMap {names.GOOD_OBJECTS} is damaged" in caplog.text


# Prefect's database.


def test_the_database_is_migrated_before_the_server_is_changed(namespace: Namespace) -> None:
    namespace.stand()
    with pytest.raises(RolloutFailed, match="Job migration-1 has failed"):
        deploy(namespace.site(), stages(server=BETTER), job(BROKEN))
    assert namespace.images() == [GOOD] * 3
    assert namespace.data() == {"server": GOOD}


@pytest.mark.parametrize("known", ["one", "none, as of a release that told none"])
@pytest.mark.parametrize(("image", "cause"), [(BROKEN, "deadline"), (SLOW, "is not there after")])
def test_no_older_server_is_put_back_behind_a_database_that_has_moved(
    namespace: Namespace, image: str, cause: str, known: str
) -> None:
    namespace.stand(needing("aaa", stages()) if known == "one" else stages())
    with pytest.raises(RolloutFailed, match=cause) as told:
        deploy(namespace.site(), needing("bbb", stages(server=image)), job())
    assert namespace.images() == [image, GOOD, GOOD]
    assert namespace.data() == {"server": image}
    before = "aaa" if known == "one" else "unknown"
    assert f"database went from revision {before} to bbb" in told.value.problem
    assert "restore a backup of the database" in told.value.remedy


def test_workers_are_put_back_behind_a_database_that_has_moved(namespace: Namespace) -> None:
    """Prefect's server may be newer than its workers."""
    namespace.stand(needing("aaa", stages()))
    with pytest.raises(RolloutFailed, match="server of before is not put back"):
        deploy(namespace.site(), needing("bbb", stages(BETTER, BROKEN)), job())
    assert namespace.images() == [BETTER, GOOD, GOOD]
    assert namespace.paused() == [False, False]


def test_runs_that_do_not_end_keep_their_worker_and_what_came_up_before_it(
    namespace: Namespace,
) -> None:
    """Nothing failed: what came up would be changed there and back at each try."""
    namespace.stand(needing("aaa", stages()))
    run = namespace.run(names.POOL)
    for _ in range(2):
        with pytest.raises(StillRunning, match="a-long-run"):
            deploy(namespace.site(), needing("bbb", stages(BETTER, BETTER)), job())
        assert namespace.images() == [BETTER, BETTER, GOOD]
        assert namespace.paused() == [False, False]
    namespace.end(run)
    deploy(namespace.site(), needing("bbb", stages(BETTER, BETTER)), job())
    assert namespace.images() == [BETTER] * 3


def test_a_server_of_the_same_revision_is_put_back_after_its_migration(
    namespace: Namespace,
) -> None:
    namespace.stand(needing("aaa", stages()))
    with pytest.raises(RolloutFailed) as told:
        deploy(namespace.site(), needing("aaa", stages(server=BROKEN)), job())
    assert namespace.images() == [GOOD] * 3
    assert "revision" not in str(told.value)


def test_a_migration_that_failed_leaves_the_server_and_puts_back_what_came_before(
    namespace: Namespace,
) -> None:
    namespace.stand(needing("aaa", stages()))
    with pytest.raises(RolloutFailed, match="Job migration-1 has failed") as told:
        deploy(namespace.site(), needing("bbb", stages(server=BETTER)), job(BROKEN))
    assert namespace.images() == [GOOD] * 3
    assert namespace.data() == {"server": GOOD}
    assert "is not put back" not in str(told.value)


def test_a_migration_runs_once(namespace: Namespace) -> None:
    assert migrate(namespace.site(), job()).did is Did.CREATED
    namespace.fake.requests.clear()
    assert migrate(namespace.site(), job()).did is Did.UNCHANGED
    assert namespace.fake.writes == []


def test_a_migration_that_failed_is_tried_anew(namespace: Namespace) -> None:
    """Its node may have gone, or the database have been away."""
    with pytest.raises(RolloutFailed, match="Job migration-1 has failed"):
        migrate(namespace.site(), job(BROKEN))
    assert migrate(namespace.site(), job()).did is Did.CREATED
    assert namespace.fake.look("Job", "migration-1")["status"]["succeeded"] == 1


def test_a_migration_whose_tables_are_gone_runs_anew(namespace: Namespace) -> None:
    migrate(namespace.site(), job())
    first = namespace.fake.look("Job", "migration-1")["metadata"]["uid"]
    assert migrate(namespace.site(), job(), anew=True).did is Did.CREATED
    found = namespace.fake.look("Job", "migration-1")
    assert found["status"]["succeeded"] == 1
    assert found["metadata"]["uid"] != first


def begun(namespace: Namespace) -> None:
    """The migration's pod works."""
    status = {"active": 1, "startTime": "2026-11-29T08:00:00Z"}
    namespace.fake.edit("Job", "migration-1", "controller", lambda it: it.update(status=status))


def refuse_pods(namespace: Namespace) -> None:
    """The migration can have no pod."""
    found = namespace.cluster.find(Ref("batch/v1", "Job", "migration-1"))
    if found is None:
        namespace.controllers()
        return
    about = {"involvedObject": {"uid": found["metadata"]["uid"]}, "metadata": {"name": "told"}}
    told = {"reason": "FailedCreate", "message": "no room"}
    namespace.fake.put({"apiVersion": "v1", "kind": "Event", **about, **told})


def test_a_migration_is_waited_for_as_long_as_its_job_may_take(
    namespace: Namespace, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    namespace.stand(needing("aaa", stages()))

    def world() -> None:
        begun(namespace) if clock.now < 1790 else namespace.controllers()

    clock.then, clock.now = repeat(world), 0
    with caplog.at_level("INFO", "clinical_ai.waiting"):
        deploy(namespace.site(), needing("bbb", stages(server=BETTER)), job())
    assert clock.now > 1790
    assert namespace.image(names.SERVER) == BETTER
    assert "migration-1: 1 active since 2026-11-29T08:00:00Z, for 30 minutes at most" in caplog.text


def test_nothing_is_put_back_while_a_migration_may_go_on(
    namespace: Namespace, clock: Clock
) -> None:
    """As when nobody stops a Job whose time is up."""
    namespace.stand(needing("aaa", stages()))
    clock.then = repeat(lambda: begun(namespace))
    with pytest.raises(StillRunning, match=r"the end of Job migration-1 .* nothing is put back"):
        deploy(namespace.site(), needing("bbb", stages(server=BETTER)), job())
    assert namespace.data() == {"server": BETTER}
    assert namespace.image(names.SERVER) == GOOD
    clock.then = repeat(namespace.controllers)
    deploy(namespace.site(), needing("bbb", stages(server=BETTER)), job())
    assert namespace.image(names.SERVER) == BETTER


def test_a_migration_that_can_not_begin_does_not_do_so_below_what_is_put_back(
    namespace: Namespace, clock: Clock
) -> None:
    namespace.stand(needing("aaa", stages()))
    clock.then = repeat(lambda: refuse_pods(namespace))
    with pytest.raises(RolloutFailed, match="its pods can't be made"):
        deploy(namespace.site(), needing("bbb", stages(server=BETTER)), job())
    assert namespace.cluster.find(Ref("batch/v1", "Job", "migration-1")) is None
    assert namespace.data() == {"server": GOOD}


@pytest.mark.parametrize("anew", [False, True])
def test_a_migration_that_somebody_else_started_is_waited_for(
    namespace: Namespace, *, anew: bool
) -> None:
    namespace.cluster.create(job())
    theirs = namespace.fake.look("Job", "migration-1")["metadata"]["uid"]
    assert migrate(namespace.site(), job(), anew=anew).wrote
    found = namespace.fake.look("Job", "migration-1")
    assert (found["status"]["succeeded"], found["metadata"]["uid"]) == (1, theirs)
