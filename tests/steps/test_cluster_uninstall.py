"""What the platform owns goes; data, and what is others', stays. Interrupted, it is run again."""

from itertools import count, repeat
from typing import Any

import pytest

from clinical_ai import names
from clinical_ai.change import Change, Did
from clinical_ai.errors import NeedsOperator, TimedOut
from clinical_ai.manifests.kubernetes import desired
from clinical_ai.plans import Journal, Stage
from clinical_ai.ports_cluster import Object, Ref
from clinical_ai.steps.cluster import uninstall as uninstallation
from clinical_ai.steps.cluster.rollout import RolloutFailed
from clinical_ai.steps.cluster.uninstall import Options, plan_removal, remove
from clinical_ai.steps.roll import new_journal
from tests.support import kubernetes_examples as examples
from tests.support.clock import Clock
from tests.support.deploying import GOOD, SLOW, container_of
from tests.support.fake_cluster import Request
from tests.support.installed import SPACE, Installed, Prepare

FEW, ALL = Options(), Options(secrets=True, database=True)
SECRETS = {
    parts.removeprefix("secret:").partition("/")[0]
    for parts in (names.DATABASE_URL, names.API_AUTH, names.ENCRYPTION_KEY)
}
DROP = f"{names.MIGRATION}-drop"


@pytest.fixture
def site(installed: Installed) -> Installed:
    """A platform beside which others have something too."""
    for name in SECRETS:
        installed.put("Secret", name)
    installed.put("ConfigMap", "theirs")
    installed.put("ConfigMap", names.BREAK_GLASS, data={"other": "x"})
    return installed


THEIRS = {("ConfigMap", "theirs"), ("ConfigMap", names.BREAK_GLASS)}
KEPT = THEIRS | {("Secret", name) for name in SECRETS}
VAULTS = ("Secret", names.AWS_CREDENTIALS)  # written by the operator, where it is asked to


def uninstall(site: Installed, options: Options = FEW) -> dict[str, Did]:
    told: list[Change] = []
    remove(site.cluster, plan_removal(site.cluster, options), site.beat, told.append)
    return {change.what: change.did for change in told}


def dropped(site: Installed) -> list[Object]:
    """Filled with each Job that drops the schema, as it was made."""
    seen: list[Object] = []

    def note(content: Object) -> None:
        if content["kind"] == "Job" and content["metadata"]["name"] == DROP:
            seen.append(content)

    site.fake.admit = note
    return seen


def test_what_the_platform_owns_goes_and_data_and_what_is_others_stays(site: Installed) -> None:
    told = uninstall(site)
    assert site.there() == KEPT
    assert site.fake.look("Namespace", SPACE)
    assert set(told.values()) == {Did.REMOVED}
    assert site.beats > 0
    assert plan_removal(site.cluster, FEW).going == []


def test_what_goes_and_what_stays_is_told_before_and_nothing_is_written(site: Installed) -> None:
    site.fake.requests.clear()
    planned = plan_removal(site.cluster, FEW)
    assert site.fake.writes == []
    assert {f"Namespace {SPACE}", "schema prefect of the database"} <= set(planned.staying)
    assert {f"Secret {name}" for name in SECRETS} <= set(planned.staying)
    before = site.there()
    uninstall(site)
    assert set(planned.going) == {f"{kind} {name}" for kind, name in before - site.there()}


def test_secrets_and_the_schema_go_when_that_is_asked_for(site: Installed) -> None:
    seen = dropped(site)
    planned = plan_removal(site.cluster, ALL)
    assert "schema prefect, with all runs" in planned.going
    assert not any("Secret" in each or "schema" in each for each in planned.staying)
    assert uninstall(site, ALL)["schema prefect"] is Did.REMOVED
    assert site.there() == THEIRS
    assert len(seen) == 1


def test_what_somebody_took_over_or_made_anew_stays_and_is_told(site: Installed) -> None:
    taken, again = names.CONFIGURATION, names.SERVER
    site.fake.edit("ConfigMap", taken, "ann", lambda it: it["metadata"].update(labels={}))
    found = site.fake.look("Service", again)
    site.cluster.delete(Ref("v1", "Service", again), uid=found["metadata"]["uid"])
    labels = found["metadata"]["labels"]
    site.put("Service", again, labels=labels, spec={"ports": [{"port": 1}]})
    planned = plan_removal(site.cluster, FEW)
    foreign = "which is not the platform's any more"
    assert {f"ConfigMap {taken}, {foreign}", f"Service {again}, {foreign}"} <= set(planned.staying)
    uninstall(site)
    assert site.there() == KEPT | {("ConfigMap", taken), ("Service", again)}


@pytest.mark.parametrize("lost", [names.INVENTORY, names.RIGHTS_INVENTORY])
@pytest.mark.parametrize("example", ["development", "production"])
def test_what_no_inventory_lists_goes_by_its_labels(
    prepare: Prepare, example: str, lost: str
) -> None:
    """Else it would run on without its account, and nobody would be told."""
    site = prepare(example)
    site.install()
    site.put("Secret", "clinical-ai-aws-credentials")
    before = set(plan_removal(site.cluster, FEW).going)
    ref = Ref("v1", "ConfigMap", lost)
    site.cluster.delete(ref, uid=site.cluster.get(ref)["metadata"]["uid"])
    assert set(plan_removal(site.cluster, FEW).going) == before - {ref.short}
    uninstall(site)
    assert {kind for kind, _ in site.there()} == {"Secret"}


@pytest.mark.parametrize("example", ["development", "production", "vault-agent"])
def test_what_no_record_at_all_tells_of_goes_by_its_labels(prepare: Prepare, example: str) -> None:
    """As after a restore of a namespace without them, in which accounts and pods run on."""
    site = prepare(example)
    site.install()
    site.put("ConfigMap", "theirs", labels={"app.kubernetes.io/part-of": names.PRODUCT})
    before = set(plan_removal(site.cluster, FEW).going)
    lost = [names.INVENTORY, names.RIGHTS_INVENTORY, names.GOOD_OBJECTS]
    for ref in (Ref("v1", "ConfigMap", name) for name in lost):
        site.cluster.delete(ref, uid=site.cluster.get(ref)["metadata"]["uid"])
    assert set(plan_removal(site.cluster, FEW).going) == before - {f"ConfigMap {it}" for it in lost}
    uninstall(site)
    assert site.there() - {VAULTS} == {("ConfigMap", "theirs")}


@pytest.mark.parametrize("example", examples.ALL)
def test_each_kind_of_object_is_searched(example: str) -> None:
    settings = examples.settings_of(example)
    made = [
        *desired.for_bootstrap(settings, make_namespace=False),
        *desired.for_deploy(settings, examples.RELEASE),
    ]
    searched = {kind for kinds in uninstallation._LISTED.values() for kind in kinds}
    assert {(each["apiVersion"], each["kind"]) for each in made} <= searched


def test_an_inventory_is_no_object_of_its_own_and_goes_last(site: Installed) -> None:
    told = list(uninstall(site))
    assert told[-2:] == [f"ConfigMap {names.INVENTORY}", f"ConfigMap {names.RIGHTS_INVENTORY}"]
    assert len(told) == len(set(told))


def test_what_has_our_labels_and_was_applied_by_somebody_else_stays(site: Installed) -> None:
    labels = site.fake.look("Service", names.SERVER)["metadata"]["labels"]
    site.put("Service", "a-copy", labels=labels, spec={"ports": [{"port": 1}]})
    uninstall(site)
    assert site.there() == KEPT | {("Service", "a-copy")}


def test_kinds_that_may_not_be_listed_are_told_and_what_inventories_list_goes(
    site: Installed,
) -> None:
    before = plan_removal(site.cluster, FEW)
    site.fake.denied = {("list", it) for it in ("services", "configmaps", "roles")}
    planned = plan_removal(site.cluster, FEW)
    assert planned.going == before.going
    told = [each for each in planned.staying if each not in before.staying]
    assert [each.partition(":")[0] for each in told] == [
        "each Service that no inventory lists, if any",
        "each ConfigMap that no inventory lists, if any",
        "each Role that no inventory lists, if any",
    ]
    assert "may not list services" in told[0]
    uninstall(site)
    assert site.there() == KEPT


HELD = new_journal("a worker is replaced").held({names.PLATFORM_POOL: False, names.POOL: True})


@pytest.mark.parametrize(
    ("journal", "options", "stays"),
    [
        (HELD, FEW, True),
        (HELD, Options(secrets=True), True),
        (HELD, ALL, False),
        (HELD.ended(Stage.DONE, "lifted"), FEW, False),
    ],
)
def test_who_holds_a_pool_is_remembered_as_long_as_the_database_is(
    site: Installed, journal: Journal, options: Options, *, stays: bool
) -> None:
    site.records.write_journal(journal)
    planned = plan_removal(site.cluster, options)
    told = [each for each in planned.staying if names.JOURNAL in each]
    assert [each.rpartition(": ")[2] for each in told] == [names.PLATFORM_POOL] * stays
    uninstall(site, options)
    assert (("ConfigMap", names.JOURNAL) in site.there()) is stays
    assert plan_removal(site.cluster, options).going == []


def test_a_damaged_journal_goes(site: Installed) -> None:
    site.put("ConfigMap", names.JOURNAL, data={"journal.json": "oops"})
    uninstall(site)
    assert site.there() == KEPT


def test_an_object_that_vanishes_between_two_looks_is_no_fault(site: Installed) -> None:
    planned = plan_removal(site.cluster, FEW)
    gone = Ref("v1", "ConfigMap", names.CONFIGURATION)
    uid = site.cluster.get(gone)["metadata"]["uid"]
    site.cluster.delete(gone, uid=uid)
    told: list[Change] = []
    remove(site.cluster, planned, site.beat, told.append)
    assert site.there() == KEPT
    assert [change.what for change in told if not change.wrote] == [gone.short]


def test_a_run_that_the_platform_worker_took_until_it_stopped_goes_as_well(
    site: Installed,
) -> None:
    def take(change: Change) -> None:
        if change.what == f"Deployment {names.WORKER}":
            site.put("Job", "late", "batch/v1", labels={"app": names.PLATFORM_JOB})

    remove(site.cluster, plan_removal(site.cluster, FEW), site.beat, take)
    assert ("Job", "late") not in site.there()
    assert site.there() == KEPT


def test_a_kind_that_the_cluster_serves_no_more_hinders_nothing(prepare: Prepare) -> None:
    site = prepare("production")
    site.install()
    site.fake.served = [it for it in site.fake.served if it.kind != "ExternalSecret"]
    site.cluster = site.fake.open(SPACE)
    uninstall(site)
    assert {kind for kind, _ in site.there() - {VAULTS}} == {"ExternalSecret"}


@pytest.mark.parametrize("with_secrets", [False, True])
def test_a_secret_that_the_vault_fills_stays_unless_secrets_are_to_go(
    prepare: Prepare, *, with_secrets: bool
) -> None:
    site = prepare("production")
    site.install()
    [owner] = [name for kind, name in site.there() if kind == "ExternalSecret"]
    uid = site.fake.look("ExternalSecret", owner)["metadata"]["uid"]
    reference = {"apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret", "name": owner}
    site.put("Secret", "filled", about={"ownerReferences": [{**reference, "uid": uid}]})
    uninstall(site, Options(secrets=with_secrets))
    assert (("Secret", "filled") in site.there()) is not with_secrets


# The schema.


def test_the_schema_goes_by_the_migrations_own_job_with_another_ending(site: Installed) -> None:
    [model] = [name for kind, name in site.there() if kind == "Job"]
    of_server = {
        "batch.kubernetes.io/controller-uid": "u",
        "job-name": model,
        "controller-uid": "u",
    }

    def finish(job: Object) -> None:
        job["spec"]["selector"] = {"matchLabels": {"batch.kubernetes.io/controller-uid": "u"}}
        job["spec"]["template"]["metadata"]["labels"] |= of_server

    before = site.fake.look("Job", model)
    site.fake.edit("Job", model, "kube-controller-manager", finish)
    seen = dropped(site)
    uninstall(site, Options(database=True))
    [job] = seen
    mine, its = container_of(job), container_of(before)
    assert mine["args"] == ["--drop"]
    assert {**its, "args": ["--drop"]} == {**its, **mine}
    assert "selector" not in job["spec"]
    assert (
        job["spec"]["template"]["metadata"]["labels"]
        == (before["spec"]["template"]["metadata"]["labels"])
    )


def test_the_schema_goes_when_no_workload_is_left_and_what_it_needs_still_is(
    site: Installed,
) -> None:
    seen: list[set[str]] = []

    def note(asked: Request) -> None:
        if asked.name == DROP and asked.verb == "create":
            seen.append({kind for kind, _ in site.there()})

    site.fake.on_write = note
    uninstall(site, ALL)
    [kinds] = seen
    assert "Deployment" not in kinds
    assert {"NetworkPolicy", "Secret", "ServiceAccount", "ConfigMap"} <= kinds


def test_without_a_job_that_knows_the_database_nothing_goes(site: Installed) -> None:
    [job] = [name for kind, name in site.there() if kind == "Job"]
    uid = site.fake.look("Job", job)["metadata"]["uid"]
    site.cluster.delete(Ref("batch/v1", "Job", job), uid=uid)
    before = site.there()
    with pytest.raises(NeedsOperator, match="leave out --database"):
        uninstall(site, ALL)
    assert site.there() == before


def test_the_schema_is_given_all_the_time_that_its_job_has(
    site: Installed, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    drop = plan_removal(site.cluster, ALL).drop
    assert drop is not None
    end = clock.now + drop["spec"]["activeDeadlineSeconds"] - 60

    def behaviour(found: Object) -> str:
        if found["metadata"]["name"] != DROP or clock.now > end:
            return GOOD
        clock.now += 30  # fewer looks
        return SLOW

    monkeypatch.setattr(site, "behaviour", behaviour)
    assert uninstall(site, ALL)["schema prefect"] is Did.REMOVED


def test_a_drop_that_failed_is_tried_anew_the_next_time(site: Installed) -> None:
    site.broken = {DROP}
    with pytest.raises(RolloutFailed, match=f"Job {DROP} has failed"):
        uninstall(site, ALL)
    assert ("NetworkPolicy", names.SERVER) in site.there()
    site.broken = set()
    uninstall(site, ALL)
    assert site.there() == THEIRS


def test_a_drop_of_an_earlier_time_proves_nothing_of_todays_schema(site: Installed) -> None:
    """It was killed before it removed its Job; then the platform was installed again."""
    [model] = [name for kind, name in site.there() if kind == "Job"]
    old = site.fake.look("Job", model)
    old["metadata"] = {"name": DROP, "namespace": SPACE, "labels": old["metadata"]["labels"]}
    site.fake.put(old)
    seen = dropped(site)
    uninstall(site, ALL)
    assert len(seen) == 1
    assert site.there() == THEIRS


def test_the_job_that_drops_the_schema_has_gone_before_one_of_its_name_is_removed(
    site: Installed, clock: Clock
) -> None:
    """Else that of a drop that failed before would be taken for one that somebody made anew."""
    site.broken = {DROP}
    with pytest.raises(RolloutFailed):
        uninstall(site, ALL)
    site.broken = set()

    def keep(content: Object) -> None:
        if content["metadata"]["name"] == DROP:
            content["metadata"]["finalizers"] = ["foregroundDeletion"]

    def collect() -> None:
        site.controllers()
        for place, stored in list(site.fake.objects.all.items()):
            if "deletionTimestamp" in stored.content["metadata"]:
                del site.fake.objects.all[place]

    site.fake.admit, clock.then = keep, repeat(collect)
    assert uninstall(site, ALL)["schema prefect"] is Did.REMOVED
    assert site.there() == THEIRS


# Interrupted.


@pytest.mark.parametrize(
    ("options", "journal"), [(FEW, HELD.ended(Stage.DONE, "lifted")), (ALL, HELD)]
)
def test_a_removal_that_is_killed_before_any_of_its_writes_is_completed_by_the_next(
    prepare: Prepare, options: Options, journal: Journal
) -> None:
    """A held pool is remembered until the schema is dropped, and not any longer."""
    for last in count(1):
        site = prepare("development")
        site.install()
        site.records.write_journal(journal)
        writes = count(1)

        def kill(_: Request, writes: Any = writes, last: int = last) -> None:
            if next(writes) == last:
                raise KeyboardInterrupt

        site.fake.on_write = kill
        try:
            uninstall(site, options)
        except KeyboardInterrupt:
            site.fake.on_write = lambda _: None
            uninstall(site, options)
            assert site.there() == set()
        else:
            break
    assert last > 20


def test_nothing_goes_when_the_guard_refuses(site: Installed) -> None:
    def refuse() -> None:
        raise NeedsOperator("stopped", "resume")

    before = site.there()
    with pytest.raises(NeedsOperator, match="stopped"):
        remove(site.cluster, plan_removal(site.cluster, ALL), refuse, lambda _: None)
    assert site.there() == before


def test_a_workload_that_does_not_go_is_told_and_what_it_needs_stays(site: Installed) -> None:
    def stuck(found: Object) -> None:
        found["metadata"]["finalizers"] = ["somebody/else"]

    site.fake.edit("Deployment", names.SERVER, "somebody", stuck)
    with pytest.raises(TimedOut, match=f"Deployment {names.SERVER}.*its pods are stopping"):
        uninstall(site, ALL)
    assert ("NetworkPolicy", names.SERVER) in site.there()
