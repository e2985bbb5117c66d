"""What `status` tells of a platform in a cluster, with any part of it down."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from clinical_ai import names
from clinical_ai.errors import NeedsOperator, Transient
from clinical_ai.manifests.kubernetes import credentials
from clinical_ai.manifests.orchestration import hold_automation
from clinical_ai.plans import Journal, Stage
from clinical_ai.ports import PrefectApi
from clinical_ai.ports_cluster import Object, Ref
from clinical_ai.settings import Connection, parse
from clinical_ai.steps.cluster.break_glass import stop
from clinical_ai.steps.cluster.lease import cluster_lease
from clinical_ai.steps.cluster.records import Records
from clinical_ai.steps.cluster.status import see, table
from clinical_ai.steps.orchestration import ensure_automation
from clinical_ai.steps.roll import hold, new_journal
from tests.support.installed import Installed, Prepare
from tests.support.kubernetes_examples import DEVELOPMENT, RELEASE


@pytest.fixture
def installed(installed: Installed) -> Installed:
    """The platform, with its Secrets."""
    installed.keep_secrets()
    return installed


LEASE = Ref("coordination.k8s.io/v1", "Lease", names.CLUSTER_LEASE)
ENTRY = {"at": "2026-11-24T10:00:00+00:00", "release": "1.0.0 good", "run": "a-run", "changes": []}


def look(site: Installed) -> dict[str, Any]:
    """As a script reads it."""

    @contextmanager
    def reach() -> Iterator[PrefectApi]:
        yield site.prefect

    seen: dict[str, Any] = json.loads(json.dumps(see(site.cluster, reach)))
    return seen


def told(site: Installed) -> str:
    return "\n".join(table(look(site)))


def held(site: Installed, run: str = "") -> Journal:
    """A change is replacing the platform's worker; a flow run with this id."""
    journal = new_journal("the worker of pool platform is replaced").held({"platform": False})
    Records(site.cluster).write_journal(journal)
    if run:
        pool = site.prefect.pools[names.PLATFORM_POOL]["id"]
        ensure_automation(site.prefect, hold_automation([pool], run))
    hold(site.prefect, [names.PLATFORM_POOL])
    return journal


def workload(seen: dict[str, Any], name: str) -> dict[str, Any]:
    [found] = [each for each in seen["workloads"] if each["name"] == name]
    return dict(found)


def test_a_whole_platform_is_healthy_and_as_it_was_applied(installed: Installed) -> None:
    installed.platform().record(ENTRY)
    installed.fake.requests.clear()
    seen = look(installed)
    assert installed.fake.writes == []
    assert seen["healthy"] is True
    assert (seen["release"], seen["by"], seen["failed"]) == ("1.0.0 good", "a-run", None)
    assert (seen["break_glass"], seen["lease"]) == (None, None)
    assert [each["name"] for each in seen["workloads"]] == list(names.WORKLOADS)
    assert {each["image"] for each in seen["workloads"]} == {RELEASE.image}
    assert seen["drift"]["known"] is True
    assert seen["drift"]["differing"] == []
    assert seen["drift"]["objects"] > 9


def test_a_namespace_without_a_platform_is_told_as_such(prepare: Prepare) -> None:
    site = prepare("development")
    site.prefect.down = True
    seen = look(site)
    assert seen["healthy"] is False
    assert {each["state"] for each in seen["workloads"]} == {"is not there"}
    assert "release      none yet" in told(site)
    assert "drift        not known: deploy/self has proved nothing good yet" in told(site)


@pytest.mark.parametrize("name", names.WORKLOADS)
def test_one_workload_that_is_not_up_makes_it_unhealthy(installed: Installed, name: str) -> None:
    installed.broken = {name}
    installed.controllers()
    seen = look(installed)
    assert seen["healthy"] is False
    assert workload(seen, name)["ready"] is False
    assert [each["ready"] for each in seen["workloads"]].count(False) == 1


def test_a_workload_that_is_scaled_to_nothing_makes_it_unhealthy(installed: Installed) -> None:
    def scale(found: Object) -> None:
        found["spec"]["replicas"] = 0

    installed.fake.edit("Deployment", names.WORKER, "ann", scale)
    installed.controllers()
    seen = look(installed)
    assert seen["healthy"] is False
    assert workload(seen, names.WORKER)["ready"] is False


def test_a_workload_that_somebody_deleted_is_told(installed: Installed) -> None:
    ref = Ref("apps/v1", "Deployment", names.WORKER)
    installed.cluster.delete(ref, uid=installed.cluster.get(ref)["metadata"]["uid"])
    seen = look(installed)
    assert seen["healthy"] is False
    assert workload(seen, names.WORKER)["state"] == "is not there"
    assert seen["drift"]["differing"] == [f"Deployment clinical-ai/{names.WORKER}: created"]


def test_what_somebody_edited_is_drift_with_its_field(installed: Installed) -> None:
    def edit(found: dict[str, Any]) -> None:
        del found["data"]["minio-endpoint"]

    installed.fake.edit("ConfigMap", names.CONFIGURATION, "ann", edit)
    [differs] = look(installed)["drift"]["differing"]
    assert names.CONFIGURATION in differs
    assert "minio-endpoint" in differs
    assert "drift        1 of" in told(installed)


def remove(site: Installed, kind: str, name: str, version: str = "v1") -> None:
    ref = Ref(version, kind, name)
    site.cluster.delete(ref, uid=site.cluster.get(ref)["metadata"]["uid"])


ROLE = ("Role", names.PLATFORM_JOB, "rbac.authorization.k8s.io/v1")


@pytest.mark.parametrize("known", [True, False], ids=["settings", "no settings"])
def test_rights_and_accounts_that_somebody_deleted_are_drift_and_no_health(
    installed: Installed, *, known: bool
) -> None:
    """deploy/self can't heal them, and doesn't run without them."""
    if known:
        installed.save_settings()
    assert look(installed)["healthy"] is True
    remove(installed, *ROLE)
    remove(installed, "ServiceAccount", names.MIGRATION)
    seen, shown = look(installed), told(installed)
    assert seen["healthy"] is False
    assert len(seen["drift"]["rights"]["differing"]) == 2
    assert "drift        2 of accounts and rights differ" in shown
    assert f"ServiceAccount clinical-ai/{names.MIGRATION}: drifted (it is not there; heal" in shown
    assert seen["drift"]["differing"] == []


def test_rights_that_somebody_edited_are_drift_where_the_settings_are_known(
    installed: Installed,
) -> None:
    installed.fake.edit("Role", names.PLATFORM_JOB, "ann", lambda it: it["rules"].pop())
    assert look(installed)["drift"]["rights"]["differing"] == []
    installed.save_settings()
    seen = look(installed)
    assert seen["healthy"] is False
    [differs] = seen["drift"]["rights"]["differing"]
    assert f"Role clinical-ai/{names.PLATFORM_JOB}: drifted (rules; " in differs
    assert "drift        1 of accounts and rights differ" in told(installed)


def test_rights_that_may_not_be_read_are_told_beside_the_objects(installed: Installed) -> None:
    installed.save_settings()
    installed.fake.denied = {("get", "roles")}
    seen = look(installed)
    assert seen["healthy"] is True
    assert seen["drift"]["known"] is True
    told_of = "drift        none; of accounts and rights not known: a-test may not get roles"
    assert told_of in told(installed)


def test_rights_are_told_also_before_anything_has_proved_good(installed: Installed) -> None:
    remove(installed, "ConfigMap", names.GOOD_OBJECTS)
    remove(installed, *ROLE)
    assert "nothing good yet; 1 of accounts and rights differ" in told(installed)


# Secrets.


def test_secrets_that_are_there_are_present_and_no_value_was_asked_for(
    installed: Installed,
) -> None:
    installed.save_settings()
    installed.fake.requests.clear()
    assert "secrets      present" in told(installed)
    asked = [it for it in installed.fake.requests if it.served.kind == "Secret"]
    assert {it.name for it in asked} == set(credentials.known(installed.settings))
    assert all("as=PartialObjectMetadata" in each.accept for each in asked)


def test_a_lost_encryption_key_is_told_while_the_server_of_before_runs_on(
    installed: Installed,
) -> None:
    """Also while the API can't be asked: the server's pod names it."""
    remove(installed, "Secret", f"{names.PRODUCT}-encryption")
    for down in (False, True):
        installed.prefect.down = down
        seen = look(installed)
        [lost] = seen["secrets"]
        assert lost.startswith(f"{names.ENCRYPTION_KEY} is not there, without which no server")
        assert "put it back from your backup" in lost
        assert "printenv PREFECT_SERVER_ENCRYPTION_KEY | tr -d '\\n' | kubectl create" in lost
        assert "--from-file=key=/dev/stdin" in lost
        assert seen["healthy"] is False
    assert "secrets      1 not as pods need them" in told(installed)


def test_a_key_that_somebody_took_away_is_told_with_the_line_that_adds_it(
    installed: Installed,
) -> None:
    def take(found: Object) -> None:
        del found["data"]["database-url"]

    installed.fake.edit("Secret", names.SECRETS, "ann", take)
    [lacking] = look(installed)["secrets"]
    assert lacking.startswith(f"{names.DATABASE_URL} is not there.")
    assert f"kubectl patch secret {names.SECRETS} -n clinical-ai" in lacking


def test_a_secret_that_only_settings_name_is_looked_for_too(installed: Installed) -> None:
    """No pod waits for that of a connection, and no live one names that of a migration."""
    lab = {"addresses": ("lab.example.org:1521",), "credentials": "secret:connection-lab/login"}
    connections = {"lab": Connection.model_validate(lab)}
    installed.settings = installed.settings.model_copy(update={"connections": connections})
    installed.save_settings()
    [absent] = look(installed)["secrets"]
    assert absent.startswith("secret:connection-lab/login is not there")


def test_a_secret_that_vault_fills_is_not_to_be_made_by_hand(prepare: Prepare) -> None:
    site = prepare("production")
    site.install()
    site.keep_secrets()
    remove(site, "Secret", names.AWS_CREDENTIALS)
    found = " ".join(look(site)["secrets"])
    assert f"kubectl describe externalsecret {names.AWS_CREDENTIALS}" in found
    assert f"generic {names.AWS_CREDENTIALS}" not in found


def test_a_secret_of_which_nobody_tells_the_fields_is_not_missed(installed: Installed) -> None:
    """As one that somebody has restored without them."""
    [place] = [it for it in installed.fake.objects.all if it[3] == names.SECRETS]
    installed.fake.objects.all[place].owners.clear()
    assert look(installed)["secrets"] == []


def test_a_change_that_was_taken_back_is_told_beside_the_release_that_runs(
    installed: Installed,
) -> None:
    installed.platform().record(ENTRY)
    failed = {
        "at": "later",
        "release": "2.0.0 bad",
        "run": "b-run",
        "failed": "it does not come up",
    }
    installed.platform().record(failed)
    seen = look(installed)
    assert (seen["release"], seen["failed"]) == ("1.0.0 good", "it does not come up")
    assert "taken back   it does not come up" in told(installed)
    installed.platform().record({**ENTRY, "release": "2.0.1 better"})
    assert look(installed)["failed"] is None


def test_a_release_that_came_up_and_starts_no_run_is_there_and_told_as_not_good(
    installed: Installed,
) -> None:
    installed.platform().record(ENTRY)
    verified = {"verified": "failed: canary runs", "failed": "it starts no run"}
    installed.platform().record({**ENTRY, "release": "2.0.0 bad", **verified})
    seen = look(installed)
    assert (seen["release"], seen["failed"]) == ("2.0.0 bad", "it starts no run")
    assert "not good     it starts no run" in told(installed)
    assert "taken back" not in told(installed)


def test_that_nothing_is_healed_after_a_change_that_failed_is_told_with_what_ends_it(
    installed: Installed,
) -> None:
    installed.settings = parse({"kubernetes": DEVELOPMENT["kubernetes"] | {"drift": "heal"}})
    failed = {"at": "later", "release": "2.0.0 bad", "run": "b-run", "failed": "it is pending"}
    installed.platform().record(failed)
    assert look(installed)["healing"] is None
    assert "healing " not in told(installed)
    installed.platform(release=replace(RELEASE, content="ba9876543210")).record(failed)
    assert "until the block is corrected, or deploy/self is run" in look(installed)["healing"]
    assert "healing      The last change failed" in told(installed)


def test_who_changes_it_and_who_stopped_that_is_told(installed: Installed) -> None:
    with cluster_lease(installed.cluster, "deploy by ann", seconds=1):
        stop(installed.cluster, "ann", "incident 12")
        seen = look(installed)
        assert "deploy by ann, since 2" in str(seen["lease"])
    assert "incident 12" in seen["break_glass"]
    assert "lease        free" in told(installed)
    assert "break-glass  incident 12" in told(installed)


def test_a_pool_that_a_killed_change_left_held_is_told_with_what_opens_it(
    installed: Installed,
) -> None:
    journal = held(installed)
    with cluster_lease(installed.cluster, "flow run a-run"):
        seen = look(installed)
        assert seen["held"] == f"platform, since {journal.started}: {journal.reason}"
        assert seen["healthy"] is True
    assert look(installed)["healthy"] is False
    assert "run `clinical-ai deploy --runtime kubernetes`, which opens them" in told(installed)
    Records(installed.cluster).write_journal(journal.ended(Stage.DONE, "lifted"))
    assert look(installed)["held"] is None
    assert "held" not in told(installed)


def test_a_pool_that_prefect_opened_is_not_held_whoever_paused_it_since(
    installed: Installed,
) -> None:
    held(installed, run="a-run")
    assert look(installed)["healthy"] is False
    installed.prefect.ends("a-run")
    seen = look(installed)
    assert (seen["held"], seen["healthy"]) == (None, True)
    hold(installed.prefect, [names.PLATFORM_POOL])
    assert look(installed)["held"] is None


def test_a_hold_is_told_while_nobody_can_ask_whether_it_lasts(installed: Installed) -> None:
    held(installed)
    installed.prefect.down = True
    assert "platform, since" in look(installed)["held"]


def test_a_killed_change_is_told_as_gone_although_it_has_the_lease(installed: Installed) -> None:
    held(installed)
    with cluster_lease(installed.cluster, "flow run a-run"):
        long_ago = {"spec": {"renewTime": "2026-11-24T10:00:00.000000Z"}}
        installed.cluster.patch(LEASE, long_ago)
        seen = look(installed)
    assert seen["healthy"] is False
    assert "flow run a-run, since 2" in seen["lease"]
    why = "it was killed, or its clock is behind the one here"
    assert seen["lease"].endswith(f"; no sign of life since 2026-11-24T10:00:00.000000Z: {why}")
    assert "run `clinical-ai deploy --runtime kubernetes`, which opens them" in seen["held"]


@pytest.mark.parametrize("error", [Transient("no port"), NeedsOperator("no key", "make it")])
def test_without_a_way_to_the_api_the_rest_is_told(installed: Installed, error: Exception) -> None:
    @contextmanager
    def reach() -> Iterator[PrefectApi]:
        raise error
        yield installed.prefect

    seen = see(installed.cluster, reach)
    assert (seen["healthy"], seen["api"], seen["runs"]) == (False, str(error), [])
    assert seen["drift"]["known"]
    assert all(each["ready"] for each in seen["workloads"])


def test_what_answers_and_is_not_prefect_is_told(
    installed: Installed, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = installed.prefect.get
    monkeypatch.setattr(
        installed.prefect, "get", lambda path: None if path == "/ready" else real(path)
    )
    seen = look(installed)
    assert (seen["healthy"], seen["api"]) == (False, "what answers is not Prefect")


def test_the_last_runs_are_told(installed: Installed) -> None:
    installed.run(names.POOL)
    assert [run["name"] for run in look(installed)["runs"]] == ["a-long-run"]
    assert "a-long-run" in told(installed)


@pytest.mark.parametrize("fault", ["damaged", "forbidden"])
def test_drift_that_can_not_be_seen_hides_nothing_else(installed: Installed, fault: str) -> None:
    if fault == "damaged":
        good = Ref("v1", "ConfigMap", names.GOOD_OBJECTS)
        installed.cluster.patch(good, {"binaryData": {"objects.json.gz": "b29wcw=="}})
    else:
        installed.fake.denied = {("patch", "services")}
    seen = look(installed)
    assert seen["healthy"] is True
    assert seen["drift"]["known"] is False
    assert "drift        not known: " in told(installed)


@pytest.mark.parametrize(
    ("denied", "parts"),
    [
        ("leases", {"lease"}),
        ("deployments", {"workloads", "secrets"}),
        ("secrets", {"secrets"}),
        ("configmaps", {"release", "break_glass", "held", "drift"}),
    ],
)
def test_what_may_not_be_read_is_told_as_not_known_and_hides_nothing_else(
    installed: Installed, denied: str, parts: set[str]
) -> None:
    installed.platform().record(ENTRY)
    before = look(installed)
    installed.fake.denied = {("get", denied)}
    seen, shown = look(installed), told(installed)
    assert seen["healthy"] is False
    unseen = [line for line in shown.splitlines() if "not known: " in line]
    assert len(unseen) == len(parts - {"workloads"}) + 3 * ("workloads" in parts)
    for part in parts - {"workloads", "drift"}:
        assert seen[part].startswith("not known: ")
        assert f"may not get {denied}" in seen[part]
        assert "clinical-ai deploy" not in seen[part]
    same = before.keys() - parts - {"healthy", "applied", "by", "drift"}
    assert {part: seen[part] for part in same} == {part: before[part] for part in same}
    assert seen.keys() == before.keys()


def entry_with(**fields: object) -> str:
    return json.dumps([ENTRY | fields])


@pytest.mark.parametrize(
    "text",
    [
        "oops",
        '[{"at": "x"}]',
        entry_with(at=1),
        entry_with(release=["1.0.0"]),
        entry_with(run=None),
        entry_with(failed=True, verified="all"),
        entry_with(failed=None),
        entry_with(healing=1),
    ],
    ids=["no JSON", "no whole entry", "at", "release", "run", "failed", "failed null", "healing"],
)
def test_a_damaged_ledger_hides_nothing_else(installed: Installed, text: str) -> None:
    installed.platform().record(ENTRY)
    ledger = Ref("v1", "ConfigMap", names.LEDGER)
    installed.cluster.patch(ledger, {"data": {"entries.json": text}})
    seen = look(installed)
    assert (seen["healthy"], seen["release"]) == (True, None)
    assert f"ConfigMap {names.LEDGER} is damaged" in seen["failed"]


def test_many_differences_are_cut_short_for_a_person_and_not_for_a_script(
    installed: Installed,
) -> None:
    for kind, name in sorted(installed.there()):
        if kind in {"Service", "NetworkPolicy", "Deployment"}:
            [place] = [it for it in installed.fake.objects.all if (it[1], it[3]) == (kind, name)]
            del installed.fake.objects.all[place]
    differing = look(installed)["drift"]["differing"]
    assert len(differing) > 10
    assert f"{len(differing)} of" in told(installed)
    assert sum(each in told(installed) for each in differing) == 10
