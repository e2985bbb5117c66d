"""A cluster's platform: what it wants, brings, proves, and leaves in its ledger."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

import pytest
from pydantic import SecretStr

from clinical_ai import names
from clinical_ai.change import Change, Did
from clinical_ai.deployment_plan import Wanted, with_cron
from clinical_ai.errors import (
    ManyFaults,
    NeedsOperator,
    PlatformError,
    StillRunning,
    TimedOut,
)
from clinical_ai.manifests.kubernetes import access, credentials, pools
from clinical_ai.manifests.kubernetes.metadata import ownership
from clinical_ai.ports_cluster import Forbidden, Ref, group_of
from clinical_ai.settings import Connection, Settings, parse
from clinical_ai.steps.cluster.break_glass import resume, stop
from clinical_ai.steps.cluster.deploy import deploy
from clinical_ai.steps.cluster.lease import cluster_lease, find_holder
from clinical_ai.steps.cluster.rollout import RolloutFailed
from clinical_ai.steps.cluster.site import Site
from clinical_ai.steps.progress import unheard
from clinical_ai.steps.verify import CANARIES, Result
from tests.support.clock import Clock
from tests.support.deploying import each_of
from tests.support.fakes import MemorySecrets
from tests.support.installed import SPACE, Installed, Prepare
from tests.support.kubernetes_examples import DEVELOPMENT, RELEASE, settings_of
from tests.support.objects import config

BETTER: Final = replace(RELEASE, image=RELEASE.image.replace("0", "f"))


def bring(site: Installed, *, write: bool = True, tidy: bool = False) -> list[Change]:
    return site.platform().bring("flow run a-run", write=write, tidy=tidy, tell=unheard)


def leave_over(site: Installed) -> None:
    """A worker's pod is gone, and the server's was replaced while a slot was taken."""
    name = f"{names.WORKER}-gone"
    site.prefect.post(f"/work_pools/{names.POOL}/workers/heartbeat", {"name": name})
    site.prefect.workers[names.POOL, name]["status"] = "OFFLINE"
    site.prefect.post("/v2/concurrency_limits/", {"name": "l", "limit": 1, "active_slots": 1})
    site.prefect.limits["l"]["updated"] = "2026-01-01T00:00:00Z"
    site.put("Pod", "server-1", labels={"app": names.SERVER})


def left_over(site: Installed) -> tuple[int, int]:
    """How many workers are known, and how many slots are taken."""
    return len(site.prefect.workers), site.prefect.limits["l"]["active_slots"]


def fail(site: Installed, **more: Any) -> None:
    """A change that does not come up; without `more` nothing is wanted that was not good."""
    site.broken = {names.WORKER}
    for (_, kind, _, name), stored in site.fake.objects.all.items():
        if (kind, name) == ("Deployment", names.WORKER):
            stored.content["status"] = {}
    with pytest.raises((RolloutFailed, TimedOut)):
        site.platform(**more).bring("flow run a-run", write=True, tell=unheard)
    site.broken = set()


def with_cluster(**more: Any) -> Settings:
    return parse({"kubernetes": {**DEVELOPMENT["kubernetes"], **more}})


@pytest.fixture
def spoiled(installed: Installed) -> Installed:
    """A platform one of whose objects somebody deleted."""
    ref = Ref("v1", "ConfigMap", names.CONFIGURATION)
    installed.cluster.delete(ref, uid=installed.cluster.get(ref)["metadata"]["uid"])
    return installed


# What is wanted.


def test_deploy_self_looks_for_drift_as_often_as_the_settings_say_and_nothing_else_moves(
    installed: Installed, rendered: dict[str, Any]
) -> None:
    installed.rendered = rendered
    installed.settings = with_cluster(**{"drift-schedule": "7 3 * * *"})
    before = {
        f"{raw['flow_name']}/{raw['body']['name']}": raw["body"].get("schedules")
        for raw in rendered["deployments"]
    }
    platform = installed.platform()
    found = {each.full_name: each.body for each in platform.wanted}
    schedules = found[names.DEPLOY_SELF]["schedules"]
    [drift] = [each for each in schedules if each["slug"] == names.DRIFT]
    assert drift["schedule"]["cron"] == "7 3 * * *"
    after = {full_name: body.get("schedules") for full_name, body in found.items()}
    assert after == {**before, names.DEPLOY_SELF: schedules}


def test_another_cron_leaves_zone_parameters_and_other_schedules_as_they_are() -> None:
    drift = {
        "slug": "drift",
        "active": True,
        "parameters": {"drift_check": True},
        "schedule": {"cron": "0 * * * *", "timezone": "Europe/Berlin", "day_or": True},
    }
    other = {"slug": "other", "active": False, "schedule": {"interval": 60}}
    wanted = Wanted("f/d", {"name": "d", "schedules": [other, drift]}, frozenset({"schedules"}))
    changed = with_cron(wanted, "drift", "5 4 * * *")
    timing = {"cron": "5 4 * * *", "timezone": "Europe/Berlin", "day_or": True}
    assert changed.body["schedules"] == [other, {**drift, "schedule": timing}]
    assert drift["schedule"] != timing
    assert with_cron(wanted, "nothing", "5 4 * * *") == wanted
    assert with_cron(changed, "drift", "0 * * * *") == wanted


# What a person has to agree to.


def of_before(installed: Installed, count: int) -> list[Ref]:
    """Objects that earlier settings wanted, the last applied first."""
    old = [config(f"old-{number}") for number in range(count)]
    for each in old:
        each["metadata"]["labels"] = ownership(SPACE)
    stages = {**installed.stages, "old": old}
    deploy(Site(installed.cluster, installed.platform().ownership), stages)
    return [Ref.of(each) for each in reversed(old)]


@pytest.mark.parametrize(("count", "asked"), [(0, False), (5, False), (6, True)])
def test_as_many_as_the_settings_allow_go_unasked(
    installed: Installed, count: int, *, asked: bool
) -> None:
    old = of_before(installed, count)
    installed.fake.requests.clear()
    assert installed.platform().large_prune() == (old if asked else [])
    assert installed.fake.writes == []


def test_what_was_agreed_goes_and_nothing_goes_unasked(installed: Installed) -> None:
    old = of_before(installed, 6)
    platform = installed.platform()
    with pytest.raises(NeedsOperator, match="6 objects would be deleted, 5 at once are allowed"):
        platform.bring("a run", write=True, tell=unheard)
    assert all(installed.cluster.find(ref) for ref in old)
    platform.bring("a run", write=True, tell=unheard, agreed=platform.large_prune())
    assert not any(installed.cluster.find(ref) for ref in old)


def test_what_may_not_be_read_is_told_with_the_rights_that_differ(installed: Installed) -> None:
    of_before(installed, 6)
    role = Ref("rbac.authorization.k8s.io/v1", "Role", names.PLATFORM_WORKER)
    installed.cluster.delete(role, uid=installed.cluster.get(role)["metadata"]["uid"])
    installed.fake.denied = {("get", "configmaps")}
    with pytest.raises(NeedsOperator, match="rights are not as the settings want them"):
        installed.platform().large_prune()


# Whether it can run.


def test_settings_that_a_cluster_can_run_with_pass(installed: Installed) -> None:
    needed = installed.platform().references()
    installed.secrets = MemorySecrets(dict.fromkeys(needed, "not-secret"))
    installed.platform().check()


def of_another_secret(installed: Installed) -> list[str]:
    """Settings name a Secret for the first time; this pod has what the old ones named."""
    needed = installed.platform().references()
    installed.secrets = MemorySecrets(dict.fromkeys(needed, "not-secret"))
    keys = {"minio-access-key": "secret:ours/id", "minio-secret-key": "secret:ours/key"}
    installed.settings = parse({**DEVELOPMENT, **keys})
    return list(keys.values())


def test_a_secret_that_settings_name_for_the_first_time_stops_no_run(installed: Installed) -> None:
    of_another_secret(installed)
    installed.platform().check()
    [pool] = [each for each in installed.platform().pools() if each["type"] == "kubernetes"]
    assert '"secretName": "ours"' in json.dumps(pool["base_job_template"])


def test_what_deploy_self_brings_back_may_be_gone_when_it_starts(prepare: Prepare) -> None:
    installed = prepare("production")
    installed.secrets = MemorySecrets({names.DATABASE_URL: "not-secret"})
    installed.platform().check()
    pod = pools.work(installed.settings, RELEASE).parts.volumes
    kept = {it["secret"]["secretName"]: it["secret"].get("optional", False) for it in pod}
    assert kept[names.AWS_CREDENTIALS]
    assert not kept[names.SECRETS]


def test_settings_of_another_namespace_are_refused_before_anything_is_written(
    installed: Installed,
) -> None:
    """Else all of this one would be pruned, and runs of its pools be started in the other."""
    needed = installed.platform().references()
    installed.secrets = MemorySecrets(dict.fromkeys(needed, "not-secret"))
    installed.settings = with_cluster(namespace="elsewhere")
    with pytest.raises(ManyFaults) as refused:
        installed.platform().check()
    [fault] = refused.value.faults
    assert fault.problem == f"kubernetes.namespace is elsewhere, and this platform is in {SPACE}"
    assert fault.remedy.startswith(f"write {SPACE} there; ")


@pytest.mark.parametrize("reference", ["env:LAB", "file:/run/lab"])
def test_what_bootstrap_alone_reads_is_refused_in_the_block(
    installed: Installed, reference: str
) -> None:
    """Somebody wrote it in the UI's form; no run could read it."""
    lab = Connection(addresses=("lab.example.org:1521",), credentials=reference)
    installed.settings = installed.settings.model_copy(update={"connections": {"lab": lab}})
    with pytest.raises(ManyFaults) as refused:
        installed.platform().check()
    [fault] = refused.value.faults
    told = f"connections.lab.credentials is {reference}, which bootstrap alone reads"
    assert (fault.problem, fault.remedy) == (told, "write secret:NAME/KEY")


def test_settings_of_one_machine_are_refused_in_a_cluster(installed: Installed) -> None:
    installed.settings = parse({})
    with pytest.raises(ManyFaults, match="name no cluster"):
        installed.platform().check()


@pytest.mark.parametrize(("drift", "heals"), [("report", False), ("heal", True)])
def test_drift_is_healed_when_the_settings_say_so(
    installed: Installed, drift: str, *, heals: bool
) -> None:
    installed.settings = with_cluster(drift=drift)
    assert installed.platform().heals_drift is heals
    assert installed.platform().unhealed == ""


def test_healing_goes_on_after_a_failure_of_what_was_good_before(installed: Installed) -> None:
    """As while Vault or a node was away."""
    installed.settings = with_cluster(drift="heal")
    fail(installed)
    [entry] = installed.records.read_ledger()
    assert names.WORKER in entry["failed"]
    assert "healing" not in entry
    assert installed.platform().heals_drift
    assert installed.platform().unhealed == ""


def test_a_change_that_failed_is_not_tried_each_hour_and_the_good_one_is_still_healed(
    installed: Installed,
) -> None:
    installed.settings = with_cluster(drift="heal")
    fail(installed, release=BETTER)
    better = installed.platform(release=BETTER)
    assert not better.heals_drift
    assert "until the block is corrected, or deploy/self is run" in better.unhealed
    assert installed.records.read_ledger()[-1]["healing"] == better.unhealed
    assert installed.platform().heals_drift


def test_a_corrected_block_is_healed_to(installed: Installed) -> None:
    wrong, right = ({"environment": {"A": value}} for value in ("wrong", "right"))
    installed.settings = with_cluster(drift="heal", components={"worker": wrong})
    fail(installed)
    assert not installed.platform().heals_drift
    installed.settings = with_cluster(drift="heal", components={"worker": right})
    assert installed.platform().heals_drift


def test_a_job_template_with_which_no_run_starts_is_not_tried_each_hour(
    installed: Installed,
) -> None:
    jobs = {"environment": {"PYTHONHOME": "/nonexistent"}}
    installed.settings = with_cluster(drift="heal", components={"jobs": jobs})
    platform = installed.platform()
    assert each_of(platform.stages) == installed.records.find_objects()
    platform.record({"release": "1", "changes": ["pool"], "failed": "it starts no run"})
    assert not platform.heals_drift


def test_where_drift_is_only_told_nothing_is_said_of_healing(installed: Installed) -> None:
    fail(installed, release=BETTER)
    assert installed.platform(release=BETTER).unhealed == ""
    assert "healing" not in installed.records.read_ledger()[-1]


def test_what_the_platform_changes_of_prefect_asks_the_switch_first(installed: Installed) -> None:
    managed = installed.platform().managed
    stop(installed.cluster, "ann", "incident 12")
    with pytest.raises(NeedsOperator, match="incident 12"):
        managed.patch(f"/work_pools/{names.POOL}", {"is_paused": True})
    assert managed.get(f"/work_pools/{names.POOL}")["is_paused"] is False
    resume(installed.cluster)
    managed.patch(f"/work_pools/{names.POOL}", {"is_paused": True})
    assert installed.prefect.pools[names.POOL]["is_paused"] is True


# What is brought.


@pytest.mark.parametrize("tidy", [False, True])
def test_a_report_tells_what_differs_and_writes_nothing_not_even_a_lease(
    spoiled: Installed, *, tidy: bool
) -> None:
    role = Ref("rbac.authorization.k8s.io/v1", "Role", names.PLATFORM_JOB)
    spoiled.cluster.delete(role, uid=spoiled.cluster.get(role)["metadata"]["uid"])
    before = spoiled.there()
    spoiled.fake.requests.clear()
    changes = bring(spoiled, write=False, tidy=tidy)
    differing = {change.what: change.did for change in changes if change.differs}
    assert spoiled.fake.writes == []
    assert spoiled.there() == before
    assert {what.rpartition("/")[2]: did for what, did in differing.items()} == {
        names.CONFIGURATION: Did.CREATED,
        names.PLATFORM_JOB: Did.DRIFTED,
    }


def test_what_differs_is_brought_and_then_nothing_differs(spoiled: Installed) -> None:
    assert any(change.wrote for change in bring(spoiled))
    assert ("ConfigMap", names.CONFIGURATION) in spoiled.there()
    assert not any(change.differs for change in bring(spoiled))
    assert not any(change.differs for change in bring(spoiled, write=False))
    assert find_holder(spoiled.cluster) is None


@pytest.mark.parametrize("example", ["development", "production", "vault-agent"])
def test_its_role_grants_each_verb_that_it_asks_for(prepare: Prepare, example: str) -> None:
    """Of a change, of one that is taken back with its migration, of drift and of pruning.

    No kind that it keeps may be listed unless it is.
    """
    site = prepare(example)
    site.install()
    [role] = [
        each["rules"]
        for each in access.rights(site.settings)
        if (each["kind"], each["metadata"]["name"]) == ("Role", names.PLATFORM_JOB)
    ]
    granted = {
        (verb, group, resource)
        for rule in role
        for verb in rule["verbs"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }
    ref = Ref("v1", "ConfigMap", names.CONFIGURATION)
    site.cluster.delete(ref, uid=site.cluster.get(ref)["metadata"]["uid"])
    leave_over(site)
    site.fake.requests.clear()
    bring(site, write=False, tidy=True)
    bring(site)
    site.broken = {names.WORKER}
    with pytest.raises(RolloutFailed):
        site.platform(release=BETTER).bring("flow run a-run", write=True, tell=unheard)
    asked = {
        (it.verb, group_of(it.served.api_version), "/".join(filter(None, parts)))
        for it in site.fake.requests
        for parts in [(it.served.plural, it.subresource)]
    }
    assert asked <= granted
    kept = {row[1:] for row in granted if row[0] == "delete"}
    listed = {row[1:] for row in asked if row[0] == "list"}
    assert {row[1:] for row in granted if row[0] == "list"} & kept == listed & kept
    assert {verb for verb, _, _ in asked} >= {"get", "list", "create", "patch"}


@pytest.mark.parametrize("write", [False, True])
def test_rights_that_new_settings_need_are_told_with_the_command_that_gives_them(
    installed: Installed, *, write: bool
) -> None:
    exposure = {"kind": "ingress", "host": "prefect.example.org"}
    installed.settings = with_cluster(exposure=exposure)
    installed.fake.denied = {("get", "ingresses"), ("patch", "ingresses")}
    with pytest.raises(NeedsOperator, match="may not get ingresses") as refused:
        bring(installed, write=write)
    assert names.PLATFORM_JOB in refused.value.remedy
    assert (
        "heal it with bootstrap: `clinical-ai up --runtime kubernetes --settings FILE`"
        in refused.value.remedy
    )


def unlabel(site: Installed, *labels: str) -> None:
    """Somebody takes labels off the namespace."""

    def take(found: Any) -> None:
        for each in labels:
            del found["metadata"]["labels"][each]

    site.fake.edit("Namespace", SPACE, "kubectl-edit", take)


@pytest.mark.parametrize("write", [False, True])
def test_labels_that_the_namespace_lost_are_told_with_the_command_that_heals_them(
    installed: Installed, *, write: bool
) -> None:
    unlabel(installed, f"{access.LEVEL}/enforce")
    [told] = [change for change in bring(installed, write=write) if change.differs]
    assert (told.what, told.did) == (f"Namespace {SPACE}", Did.DRIFTED)
    assert told.detail.startswith(f"{access.LEVEL}/enforce; ")
    assert "heal it with bootstrap: `clinical-ai up --runtime kubernetes" in told.detail


def test_a_namespace_that_lost_the_label_of_its_owner_is_compared_still(
    installed: Installed,
) -> None:
    unlabel(installed, f"{access.LEVEL}/enforce", names.OWNER_LABEL)
    [told] = [change for change in bring(installed, write=False) if change.differs]
    assert told.what == f"Namespace {SPACE}"
    assert f"{access.LEVEL}/enforce" in told.detail


def test_a_namespace_that_bootstrap_did_not_make_is_not_compared(installed: Installed) -> None:
    """Whatever was there by that name before."""
    del installed.fake.objects.all["v1", "Namespace", "", SPACE]
    installed.fake.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SPACE}})
    assert not any(change.differs for change in bring(installed, write=False))


def test_rights_that_somebody_narrowed_are_told_also_when_they_let_no_more_be_read(
    installed: Installed,
) -> None:
    """Of the rule that the inventory is read by."""

    def narrow(found: Any) -> None:
        found["rules"][0]["resourceNames"] = ["other"]

    installed.fake.edit("Role", names.PLATFORM_JOB, "kubectl-edit", narrow)
    [told] = [change for change in bring(installed, write=False) if change.differs]
    assert (told.what, told.did) == (f"Role {SPACE}/{names.PLATFORM_JOB}", Did.DRIFTED)
    installed.fake.denied = {("get", "configmaps"), ("get", "namespaces")}
    with pytest.raises(NeedsOperator, match="rights are not as the settings want") as refused:
        bring(installed, write=False)
    assert f"{names.PLATFORM_JOB}: rules; set by kubectl-edit" in refused.value.remedy


def test_what_is_forbidden_although_rights_are_as_wanted_is_told_as_it_is(
    installed: Installed,
) -> None:
    installed.fake.denied = {("list", "configmaps"), ("get", "configmaps")}
    with pytest.raises(Forbidden, match="may not get configmaps"):
        bring(installed, write=False)


@pytest.mark.parametrize("write", [True, False])
def test_what_is_left_over_goes_by_schedule_also_where_drift_is_only_told(
    installed: Installed, *, write: bool
) -> None:
    leave_over(installed)
    changes = bring(installed, write=write, tidy=True)
    assert left_over(installed) == (0, 0)
    assert [change.did for change in changes if change.leftover] == [Did.TIDIED] * 2
    assert not any(change.differs for change in changes)
    assert find_holder(installed.cluster) is None


def test_a_report_tells_what_is_left_over_and_leaves_it(installed: Installed) -> None:
    leave_over(installed)
    installed.fake.requests.clear()
    changes = bring(installed, write=False)
    assert left_over(installed) == (1, 1)
    assert installed.fake.writes == []
    assert [change.did for change in changes if change.leftover] == [Did.LEFT_OVER] * 2
    assert not any(change.differs for change in changes)


def test_what_is_left_over_is_told_and_stays_while_self_management_is_stopped(
    installed: Installed,
) -> None:
    leave_over(installed)
    stop(installed.cluster, "ann", "incident 12")
    told = [each for each in bring(installed, write=False, tidy=True) if each.leftover]
    assert left_over(installed) == (1, 1)
    assert {each.did for each in told} == {Did.LEFT_OVER}
    assert all("incident 12" in each.detail for each in told)


def test_what_is_left_over_is_told_and_stays_while_somebody_else_changes_the_platform(
    installed: Installed,
) -> None:
    leave_over(installed)
    with cluster_lease(installed.cluster, "deploy by ann"):
        told = [each for each in bring(installed, write=False, tidy=True) if each.leftover]
    assert left_over(installed) == (1, 1)
    assert {each.did for each in told} == {Did.LEFT_OVER}
    assert all("deploy by ann" in each.detail for each in told)


@pytest.mark.parametrize("claim", ["", "clinical-ai-leases"])
def test_slots_leak_only_where_leases_have_no_volume_of_their_own(
    installed: Installed, claim: str
) -> None:
    installed.settings = with_cluster(**({"lease-claim": claim} if claim else {}))
    bring(installed)
    installed.put("Pod", "server-1", labels={"app": names.SERVER})
    installed.prefect.post("/v2/concurrency_limits/", {"name": "l", "limit": 1, "active_slots": 1})
    bring(installed)
    assert installed.prefect.limits["l"]["active_slots"] == int(bool(claim))


def test_nothing_is_brought_while_self_management_is_stopped(spoiled: Installed) -> None:
    stop(spoiled.cluster, "ann", "incident 12")
    before = spoiled.there()
    with pytest.raises(NeedsOperator, match="incident 12"):
        bring(spoiled)
    assert spoiled.there() - before <= {("Lease", names.CLUSTER_LEASE)}
    assert bring(spoiled, write=False)


# What is left in the ledger.


@pytest.mark.parametrize("name", [names.SERVER, names.MIGRATION])
def test_a_rollout_that_failed_is_in_the_ledger_with_its_release_and_run(
    installed: Installed, name: str
) -> None:
    installed.broken = {name}
    better = replace(RELEASE, version="9.9.9", content="ba9876543210")
    platform = installed.platform(release=better)
    with pytest.raises((RolloutFailed, TimedOut)):
        platform.bring("flow run a-run", write=True, tell=unheard)
    [entry] = installed.records.read_ledger()
    assert name in entry["failed"]
    assert entry["run"] == "flow run a-run"
    assert entry["release"].startswith("9.9.9 ")
    assert find_holder(installed.cluster) is None


def test_runs_that_do_not_end_in_time_end_no_healing(installed: Installed) -> None:
    """Nothing is wrong with the change: the next one may find them ended."""
    installed.settings = with_cluster(drift="heal")
    installed.run(names.POOL)
    with pytest.raises(StillRunning, match="a-long-run"):
        installed.platform(release=BETTER).bring("flow run a-run", write=True, tell=unheard)
    assert installed.records.read_ledger() == []
    assert installed.platform().heals_drift


def test_a_run_that_finds_all_as_it_was_leaves_no_entry(installed: Installed) -> None:
    """Else the history of two days would be all that is kept."""
    entry = {"at": "1", "release": "1.0.0", "run": "a", "changes": ["web: created"]}
    same = {"at": "2", "release": "1.0.0", "run": "b", "changes": []}
    installed.platform().record(entry)
    installed.fake.requests.clear()
    installed.platform().record(same)
    assert installed.fake.writes == []
    assert [it["run"] for it in installed.records.read_ledger()] == ["a"]
    installed.platform(release=BETTER).record(same)
    assert [it["run"] for it in installed.records.read_ledger()] == ["a", "b"]


def test_a_fault_that_lasts_is_in_the_ledger_once(installed: Installed) -> None:
    fail(installed)
    fail(installed)
    assert len(installed.records.read_ledger()) == 1


def test_a_ledger_that_is_damaged_hides_no_bad_rollout(
    installed: Installed, caplog: pytest.LogCaptureFixture
) -> None:
    installed.put("ConfigMap", names.LEDGER, data={"entries.json": "oops"})
    installed.broken = {names.MIGRATION}
    platform = installed.platform(release=replace(RELEASE, content="ba9876543210"))
    with pytest.raises(RolloutFailed, match=names.MIGRATION):
        platform.bring("flow run a-run", write=True, tell=unheard)
    assert f"ConfigMap {names.LEDGER} is damaged" in caplog.text


def test_a_change_that_may_not_be_made_is_no_failed_rollout(installed: Installed) -> None:
    stop(installed.cluster, "ann", "incident 12")
    ref = Ref("v1", "ConfigMap", names.CONFIGURATION)
    installed.cluster.delete(ref, uid=installed.cluster.get(ref)["metadata"]["uid"])
    with pytest.raises(PlatformError):
        bring(installed)
    assert installed.records.read_ledger() == []


# What proves it.


class Proof:
    """What the checks find, and whether they were asked for canary runs."""

    def __init__(self) -> None:
        self.results = [Result("pods ready", passed=True, evidence="3 pods")]
        self.flown: list[bool] = []
        self.late: list[str] = []

    def verify(self, _parts: Any, *, fly: bool, history: bool, late: Sequence[str]) -> list[Result]:
        assert not history
        self.flown.append(fly)
        self.late = list(late)
        return self.results


@pytest.fixture
def proof(monkeypatch: pytest.MonkeyPatch) -> Proof:
    made = Proof()
    monkeypatch.setattr("clinical_ai.steps.cluster.verify.verify_cluster", made.verify)
    return made


@pytest.mark.parametrize(
    ("did", "flown"), [(Did.UPDATED, True), (Did.UNCHANGED, False), (Did.DRIFTED, False)]
)
def test_canaries_fly_only_after_a_change(
    installed: Installed, proof: Proof, did: Did, *, flown: bool
) -> None:
    installed.platform().prove([Change("a", Did.UNCHANGED), Change("b", did)])
    assert proof.flown == [flown]


def test_a_proof_waits_until_what_was_brought_back_is_in_its_pod(
    prepare: Prepare, proof: Proof, clock: Clock
) -> None:
    installed = prepare("production")
    installed.install()
    first, last = credentials.storage(installed.settings)

    def arrives(reference: str) -> Callable[[], object]:
        return lambda: installed.secrets.put(reference, SecretStr("not-secret"))

    clock.happens(arrives(first), lambda: proof.flown.append(True), arrives(last))
    installed.platform().prove([])
    assert proof.flown == [True, False]


def test_what_never_reaches_the_pod_is_named(prepare: Prepare, proof: Proof) -> None:
    installed = prepare("production")
    with pytest.raises(TimedOut, match=f"{names.AWS_ACCESS_KEY_ID}.* not mounted"):
        installed.platform().prove([])
    assert proof.flown == []


def test_a_secret_for_which_this_pod_has_no_place_is_not_waited_for(
    prepare: Prepare, proof: Proof, clock: Clock
) -> None:
    installed = prepare("production")
    installed.install()
    before = clock.now
    installed.platform(has_place_for=lambda _: False).prove([])
    assert proof.late == credentials.storage(installed.settings)
    assert clock.now == before


def test_what_this_pod_began_too_early_to_have_the_next_run_proves(
    installed: Installed, proof: Proof
) -> None:
    new = of_another_secret(installed)
    platform = installed.platform()
    before = installed.records.find_objects()
    proof.results.append(Result("storage", passed=True, evidence="not there yet", shown=False))
    platform.prove(platform.bring("flow run a-run", write=True, tell=unheard))
    assert proof.late == new
    assert installed.records.find_objects() == before != each_of(platform.stages)
    for each in new:
        installed.secrets.put(each, SecretStr("not-secret"))
    proof.results.pop()
    installed.platform().prove([])
    assert (proof.late, proof.flown) == ([], [True, True])
    assert installed.records.find_objects() == each_of(platform.stages)


def test_what_came_up_and_does_not_prove_good_is_not_what_an_undo_restores(
    installed: Installed, proof: Proof
) -> None:
    before = installed.records.find_objects()
    better = installed.platform(release=BETTER)
    proof.results.append(Result(CANARIES, passed=False, evidence="is pending"))
    better.prove(better.bring("flow run a-run", write=True, tell=unheard))
    assert installed.records.find_objects() == before != []
    installed.broken = {names.WORKER}
    worse = installed.platform(release=replace(RELEASE, image=RELEASE.image.replace("0", "e")))
    with pytest.raises(RolloutFailed):
        worse.bring("flow run a-run", write=True, tell=unheard)
    assert installed.image(names.SERVER) == RELEASE.image


def test_what_no_canary_had_room_to_show_is_good_once_one_has_flown(
    installed: Installed, proof: Proof
) -> None:
    before = installed.records.find_objects()
    better = installed.platform(release=BETTER)
    proof.results.append(Result(CANARIES, passed=True, evidence="full", shown=False))
    better.prove(better.bring("flow run a-run", write=True, tell=unheard))
    assert installed.records.find_objects() == before
    proof.results.pop()
    better.prove([])
    assert proof.flown == [True, True]
    assert installed.records.find_objects() == each_of(better.stages)


def test_what_a_killed_run_brought_and_did_not_prove_the_next_one_proves(
    installed: Installed, proof: Proof
) -> None:
    better = installed.platform(release=BETTER)
    better.bring("flow run a-run", write=True, tell=unheard)
    again = better.bring("flow run b-run", write=True, tell=unheard)
    assert not any(change.wrote for change in again)
    better.prove(again)
    assert installed.records.find_objects() == each_of(better.stages)
    installed.fake.requests.clear()
    better.prove(again)
    assert proof.flown == [True, False]
    assert installed.fake.writes == []


def test_a_job_template_that_a_killed_run_brought_and_did_not_prove_the_next_one_proves(
    installed: Installed, proof: Proof
) -> None:
    jobs = {"environment": {"A": "new"}}
    installed.settings = with_cluster(components={"jobs": jobs})
    for _ in range(2):
        installed.platform().prove([])
    assert proof.flown == [True, False]


def test_nothing_is_good_yet_when_the_first_install_does_not_prove_good(
    installed: Installed, proof: Proof
) -> None:
    good = Ref("v1", "ConfigMap", names.GOOD_OBJECTS)
    installed.cluster.delete(good, uid=installed.cluster.get(good)["metadata"]["uid"])
    proof.results.append(Result(CANARIES, passed=False, evidence="is pending"))
    platform = installed.platform()
    platform.prove(bring(installed))
    assert installed.records.find_objects() == []
    proof.results.pop()
    platform.prove(bring(installed))
    assert proof.flown == [True, True]
    assert installed.records.find_objects() == each_of(platform.stages)


def test_nothing_is_written_of_a_proof_while_self_management_is_stopped(
    installed: Installed, proof: Proof
) -> None:
    before = installed.records.find_objects()
    better = installed.platform(release=BETTER)
    changes = better.bring("flow run a-run", write=True, tell=unheard)
    stop(installed.cluster, "ann", "incident 12")
    with pytest.raises(NeedsOperator, match="incident 12"):
        better.prove(changes)
    assert installed.records.find_objects() == before


def test_a_browser_finds_prefect_at_its_exposure_or_at_a_forwarded_port(prepare: Prepare) -> None:
    forwarded = prepare("development").platform()
    assert forwarded.ui_url == f"http://localhost:{names.API_PORT}"
    way = "kubectl port-forward -n clinical-ai svc/clinical-ai-prefect-server 4200:4200"
    assert forwarded.ui_way == way
    exposed = prepare("production").platform(chosen=settings_of("production"))
    assert (exposed.ui_url, exposed.ui_way) == ("https://prefect.example.org", "")
    parents = [{"name": "public"}]
    many = with_cluster(exposure={"kind": "gateway", "host": "*.example.org", "parents": parents})
    any_host = prepare("development").platform(chosen=many)
    assert any_host.ui_url == f"http://localhost:{names.API_PORT}"
