"""Whatever somebody does to the platform's objects is told, and healed by one run of deploy/self.

All of it is done at once, reported once and healed once; each test looks at one side of it.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import pytest

from clinical_ai import names
from clinical_ai.conditions import is_ready
from clinical_ai.manifests.kubernetes.metadata import ownership
from clinical_ai.ports_cluster import Object, Ref
from clinical_ai.steps.cluster.inventory import Ownership, read_inventory, write_inventory
from clinical_ai.steps.runs import follow_run, start_run
from clinical_ai.waiting import Sighting, wait_until
from tests.support.cluster_site import ClusterSite, Told

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

OWNER: Final = names.OWNER_LABEL.replace("/", "~1")
NEEDED: Final = f"ConfigMap {names.CONFIGURATION}"  # by every pod that begins
DELETED: Final = (
    NEEDED,
    f"NetworkPolicy {names.PRODUCT}-default-deny",
    f"Service {names.WORKER}",
    f"PodDisruptionBudget {names.WORKER}",
    f"Deployment {names.WORKER}",
)
# Fields that somebody took away, without a default: nobody else wants them to be anything.
TAKEN: Final = {
    f"NetworkPolicy {names.WORKER}": "/spec/egress",
    f"Service {names.SERVER}": f"/metadata/labels/{OWNER}",
    f"PodDisruptionBudget {names.SERVER}": "/spec/maxUnavailable",
    f"Deployment {names.PLATFORM_WORKER}": f"/metadata/labels/{OWNER}",
    f"Deployment {names.SERVER}": "/spec/template/spec/containers/0/env/{variable}",
}
THEIRS: Final = f"PodDisruptionBudget {names.PLATFORM_WORKER}"
ACCOUNT: Final = f"ServiceAccount {names.MIGRATION}"
ROLE: Final = f"Role {names.PLATFORM_WORKER}"
LEFTOVER, GIVEN_AWAY = "ConfigMap e2e-leftover", "ConfigMap e2e-given-away"


@dataclass(frozen=True)
class Seen:
    """What was told before anything was healed."""

    status: dict[str, Any]
    report: str
    table: dict[str, str]
    before: dict[str, str]
    after: dict[str, str]
    events: list[dict[str, Any]]


def patch(site: ClusterSite, what: str, *operations: Object) -> None:
    """As somebody does with an editor."""
    body = json.dumps(operations)
    site.kubectl("patch", *what.split(), "--type=json", "-p", body, "--field-manager=kubectl-edit")


def plant(site: ClusterSite) -> None:
    """Two objects of an earlier release, one of which somebody has made their own since."""
    own = Ownership(ownership(site.namespace), limit=0)
    refs = [Ref("v1", "ConfigMap", what.split()[1]) for what in (LEFTOVER, GIVEN_AWAY)]
    uids = {}
    for ref in refs:
        about = {"name": ref.name, "labels": dict(own.labels)}
        made = site.api.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": about})
        uids[ref] = made["metadata"]["uid"]
    listed = read_inventory(site.api, own).with_wanted(refs).with_uids(uids)
    write_inventory(site.api, listed, own)
    patch(site, GIVEN_AWAY, {"op": "remove", "path": f"/metadata/labels/{OWNER}"})


def damage(site: ClusterSite) -> None:
    plant(site)
    [server] = site.api.get(Ref("apps/v1", "Deployment", names.SERVER))["spec"]["template"]["spec"][
        "containers"
    ]
    variables = [each["name"] for each in server["env"]]
    place = {"variable": variables.index("PREFECT_SERVER_UI_API_URL")}
    for what, path in TAKEN.items():
        patch(site, what, {"op": "remove", "path": path.format(**place)})
    patch(site, THEIRS, {"op": "replace", "path": "/spec/maxUnavailable", "value": 2})
    extra = {"apiGroups": [""], "resources": ["pods"], "verbs": ["delete"]}
    patch(site, ROLE, {"op": "add", "path": "/rules/-", "value": extra})
    site.kubectl("scale", "deployment", names.PLATFORM_WORKER, "--replicas=2")
    for what in {*DELETED, ACCOUNT} - {NEEDED}:
        site.kubectl("delete", *what.split())
    await_still(site)
    site.kubectl("delete", *NEEDED.split())


def await_still(site: ClusterSite) -> None:
    """No pod is on its way up or down any more."""

    def look() -> Sighting:
        moving = [
            pod["metadata"]["name"]
            for pod in site.running_pods()
            if "deletionTimestamp" in pod["metadata"] or not is_ready(pod)
        ]
        return Sighting(not moving, f"on their way: {moving}")

    for name in (names.SERVER, names.PLATFORM_WORKER):
        site.kubectl("rollout", "status", f"deployment/{name}", "--timeout=180s")
    wait_until("all pods to be up or gone", look, seconds=180)


@pytest.fixture(scope="module")
def seen(site: ClusterSite) -> Seen:
    """After all the damage: what `status` and a run that only reports tell of it."""
    damage(site)
    status, before = site.status(), site.versions()
    said = site.cli("deploy", "--report-only")
    assert said.returncode == 0, said.stdout + said.stderr
    after = site.versions()
    with site.reach() as api:
        wanted = {"event": {"name": [f"{names.EVENT_PREFIX}.deploy.drift"]}}
        events = api.post("/events/filter", {"filter": wanted})["events"]
    return Seen(status, said.stdout, site.last_deploy().changes, before, after, events)


@dataclass(frozen=True)
class Asked:
    """What was there of these while a run of deploy/self waited for an answer, and how it ended."""

    there: dict[str, bool]
    told: Told


@pytest.fixture(scope="module")
def asked(site: ClusterSite, seen: Seen) -> Asked:
    """One run of deploy/self: what is left over is more than may go unasked, and somebody agrees.

    The limit is as before when it has ended, as `up` wants it.
    """
    site.edit_cluster(prune_limit=0)
    with site.reach() as api:
        run = start_run(api, names.DEPLOY_SELF, {})

        def look() -> Sighting:
            state = api.get(f"/flow_runs/{run}")["state_name"]
            return Sighting(state == "Suspended", state)

        wait_until("the question", look, seconds=120)
        there = {what: exists(site, what) for what in (LEFTOVER, NEEDED)}
        api.post(f"/flow_runs/{run}/resume", {"run_input": {"remove_them": True}})
        follow_run(api, run, seconds=600)
    site.edit_cluster(prune_limit=5)
    return Asked(there, site.last_deploy())


def exists(site: ClusterSite, what: str) -> bool:
    _, name = what.split()
    return site.api.find(Ref("v1", "ConfigMap", name)) is not None


@pytest.fixture(scope="module")
def healed(site: ClusterSite, asked: Asked) -> Iterator[Told]:
    """After that run; what people did on purpose is undone by hand at the end."""
    yield asked.told
    for what in (THEIRS, ROLE, GIVEN_AWAY):
        site.kubectl("delete", *what.split(), "--ignore-not-found")
    site.kubectl("scale", "deployment", names.PLATFORM_WORKER, "--replicas=1")
    site.up()


@pytest.mark.parametrize("what", [*DELETED, *TAKEN])
def test_status_tells_what_was_deleted_or_edited(seen: Seen, site: ClusterSite, what: str) -> None:
    kind, name = what.split()
    told = [each for each in seen.status["drift"]["differing"] if f"{kind} " in each]
    assert any(f"/{name}:" in each for each in told), seen.status["drift"]


@pytest.mark.parametrize("what", [*DELETED, *TAKEN, LEFTOVER])
def test_a_report_tells_what_was_deleted_edited_or_left_over(seen: Seen, what: str) -> None:
    assert what in seen.table
    assert not seen.table[what].startswith("unchanged")


def test_a_report_tells_how_to_heal_what_deploy_self_may_not(seen: Seen) -> None:
    for what in (ACCOUNT, ROLE):
        assert "drifted" in seen.table[what]
        assert "clinical-ai up --runtime kubernetes" in seen.table[what]
    assert "2 differ and need bootstrap" in seen.report


def test_a_report_tells_whose_a_field_is_that_is_left_alone(seen: Seen) -> None:
    assert "left alone: .spec.maxUnavailable belongs to kubectl-edit" in seen.table[THEIRS]


def test_a_report_writes_nothing(seen: Seen) -> None:
    written = {name for name, version in seen.before.items() if seen.after.get(name) != version}
    assert written == set()
    new = {name.partition(" ")[0] for name in seen.after.keys() - seen.before.keys()}
    assert new == {"Job", "Pod"}  # its own


def test_a_report_of_drift_is_an_event(seen: Seen) -> None:
    told = " ".join(seen.events[0]["payload"]["changes"])
    for what in (*DELETED, *TAKEN):
        assert what.replace(" ", f" {seen.status['namespace']}/") in told


def test_one_run_of_deploy_self_heals_all_that_it_may(healed: Told, site: ClusterSite) -> None:
    assert healed.run.completed, healed.run.message
    assert {*DELETED, *TAKEN} <= healed.differing.keys()
    assert site.status()["drift"]["differing"] == []


def test_status_tells_of_rights_until_a_person_heals_them(
    healed: Told, seen: Seen, site: ClusterSite
) -> None:
    for told in (seen.status, site.status()):
        rights = " ".join(told["drift"]["rights"]["differing"])
        assert all(f"/{what.split()[1]}: drifted" in rights for what in (ACCOUNT, ROLE)), rights
        assert not told["healthy"]


def test_while_somebody_is_asked_nothing_is_changed(asked: Asked) -> None:
    assert asked.there == {LEFTOVER: True, NEEDED: False}


def test_what_is_wanted_no_more_goes(healed: Told, site: ClusterSite) -> None:
    assert healed.differing[LEFTOVER].startswith("removed")
    assert not exists(site, LEFTOVER)


def test_what_has_lost_our_labels_stays(healed: Told, site: ClusterSite) -> None:
    assert site.api.find(Ref("v1", "ConfigMap", GIVEN_AWAY.split()[1])) is not None


def test_a_field_that_somebody_set_stays_theirs(healed: Told, site: ClusterSite) -> None:
    found = site.api.get(Ref("policy/v1", "PodDisruptionBudget", names.PLATFORM_WORKER))
    assert found["spec"]["maxUnavailable"] == 2


def test_a_number_that_somebody_scaled_to_stays(healed: Told, site: ClusterSite) -> None:
    found = site.api.get(Ref("apps/v1", "Deployment", names.PLATFORM_WORKER))
    assert found["spec"]["replicas"] == 2


def test_accounts_and_rights_are_healed_by_bootstrap_alone(healed: Told, site: ClusterSite) -> None:
    account = Ref("v1", "ServiceAccount", names.MIGRATION)
    assert site.api.find(account) is None
    rights = [f"{kind} {names.PLATFORM_WORKER}" for kind in ("Role", "RoleBinding")]
    for what in rights:
        site.kubectl("delete", *what.split())
    difference = site.bootstrap("--diff").stdout
    for what in (ACCOUNT, *rights):
        assert f"{what.replace(' ', f' {site.namespace}/')}: created" in difference
    site.up()
    assert site.api.find(account) is not None
    assert site.status()["healthy"]
    assert ": created" not in site.bootstrap("--diff").stdout
