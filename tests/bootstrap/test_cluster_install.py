"""Day zero in a cluster, as far as a cluster and a Prefect in memory carry it."""

import json
import os
import re
import sys
from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from copy import deepcopy
from dataclasses import replace
from itertools import chain, count, islice, pairwise, repeat
from pathlib import Path
from typing import Any, Final

import pytest
from pydantic import SecretStr

from bootstrap.__main__ import main
from bootstrap.cluster import install
from bootstrap.cluster.install import Plan
from bootstrap.request import Request
from bootstrap.terminal import Terminal
from clinical_ai import names
from clinical_ai.errors import Locked, ManyFaults, NeedsOperator, Transient
from clinical_ai.manifests.kubernetes.metadata import cluster_of
from clinical_ai.manifests.kubernetes.pod_check import NO_STORAGE, VAULT, pod_check, reads
from clinical_ai.plans import Stage
from clinical_ai.ports import PrefectApi
from clinical_ai.ports_cluster import Ref
from clinical_ai.secret_references import parts
from clinical_ai.settings import parse
from clinical_ai.settings_kubernetes import Components, Ingress
from clinical_ai.settings_pods import Component
from clinical_ai.state_folder import StateFolder
from clinical_ai.steps.cluster.break_glass import Stopped, stop
from clinical_ai.steps.cluster.deploy import look
from clinical_ai.steps.cluster.inventory import read_inventory
from clinical_ai.steps.cluster.lease import cluster_lease, find_holder
from clinical_ai.steps.cluster.reconcile import reconcile
from clinical_ai.steps.cluster.records import Records
from clinical_ai.steps.cluster.uninstall import Options, plan_removal, remove
from clinical_ai.steps.registration_lease import Unfinished
from clinical_ai.steps.roll import hold, new_journal
from clinical_ai.steps.runs import find_deployment
from clinical_ai.steps.settings_block import find_settings, save_settings
from clinical_ai.steps.verify import Result, as_rows
from tests.support.clock import Clock
from tests.support.fake_cluster import Request as Asked
from tests.support.fake_docker import FakeDocker
from tests.support.installed import SPACE, Installed, Prepare
from tests.support.kubernetes_examples import ALL, RELEASE, settings_of
from tests.support.platform import CHECKOUT
from tests.support.switch import Switch


class DayZero(Installed):
    """A cluster before, while and after a platform is installed in it. `failing`: whose runs do."""

    failing: str = ""

    def plan(self, image: str | None = RELEASE.image, **more: Any) -> Plan:
        request = Request(
            StateFolder(CHECKOUT), CHECKOUT, {}, raw={}, image=image, runtime="kubernetes"
        )
        plan = Plan(request, self.settings, self.cluster, {}, lambda: self.rendered)
        return replace(plan, **more)

    def work(self) -> None:
        """Controllers, and workers whose runs end well as soon as nobody else changes anything."""
        self.controllers()
        if find_holder(self.cluster) is not None:
            return
        for run, row in list(self.prefect.runs.items()):
            if row["state_type"] == "SCHEDULED" and not row["auto_scheduled"]:
                table = json.dumps(as_rows([Result("pods ready", passed=True, evidence="3")]))
                left = {"key": "verify", "data": table, "flow_run_id": run}
                self.prefect.post("/artifacts/", left)
                state = (
                    "FAILED" if row["deployment_id"] == self.id_of(self.failing) else "COMPLETED"
                )
                ended = {"state": {"type": state, "message": "well"}}
                self.prefect.post(f"/flow_runs/{run}/set_state", ended)
                self.apply()

    def apply(self) -> None:
        """What deploy/self does to the objects that it keeps."""
        wanted = [each for stage in self.stages.values() for each in stage]
        reconcile(self.cluster, wanted, self.platform().ownership, write=True)

    def differing(self) -> list[str]:
        """Objects that are not as wanted."""
        platform = self.platform()
        return [str(it) for it in look(platform.site(), platform.stages) if it.differs]

    def id_of(self, deployment: str) -> str | None:
        """Of a deployment that is registered."""
        found = find_deployment(self.prefect, deployment) if deployment else None
        return found["id"] if found else None

    def started(self, deployment: str) -> int:
        """How often bootstrap has started it."""
        wanted, runs = self.id_of(deployment), self.prefect.runs.values()
        return sum(not it["auto_scheduled"] and it["deployment_id"] == wanted for it in runs)

    def up(self, **asked: Any) -> int:
        plan = self.plan()
        plan = replace(plan, request=replace(plan.request, **asked))
        return install.up(plan, Terminal())

    def known(self) -> dict[str, Any]:
        """What Prefect holds."""
        api = vars(self.prefect).items()
        return deepcopy({name: rows for name, rows in api if not name.startswith("_")})


@pytest.fixture
def anew(
    prepare: Prepare,
    clock: Clock,
    rendered: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Callable[[], DayZero]:
    """An empty cluster each time, which takes the place of the one before."""
    settings = prepare("development").settings
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nobody.sock")

    def make() -> DayZero:
        made = DayZero(settings)
        made.rendered = rendered
        made.prefect.pools.clear()
        clock.then = repeat(made.work)

        @contextmanager
        def reach(*_: Any) -> Iterator[PrefectApi]:
            yield made.prefect

        monkeypatch.setattr(install, "reach_api", reach)
        return made

    return make


@pytest.fixture
def site(anew: Callable[[], DayZero]) -> DayZero:
    return anew()


Main = Callable[[str], tuple[int, str]]


@pytest.fixture
def check_settings(
    site: DayZero,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> Main:
    """`python -m bootstrap --check` with this settings file: its exit code and what it says."""

    def open_it(_environ: Any, *, namespace: str, context: str) -> Any:
        return site.fake.open(namespace)

    monkeypatch.setattr(install, "open_kubernetes", open_it)
    monkeypatch.setattr(install, "render", lambda _checkout: site.rendered)

    def check(text: str) -> tuple[int, str]:
        (file := tmp_path / "settings.toml").write_text(text)
        words = ["--runtime", "kubernetes", "--check", "--settings", str(file)]
        return main([*words, "--image", RELEASE.image]), capsys.readouterr().err

    return check


Ask = Callable[..., int]


@pytest.fixture
def ask(site: DayZero, docker: FakeDocker, monkeypatch: pytest.MonkeyPatch) -> Ask:
    """`python -m bootstrap` with this request, its settings the site's with values by `env:`."""
    docker.registry[RELEASE.image] = RELEASE.image.partition("@")[2]
    monkeypatch.setattr(install, "open_kubernetes", lambda *_, **__: site.cluster)
    monkeypatch.setattr(install, "render", lambda _: site.rendered)
    raw = deepcopy(ALL["development"])
    raw |= {"minio-access-key": "env:RIGHT", "minio-secret-key": "env:RIGHT"}
    raw["kubernetes"] |= {"database-url": "env:DATABASE", "prefect-database-url": "env:RIGHT"}
    given = {"DATABASE": "hunter2-wrong", "RIGHT": "hunter2-right"}

    def run(environ: Mapping[str, str] = given, **asked: Any) -> int:
        named = {**raw, **asked.pop("named", {})}
        request = replace(site.plan().request, raw=named, environ={**os.environ, **environ})
        return install.run(replace(request, **asked), Terminal())

    return run


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[[kubernetes]]\n", "kubernetes is not a table. write it as [kubernetes]"),
        ("kubernetes = 'yes'\n", "kubernetes is not a table. write it as [kubernetes]"),
        ("[kubernetes]\nregistry = 'r.test'\nnamespace = 5\n", "kubernetes.namespace"),
        ("", "the settings name no cluster"),
        (
            "[kubernetes]\nregistry = 'r.test'\n"
            "[connections.lab]\naddresses = ['h:1']\ncredentials = 'secret:lab-/token'\n",
            "connections.lab.credentials is not a reference to a key of a Secret",
        ),
    ],
)
def test_wrong_settings_are_told_before_a_cluster_is_asked(
    site: DayZero, check_settings: Main, text: str, told: str
) -> None:
    code, said = check_settings(text)
    assert code == 1
    assert told in said
    assert site.fake.requests == []


@pytest.mark.parametrize(
    ("name", "credentials"),
    [("lab", f"secret:{'n' * 64}/token"), ("l" * 53, "env:TOKEN"), ("l" * 243, "env:TOKEN")],
)
def test_preflights_take_each_name_that_kubernetes_does(
    monkeypatch: pytest.MonkeyPatch, check_settings: Main, name: str, credentials: str
) -> None:
    monkeypatch.setenv("TOKEN", "not-secret-of-a-test")
    code, said = check_settings(
        "[kubernetes]\nregistry = 'r.test'\n"
        f"[connections.{name}]\naddresses = ['h:1']\ncredentials = '{credentials}'\n"
    )
    assert code == 1
    assert "- secret:clinical-ai-prefect-secrets/database-url" in said
    assert (f"{credentials} is not there" in said) is credentials.startswith("secret:")


def test_flows_that_cannot_be_read_are_told_with_what_else_stands_in_the_way(
    monkeypatch: pytest.MonkeyPatch, check_settings: Main
) -> None:
    def refuse(_checkout: Path) -> dict[str, Any]:
        raise NeedsOperator("the flows of /checkout can't be read: no", "correct that flow")

    monkeypatch.setattr(install, "render", refuse)
    code, said = check_settings("[kubernetes]\nregistry = 'r.test'\n")
    assert code == 1
    assert "the flows of /checkout can't be read" in said
    assert "secret:clinical-ai-prefect-secrets/database-url" in said


def test_what_stands_in_the_way_here_and_in_the_cluster_is_told_at_once(site: DayZero) -> None:
    """Namespace, registry, kubectl and a value that is not given: one run tells all four."""
    space = {"name": SPACE}
    ending = {"phase": "Terminating"}
    site.fake.put({"apiVersion": "v1", "kind": "Namespace", "metadata": space, "status": ending})
    missing = {
        reference: NeedsOperator(f"no value for {reference}", "export it")
        for reference in (names.DATABASE_URL, names.PREFECT_DATABASE_URL)
    }
    plan = site.plan(image=None, missing=missing)
    plan = replace(plan, request=replace(plan.request, environ={"PATH": "/nonexistent"}))
    with pytest.raises(ManyFaults) as refused:
        install.look_first(plan)
    told = [fault.problem for fault in refused.value.faults]
    for wanted in (
        f"namespace {SPACE} is being deleted",
        "Docker does not answer",
        "kubectl is not on the PATH",
        f"no value for {names.DATABASE_URL}",
        f"no value for {names.PREFECT_DATABASE_URL}",
    ):
        assert len([each for each in told if wanted in each]) == 1, wanted
    assert f"{names.DATABASE_URL} is not there" not in told
    assert site.fake.writes == []


def test_a_value_that_ends_with_a_line_end_is_told_before_it_is_kept(site: DayZero) -> None:
    value = "not-secret-of-a-test\n"
    plan = site.plan(kept={names.DATABASE_URL: SecretStr(value)})
    with pytest.raises(ManyFaults) as refused:
        install.look_first(plan)
    told = [str(fault) for fault in refused.value.faults]
    assert f"the value for {names.DATABASE_URL} ends with a line end. give it without one." in told
    assert not any("not-secret" in each for each in told)


def test_the_image_is_looked_for_once(site: DayZero, docker: FakeDocker) -> None:
    digest = RELEASE.image.partition("@")[2]
    docker.registry[RELEASE.image] = digest
    plan = site.plan()
    with pytest.raises(ManyFaults):
        install.look_first(plan)
    assert install.up(plan, Terminal()) == 0
    assert docker.looked_for == [RELEASE.image]


@pytest.mark.parametrize("host", ["prefect.example.org", "*.example.org"])
def test_the_last_lines_name_an_address_that_a_browser_can_open(
    site: DayZero, capsys: pytest.CaptureFixture[str], host: str
) -> None:
    chosen = {**ALL["gateway"]["kubernetes"]["exposure"], "host": host}
    cluster = {**ALL["gateway"]["kubernetes"], "exposure": chosen}
    settings = parse({**ALL["gateway"], "kubernetes": cluster})
    install._tell_where(site.plan(settings=settings), Terminal())
    told = capsys.readouterr().out
    assert (f"https://{host}" in told) is (host[0] != "*")
    assert f"svc/{names.SERVER} 4200:4200, then http://localhost:4200" in told


def test_the_second_time_nothing_is_written(
    site: DayZero, capsys: pytest.CaptureFixture[str]
) -> None:
    assert site.up() == 0
    assert len(site.prefect.deployments) == len(site.rendered["deployments"])
    assert ("Deployment", names.PLATFORM_WORKER) in site.there()
    assert ("Job", names.POD_CHECK) not in site.there()
    before = site.known()
    site.fake.requests.clear()
    capsys.readouterr()
    assert site.up() == 0
    assert site.fake.writes == []
    assert site.known() == before
    assert "created" not in capsys.readouterr().out


def test_an_up_that_changes_nothing_reads_records_once_a_stage(site: DayZero) -> None:
    """Before the first and after the last one; the inventory, too, as what it lists is compared."""
    site.up()
    site.fake.requests.clear()
    assert site.up() == 0
    reads = [it.name for it in site.fake.requests if it.served.kind == "ConfigMap"]
    assert reads.count(names.GOOD_OBJECTS) == 2
    assert reads.count(names.INVENTORY) == 3


def edit_and_apply(site: DayZero) -> None:
    """Other settings, applied by a run of deploy/self that somebody started in the UI."""
    mine = site.settings
    other = {"drain_seconds": mine.drain_seconds + 7}
    site.settings = mine.model_copy(update=other)
    save_settings(site.prefect, site.settings, site.rendered["block"]["checksum"])
    site.apply()
    site.settings = mine


def lose_the_worker(site: DayZero) -> None:
    ref = Ref("apps/v1", "Deployment", names.WORKER)
    site.cluster.delete(ref, uid=site.cluster.get(ref)["metadata"]["uid"])


def uninstall(site: DayZero) -> None:
    """The database stays, and with it what Prefect knows of the runs."""
    remove(site.cluster, plan_removal(site.cluster, Options()), site.beat, lambda _: None)


@pytest.mark.parametrize("change", [edit_and_apply, lose_the_worker, uninstall])
def test_deploy_self_is_started_again_when_what_it_did_is_there_no_more(
    site: DayZero, change: Callable[[DayZero], None]
) -> None:
    """It has completed for this release and these settings, but something came after."""
    site.up()
    change(site)
    assert site.differing() != []
    for _ in range(2):
        assert site.up(replace=True) == 0
        assert site.differing() == []
        assert site.started(names.DEPLOY_SELF) == 2


def test_the_first_run_of_deploy_self_is_there_when_its_worker_begins(site: DayZero) -> None:
    waiting: list[int] = []

    def begin(write: Asked) -> None:
        if write.served.kind == "Deployment" and write.name == names.PLATFORM_WORKER:
            waiting.append(site.started(names.DEPLOY_SELF))

    site.fake.on_write = begin
    site.up()
    assert set(waiting) == {1}
    site.up()
    assert site.started(names.DEPLOY_SELF) == 1


def test_what_was_not_proved_is_proved_by_the_next_bootstrap(site: DayZero) -> None:
    site.failing = names.VERIFY
    for tries in (1, 2):
        with pytest.raises(NeedsOperator, match="ended failed"):
            site.up()
        assert (site.started(names.DEPLOY_SELF), site.started(names.VERIFY)) == (1, tries)
    site.failing = ""
    for _ in range(2):
        assert site.up() == 0
        assert (site.started(names.DEPLOY_SELF), site.started(names.VERIFY)) == (1, 3)


def test_what_failed_is_told_with_the_way_to_its_log(site: DayZero) -> None:
    site.failing = names.DEPLOY_SELF
    with pytest.raises(NeedsOperator, match=r"flow-run/.* \(while `kubectl port-forward -n "):
        site.up()


def test_a_repair_that_failed_is_no_success_of_before(site: DayZero) -> None:
    site.up()
    lose_the_worker(site)
    site.failing = names.DEPLOY_SELF
    with pytest.raises(NeedsOperator, match="ended failed"):
        site.up()
    site.failing = ""
    for _ in range(2):
        assert site.up() == 0
        assert (site.started(names.DEPLOY_SELF), site.started(names.VERIFY)) == (3, 2)


def test_a_bootstrap_that_was_killed_before_it_verified_is_completed_by_one_that_does(
    site: DayZero, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as killed:
        killed.setattr(install, "ensure_verified", lambda *_: sys.exit(137))
        with pytest.raises(SystemExit):
            site.up()
    assert site.started(names.VERIFY) == 0
    assert site.up() == 0
    assert site.started(names.VERIFY) == 1


def test_of_two_bootstraps_the_second_changes_nothing_and_says_who_is_first(site: DayZero) -> None:
    site.fake.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SPACE}})
    with cluster_lease(site.cluster, "bootstrap on node, process 7"):
        site.fake.requests.clear()
        with pytest.raises(Locked, match="bootstrap on node, process 7, since"):
            site.up()
        assert site.fake.writes == []
    assert site.up() == 0


@pytest.mark.parametrize("kind", ["pools", "automations"])
def test_of_two_bootstraps_the_second_makes_nothing_in_prefect_while_the_first_does(
    site: DayZero, clock: Clock, kind: str
) -> None:
    """Prefect refuses a pool that is there already, and keeps two automations of one name."""
    site.up()
    rows = vars(site.prefect)[kind]
    gone = dict(rows)
    rows.clear()
    with cluster_lease(site.cluster, "bootstrap on node, process 7"):
        before = site.known()
        clock.then = iter(())
        with pytest.raises(Locked, match="bootstrap on node, process 7, since"):
            site.up()
        assert site.known() == before

        def end() -> None:
            site.work()
            rows.update(gone)
            ref = Ref("coordination.k8s.io/v1", "Lease", names.CLUSTER_LEASE)
            site.cluster.delete(ref, uid=site.cluster.get(ref)["metadata"]["uid"])
            clock.then = repeat(site.work)

        clock.then = repeat(end)
        assert site.up() == 0
        assert rows == gone


def test_pools_hand_out_no_run_while_a_bootstrap_replaces_the_server(site: DayZero) -> None:
    """A run that was given a slot by one server and begins by the other is cancelled."""
    site.up()
    seen = []

    def note(asked: Asked) -> None:
        if (asked.served.kind, asked.name) == ("Deployment", names.SERVER):
            pools = site.prefect.pools
            seen.append(([pools[pool]["is_paused"] for pool in names.WORKERS], site.stage()))

    site.fake.on_write = note
    components = Components(server=Component(node_selector={"disk": "fast"}))
    cluster = cluster_of(site.settings).model_copy(update={"components": components})
    site.settings = site.settings.model_copy(update={"kubernetes": cluster})
    assert site.up(replace=True) == 0
    assert seen == [([True, True], Stage.HELD)]
    assert not any(pool["is_paused"] for pool in site.prefect.pools.values())
    assert site.stage() is Stage.DONE


@pytest.mark.parametrize("lost", [names.RIGHTS_INVENTORY, names.INVENTORY])
def test_a_list_of_what_is_there_that_was_lost_is_made_anew(site: DayZero, lost: str) -> None:
    site.up()
    ref = Ref("v1", "ConfigMap", lost)
    before = site.cluster.get(ref)["data"]
    site.cluster.delete(ref, uid=site.cluster.get(ref)["metadata"]["uid"])
    site.up()
    assert site.cluster.get(ref)["data"] == before


def may_keep(site: DayZero, resource: str) -> bool:
    role = site.fake.look("Role", names.PLATFORM_JOB)
    return any(resource in rule["resources"] for rule in role["rules"])


@pytest.mark.parametrize("deleted", [False, True])
def test_rights_for_what_is_wanted_no_more_last_until_it_is_pruned(
    site: DayZero, *, deleted: bool
) -> None:
    """In one `up`; also when somebody deleted it, so that only the inventory lists it."""
    exposed = Ingress(kind="ingress", host="prefect.example.org")
    before = cluster_of(site.settings)
    cluster = before.model_copy(update={"exposure": exposed})
    site.settings = site.settings.model_copy(update={"kubernetes": cluster})
    site.up()
    ingress = Ref("networking.k8s.io/v1", "Ingress", names.SERVER)
    uid = site.cluster.get(ingress)["metadata"]["uid"]
    if deleted:
        site.cluster.delete(ingress, uid=uid)
    site.settings = site.settings.model_copy(update={"kubernetes": before})
    seen = []
    apply = site.apply

    def look_and_apply() -> None:
        seen.append(may_keep(site, "ingresses"))
        apply()

    site.apply = look_and_apply  # type: ignore[method-assign]
    assert site.up(replace=True) == 0
    assert seen[0]
    assert site.cluster.find(ingress) is None
    assert not may_keep(site, "ingresses")
    site.fake.requests.clear()
    assert site.up() == 0
    assert site.fake.writes == []


def test_a_database_that_was_emptied_is_migrated_and_filled_again(
    site: DayZero, capsys: pytest.CaptureFixture[str]
) -> None:
    """To Kubernetes all is up, and the migration of this very name has succeeded."""
    site.up()
    first = migration_of(site)
    site.prefect.__init__()  # type: ignore[misc]
    site.prefect.emptied = True

    def fill(asked: Asked) -> None:
        if asked.verb == "create" and asked.name == first["name"]:
            site.prefect.emptied = False

    site.fake.on_write = fill
    up_migrates_anew(site, first, capsys)
    assert len(site.prefect.deployments) == len(site.rendered["deployments"])
    assert find_settings(site.prefect) == site.settings
    assert site.started(names.DEPLOY_SELF) == 1
    site.fake.requests.clear()
    assert site.up() == 0
    assert site.fake.writes == []


def test_a_backup_of_an_older_release_is_migrated(
    site: DayZero, capsys: pytest.CaptureFixture[str]
) -> None:
    """To Kubernetes all is up; what was registered by then tells which release knows the rows."""
    site.up()
    first = migration_of(site)
    pool = json.dumps(site.prefect.pools[names.PLATFORM_POOL])
    older = f"registry.example.org/hospital/older@sha256:{'0' * 64}"
    site.prefect.pools[names.PLATFORM_POOL] = json.loads(pool.replace(RELEASE.image, older))
    site.prefect.runs.clear()
    up_migrates_anew(site, first, capsys)
    assert site.started(names.DEPLOY_SELF) == 1
    site.fake.requests.clear()
    assert site.up() == 0
    assert site.fake.writes == []


def test_a_migration_that_has_just_run_is_not_run_again(
    site: DayZero, capsys: pytest.CaptureFixture[str]
) -> None:
    site.up()
    assert "database" not in capsys.readouterr().out
    made = [each for each in site.fake.writes if names.MIGRATION in each and "jobs" in each]
    assert len(made) == 1


def up_migrates_anew(site: DayZero, first: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """The Job of before, which had succeeded, is made once more, and told."""
    capsys.readouterr()
    assert site.up() == 0
    assert re.search(rf"database +Job {first['name']}:? created", capsys.readouterr().out)
    assert migration_of(site)["uid"] != first["uid"]


def migration_of(site: DayZero) -> Any:
    [found] = site.cluster.find_all("batch/v1", "Job", labels={"app": names.MIGRATION})
    return found["metadata"]


def test_nothing_is_written_while_self_management_is_stopped(site: DayZero) -> None:
    site.fake.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SPACE}})
    stop(site.cluster, "ann", "incident 12")
    site.fake.requests.clear()
    with pytest.raises(NeedsOperator, match="incident 12"):
        site.up()
    assert site.fake.writes == []
    assert site.prefect.deployments == {}


def test_a_stop_before_any_write_of_an_installation_lets_no_more_be_written(
    anew: Callable[[], DayZero], clock: Clock, few: dict[str, Any]
) -> None:
    """Neither to the cluster nor to Prefect; no check begins, and no run."""
    for after in count():
        site = anew()
        site.rendered = few
        switch = Switch(site, after)

        def work(site: DayZero = site, switch: Switch = switch) -> None:
            with switch.world():
                site.work()

        clock.then = repeat(work)
        with suppress(Stopped, Unfinished):
            assert site.up() == 0
        assert switch.later == [], after
        if not switch.pulled:
            break
    assert after > 50
    assert site.differing() == []


def test_a_check_that_a_killed_installation_left_is_made_anew(
    site: DayZero, capsys: pytest.CaptureFixture[str]
) -> None:
    site.fake.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SPACE}})
    site.cluster.create(pod_check(site.settings, RELEASE))
    assert site.up() == 0
    assert ("Job", names.POD_CHECK) not in site.there()
    capsys.readouterr()
    site.cluster.create(pod_check(site.settings, RELEASE))  # all else was as wanted by then
    assert site.up() == 0
    assert ("Job", names.POD_CHECK) not in site.there()


def test_a_check_that_is_somebody_elses_is_refused_and_left_as_it_is(site: DayZero) -> None:
    """Also when it came after names were looked at."""
    site.fake.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SPACE}})
    body = {"containers": [{"name": "theirs", "image": "theirs"}]}
    theirs = {"template": {"spec": body}}
    site.put("Job", names.POD_CHECK, "batch/v1", labels={"theirs": "x"}, spec=theirs)
    before = site.fake.look("Job", names.POD_CHECK)
    problem = f"these are there and not of this platform: Job {SPACE}/{names.POD_CHECK}"
    with pytest.raises(ManyFaults) as refused:
        install.look_first(site.plan())
    assert problem in [fault.problem for fault in refused.value.faults]
    with pytest.raises(NeedsOperator, match="not of this platform"):
        site.up()
    assert site.fake.look("Job", names.POD_CHECK)["metadata"]["uid"] == before["metadata"]["uid"]
    assert ("Deployment", names.SERVER) not in site.there()


def test_whoever_waits_for_a_check_keeps_the_lease(
    site: DayZero, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also while the check of an earlier bootstrap takes its time to go."""
    monkeypatch.setattr("clinical_ai.steps.cluster.lease.monotonic", lambda: clock.now)
    site.fake.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SPACE}})
    job = pod_check(site.settings, RELEASE)
    job["metadata"]["finalizers"] = ["foregroundDeletion"]
    site.cluster.create(job)

    def end() -> None:
        gone: dict[str, list[str]] = {"finalizers": []}
        site.fake.edit("Job", names.POD_CHECK, "gc", lambda it: it["metadata"].update(gone))

    signs: list[float] = []
    site.fake.on_write = lambda it: signs.append(clock.now) if it.served.kind == "Lease" else None
    still = repeat(lambda: None)
    clock.then = chain(islice(still, 130), [end], islice(still, 180), repeat(site.work))
    assert site.up() == 0
    assert clock.now > 240
    assert max(after - before for before, after in pairwise(signs)) < 30


def test_a_check_by_itself_leaves_that_of_an_installation_alone(site: DayZero) -> None:
    site.up()
    site.cluster.create(pod_check(site.settings, RELEASE))
    before = site.there()
    assert install.check_only(site.plan(), Terminal()) == 0
    assert site.there() == before
    site.broken = {names.POD_CHECK}
    with pytest.raises(NeedsOperator, match=names.POD_CHECK):
        install.check_only(site.plan(), Terminal())
    assert site.there() == before


GIVEN = {
    reference: SecretStr(f"not-secret-of-a-test: {reference}")
    for reference in (
        names.DATABASE_URL,
        names.PREFECT_DATABASE_URL,
        names.MINIO_ACCESS_KEY,
        names.MINIO_SECRET_KEY,
    )
}


def made_by_a_check(site: DayZero, kept: dict[str, SecretStr]) -> list[Any]:
    """What a check by itself makes in an empty namespace, in order; nothing of it is left."""
    made: list[Any] = []
    site.fake.admit = lambda it: made.append(deepcopy(it))
    before = site.there()
    try:
        assert install.check_only(site.plan(kept=kept), Terminal()) == 0
    finally:
        assert site.there() == before
    return made


def read_by(job: Any) -> set[tuple[str, str, str]]:
    """Secret, key and file of all that its pod mounts."""
    pod = job["spec"]["template"]["spec"]
    folders = {it["name"]: it["mountPath"] for it in pod["containers"][0]["volumeMounts"]}
    return {
        (source["secret"]["name"], item["key"], f"{folders[volume['name']]}/{item['path']}")
        for volume in pod["volumes"]
        for source in volume.get("projected", {}).get("sources", [])
        for item in source["secret"]["items"]
    }


def test_a_check_before_the_first_installation_tries_from_a_pod_with_what_is_given(
    site: DayZero,
) -> None:
    """No account, no Secret, no policy is there yet, and none is left."""
    site.fake.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SPACE}})
    job, lent = made_by_a_check(site, GIVEN)
    assert job["metadata"]["name"].startswith(f"{names.POD_CHECK}-")
    pod = job["spec"]["template"]["spec"]
    assert pod["serviceAccountName"] == "default"
    assert pod["automountServiceAccountToken"] is False
    for reference, value in GIVEN.items():
        name, key = parts(reference)
        [(own, where)] = [
            (own, where)
            for own, where, path in read_by(job)
            if path == f"{names.SECRETS_FOLDER}/{name}/{key}"
        ]
        assert own == lent["metadata"]["name"]
        assert b64decode(lent["data"][where]).decode() == value.get_secret_value()
        assert value.get_secret_value() not in json.dumps(job)


def test_a_check_lends_what_the_namespace_lacks_and_nothing_else(site: DayZero) -> None:
    site.fake.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SPACE}})
    site.plan().secrets.put(names.DATABASE_URL, SecretStr("not-secret-of-a-test"))
    more = {"secret:connection-lab/credentials": SecretStr("not-secret-of-a-test")}
    job, lent = made_by_a_check(site, GIVEN | more)
    assert len(lent["data"]) == len(GIVEN) - 1
    assert (*parts(names.DATABASE_URL),) in {read[:2] for read in read_by(job)}


def test_what_a_check_lends_is_the_jobs_and_goes_also_after_a_failure(site: DayZero) -> None:
    site.fake.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SPACE}})
    site.broken = {names.POD_CHECK}
    seen: list[Any] = []
    site.fake.on_write = lambda it: seen.append((it.verb, it.served.kind, it.body))
    before = site.there()
    with pytest.raises(NeedsOperator, match=names.POD_CHECK) as refused:
        install.check_only(site.plan(kept=GIVEN), Terminal())
    assert site.there() == before
    assert [(verb, kind) for verb, kind, _ in seen] == [
        ("create", "Job"),
        ("create", "Secret"),
        ("delete", "Job"),
    ]
    [owner] = seen[1][2]["metadata"]["ownerReferences"]
    assert owner["name"] == seen[0][2]["metadata"]["name"]
    assert "not-secret" not in str(refused.value)


def test_a_check_whose_secret_is_refused_leaves_no_job(site: DayZero) -> None:
    site.fake.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SPACE}})
    site.fake.denied = {("create", "secrets")}
    before = site.there()
    with pytest.raises(NeedsOperator, match="secrets"):
        install.check_only(site.plan(kept=GIVEN), Terminal())
    assert site.there() == before


@pytest.mark.parametrize("kind", ["production", "vault-agent"])
def test_a_check_leaves_the_storage_out_while_vault_gives_nothing(site: DayZero, kind: str) -> None:
    site.settings = settings_of(kind)
    site.fake.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SPACE}})
    job, _ = made_by_a_check(site, GIVEN)
    pod = job["spec"]["template"]["spec"]
    assert pod["containers"][0]["args"] == [NO_STORAGE, VAULT]
    assert "initContainers" not in pod
    folders = {path.split("/")[-2] for _, _, path in read_by(job)}
    assert folders == {names.SECRETS, parts(names.ENCRYPTION_KEY)[0]}


def test_a_check_beside_rights_that_are_there_asks_no_vault(site: DayZero) -> None:
    """Policies come with them, those of other settings too, and need not let its pod do so."""
    site.settings = settings_of("vault-agent")
    site.install()
    site.fake.edit(
        "NetworkPolicy", names.PLATFORM_JOB, "kubectl", lambda it: it["spec"]["egress"].pop()
    )
    job, *_ = made_by_a_check(site, GIVEN)
    assert job["spec"]["template"]["spec"]["containers"][0]["args"] == [NO_STORAGE]


@pytest.mark.parametrize("kind", ["production", "vault-agent"])
def test_a_check_of_what_is_installed_lends_nothing(site: DayZero, kind: str) -> None:
    site.settings = settings_of(kind)
    site.install()
    for reference in reads(site.settings):
        site.plan().secrets.put(reference, SecretStr("not-secret-of-a-test"))
    [job] = made_by_a_check(site, GIVEN)
    assert job["spec"] == pod_check(site.settings, RELEASE)["spec"]


def test_a_check_without_image_or_namespace_tells_what_makes_them(
    site: DayZero, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = site.plan()
    plan.__dict__["found"] = replace(plan.found, release=None)
    assert install.check_only(plan, Terminal()) == 0
    [line] = [it for it in capsys.readouterr().out.splitlines() if "from a pod" in it]
    assert "database and storage are not tried: there is no image, which `up` builds" in line
    assert f"which `kubectl create namespace {SPACE}` makes" in line
    assert site.fake.writes == []


def test_a_check_by_itself_goes_on_while_self_management_is_stopped(site: DayZero) -> None:
    """It changes nothing of the platform."""
    site.up()
    stop(site.cluster, "ann", "incident 12")
    before = site.there()
    assert install.check_only(site.plan(), Terminal()) == 0
    assert site.there() == before


def test_pools_that_a_killed_run_of_deploy_self_held_are_open_again(site: DayZero) -> None:
    """The platform's own, too: while it is paused no deploy/self begins that would open it."""
    assert site.up() == 0
    journal = new_journal("a worker is replaced").held({names.PLATFORM_POOL: False})
    Records(site.cluster).write_journal(journal)
    hold(site.prefect, [names.PLATFORM_POOL])
    assert site.up() == 0
    assert not site.prefect.pools[names.PLATFORM_POOL]["is_paused"]
    assert site.stage() is Stage.DONE


def test_a_pool_that_was_held_when_the_platform_was_uninstalled_is_opened_by_the_next_up(
    site: DayZero,
) -> None:
    """The database is kept, and there it is paused."""
    assert site.up() == 0
    journal = new_journal("a worker is replaced").held({names.PLATFORM_POOL: False})
    Records(site.cluster).write_journal(journal)
    hold(site.prefect, [names.PLATFORM_POOL])
    uninstall(site)
    assert site.up() == 0
    assert not site.prefect.pools[names.PLATFORM_POOL]["is_paused"]
    assert site.stage() is Stage.DONE


def test_a_password_that_somebody_deleted_is_made_anew_before_the_server_is_asked(
    site: DayZero, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which still has the old one, until somebody restarts it."""
    site.settings = site.settings.model_copy(update={"auth": "basic"})
    assert site.up() == 0
    secrets = site.plan().secrets
    old = secrets.get(names.API_AUTH)
    ref = Ref("v1", "Secret", parts(names.API_AUTH)[0])
    site.cluster.delete(ref, uid=site.cluster.get(ref)["metadata"]["uid"])

    def refuse(_path: str) -> None:
        raise NeedsOperator("refused the password", "restart it")

    with monkeypatch.context() as running:
        running.setattr(site.prefect, "get", refuse)
        with pytest.raises(NeedsOperator, match="refused the password"):
            site.up()
    made = secrets.get(names.API_AUTH)
    assert made != old
    assert site.up() == 0
    assert secrets.get(names.API_AUTH) == made


def test_a_wrong_block_is_told_and_can_be_replaced(site: DayZero) -> None:
    site.up()
    where = f"/block_types/slug/{names.SETTINGS_BLOCK_TYPE}/block_documents/name/"
    block = site.prefect.get(where + names.SETTINGS_BLOCK)["id"]
    site.prefect.patch(f"/block_documents/{block}", {"data": {"log_level": "LOUD"}})
    with pytest.raises(ManyFaults, match="log-level"):
        site.up()
    assert site.up(replace=True) == 0
    assert find_settings(site.prefect) == site.settings


def test_a_check_that_fails_leaves_no_pod_and_no_server(site: DayZero) -> None:
    site.broken = {names.POD_CHECK}
    with pytest.raises(NeedsOperator, match=names.POD_CHECK) as refused:
        site.up()
    # What is given anew by env: or file: would change nothing.
    assert f"kubectl patch secret {names.SECRETS} -n {SPACE}" in refused.value.remedy
    assert ("Job", names.POD_CHECK) not in site.there()
    assert ("Deployment", names.SERVER) not in site.there()


def test_a_namespace_that_is_there_is_not_labelled(
    site: DayZero,
) -> None:
    site.fake.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SPACE}})
    site.up()
    assert site.fake.look("Namespace", SPACE)["metadata"].get("labels", {}) == {}


def test_a_namespace_that_is_not_there_is_made_and_stays_ours(site: DayZero) -> None:
    site.up()
    site.up()
    labels = site.fake.look("Namespace", SPACE)["metadata"]["labels"]
    assert labels[names.OWNER_LABEL] == names.KEPT_BY_BOOTSTRAP


def test_passwords_are_made_once_and_never_told(
    site: DayZero, capsys: pytest.CaptureFixture[str]
) -> None:
    site.up()
    secrets = site.plan().secrets
    first = [secrets.get(each) for each in (names.ENCRYPTION_KEY, names.API_AUTH)]
    site.up()
    assert first == [secrets.get(each) for each in (names.ENCRYPTION_KEY, names.API_AUTH)]
    told = capsys.readouterr()
    for each in first:
        shown = each.get_secret_value() in told.out + told.err
        assert not shown


@pytest.mark.parametrize("asked", [{}, {"check": True}, {"diff": True}])
def test_a_value_that_is_given_in_vain_is_told_and_the_kept_one_stays(
    site: DayZero, ask: Ask, capsys: pytest.CaptureFixture[str], asked: dict[str, bool]
) -> None:
    def run(**more: Any) -> str:
        assert ask(**more) == 0
        told = capsys.readouterr()
        assert "hunter2" not in told.out + told.err
        return told.out

    assert "another value" not in run()
    site.fake.requests.clear()
    assert "another value" not in run()
    assert site.fake.writes == []
    environ = {"DATABASE": "hunter2-corrected", "RIGHT": "hunter2-right"}
    [told] = [
        line for line in run(environ=environ, **asked).splitlines() if "another value" in line
    ]
    assert f"{names.DATABASE_URL} keeps what the Secret holds" in told
    assert f"kubectl patch secret {names.SECRETS} -n {SPACE}" in told
    assert not any("secrets/" in each for each in site.fake.writes)
    kept = site.plan().secrets.get(names.DATABASE_URL)
    assert kept == SecretStr("hunter2-wrong")


def test_an_up_that_changes_nothing_reads_a_secret_once_a_question(site: DayZero, ask: Ask) -> None:
    """Which settings, what stands in the way, what is kept otherwise, what is to be written."""
    assert ask() == 0
    for given in ([], [{}]):
        site.fake.requests.clear()
        assert ask(*given) == 0
        assert site.fake.writes == []
        place = ("Secret", names.SECRETS)
        reads = [it for it in site.fake.requests if (it.served.kind, it.name) == place]
        assert 0 < len(reads) <= 3


OTHER: Final = {"named": {"log-level": "DEBUG"}}
IN_THE_WAY: Final = {
    "settings": ("differs from the saved settings:\n  log-level: saved 'INFO'", OTHER),
    "a stop": ("self-management is stopped: incident 12 (ann", {}),
}
each_in_the_way = pytest.mark.parametrize("way", IN_THE_WAY)


def put_in_the_way(site: DayZero, ask: Ask, way: str) -> tuple[str, dict[str, Any]]:
    """What is told of it, and what is asked with it; a platform is there."""
    assert ask() == 0
    if way == "a stop":
        stop(site.cluster, "ann", "incident 12")
    site.fake.requests.clear()
    return IN_THE_WAY[way]


@each_in_the_way
def test_what_up_is_refused_for_is_told_by_a_check_beside_all_else(
    site: DayZero, ask: Ask, way: str
) -> None:
    told, asked = put_in_the_way(site, ask, way)
    with pytest.raises(ManyFaults) as refused:
        ask(check=True, **asked)
    [fault] = refused.value.faults
    assert told in fault.problem
    site.fake.denied = {("create", "networkpolicies")}
    with pytest.raises(ManyFaults) as refused:
        ask(check=True, **asked)
    problems = [fault.problem for fault in refused.value.faults]
    assert any("you may not create networkpolicies" in each for each in problems)
    assert sum(told in each for each in problems) == 1


def test_a_stop_keeps_no_check_from_trying_database_and_storage(site: DayZero, ask: Ask) -> None:
    told, _ = put_in_the_way(site, ask, "a stop")
    before, made = site.there(), []
    site.fake.admit = lambda it: made.append(it["metadata"]["name"])
    with pytest.raises(ManyFaults, match=re.escape(told)):
        ask(check=True)
    [name] = made
    assert name.startswith(f"{names.POD_CHECK}-")
    assert site.there() == before


@each_in_the_way
def test_a_difference_is_shown_with_what_up_is_refused_for(
    site: DayZero, ask: Ask, capsys: pytest.CaptureFixture[str], way: str
) -> None:
    told, asked = put_in_the_way(site, ask, way)
    capsys.readouterr()
    assert ask(diff=True, **asked) == 0
    shown = capsys.readouterr().out
    assert "`up` is refused: " in shown
    assert told in shown
    assert " objects would change" in shown
    assert site.fake.writes == []


@pytest.mark.parametrize("asked", [{"check": True}, {"diff": True}])
def test_settings_that_replace_the_saved_ones_stand_in_nobodys_way(
    site: DayZero, ask: Ask, capsys: pytest.CaptureFixture[str], asked: dict[str, bool]
) -> None:
    _, other = put_in_the_way(site, ask, "settings")
    assert ask(**asked, **other, replace=True) == 0
    assert "is refused" not in capsys.readouterr().out


@pytest.mark.parametrize("asked", [{"check": True}, {"diff": True}, {}])
def test_a_server_that_does_not_answer_keeps_nobody_from_looking(
    site: DayZero, ask: Ask, monkeypatch: pytest.MonkeyPatch, asked: dict[str, bool]
) -> None:
    """Which settings are saved is asked once it is up."""
    put_in_the_way(site, ask, "settings")
    tries: list[Any] = []

    @contextmanager
    def reach(*words: Any) -> Iterator[PrefectApi]:
        tries.append(words)
        if len(tries) == 1:
            raise Transient("it has no pod")
        yield site.prefect

    monkeypatch.setattr(install, "reach_api", reach)
    assert ask(**asked) == 0
    assert len(tries) == (1 if asked else 2)


def test_a_difference_is_shown_and_nothing_is_written(
    site: DayZero, capsys: pytest.CaptureFixture[str]
) -> None:
    site.up()
    ref = Ref("v1", "ConfigMap", names.CONFIGURATION)
    site.cluster.delete(ref, uid=site.cluster.get(ref)["metadata"]["uid"])
    capsys.readouterr()
    site.fake.requests.clear()
    assert install.show_difference(site.plan(), Terminal()) == 0
    assert site.fake.writes == []
    assert f"ConfigMap {SPACE}/{names.CONFIGURATION}: created" in capsys.readouterr().out


def test_what_finalizers_keep_of_the_rights_is_told_until_it_has_gone(
    site: DayZero, capsys: pytest.CaptureFixture[str]
) -> None:
    """As the account of External Secrets, once Vault's agent is chosen."""
    site.up()
    own = install._rights_ownership(site.settings)
    kept = site.fake.look("ServiceAccount", names.MIGRATION)
    about = {"name": "before", "namespace": SPACE, "labels": kept["metadata"]["labels"]}
    former = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": about}
    wanted = install._rights(site.plan(), ())
    assert reconcile(site.cluster, [*wanted, former], own, write=True).faults == []
    keep(site, "x.test/clean")
    for _ in range(2):
        capsys.readouterr()
        assert site.up() == 0
        told = capsys.readouterr().out
        assert "ServiceAccount clinical-ai/before is wanted no more and is being deleted" in told
        assert "it is kept by finalizers: x.test/clean" in told
    keep(site)
    assert site.up() == 0
    assert "is wanted no more" not in capsys.readouterr().out
    assert ("ServiceAccount", "before") not in site.there()
    site.fake.requests.clear()
    assert site.up() == 0
    assert site.fake.writes == []


def keep(site: DayZero, *finalizers: str) -> None:
    finalized = {"finalizers": list(finalizers)}
    about = "ServiceAccount", "before", "controller"
    site.fake.edit(*about, lambda it: it["metadata"].update(finalized))


def let_jobs_delete_pods(site: DayZero) -> None:
    """What a person did with kubectl."""
    more = {"apiGroups": [""], "resources": ["pods"], "verbs": ["delete"]}
    name = names.PLATFORM_JOB
    site.fake.edit("Role", name, "kubectl-edit", lambda it: it["rules"].append(more))


def test_rights_that_somebody_else_set_are_left_alone_and_told_with_the_remedy(
    site: DayZero, capsys: pytest.CaptureFixture[str]
) -> None:
    """Bootstrap alone looks whether it could write them, so nobody else tells."""
    site.up()
    let_jobs_delete_pods(site)
    capsys.readouterr()
    left = f"Role {SPACE}/{names.PLATFORM_JOB}: unchanged (left alone: .rules belongs to kubectl"
    assert site.up() == 0
    [line] = [it for it in capsys.readouterr().out.splitlines() if left in it]
    assert " rights " in line
    assert "delete the object and run this again" in line
    site.fake.requests.clear()
    assert install.show_difference(site.plan(), Terminal()) == 0
    first, why, then, last = capsys.readouterr().out.splitlines()
    assert first == f"Role {SPACE}/{names.PLATFORM_JOB}: unchanged"
    assert why.startswith("    left alone: .rules belongs to kubectl")
    assert "delete the object and run this again" in then
    assert last.startswith("0 of ")
    assert site.fake.writes == []


def loosen(site: DayZero) -> None:
    """A label of the namespace is gone."""
    found = site.fake.objects.all["v1", "Namespace", "", SPACE].content
    del found["metadata"]["labels"]["pod-security.kubernetes.io/enforce"]


def enforced(site: DayZero) -> bool:
    labels = site.fake.look("Namespace", SPACE)["metadata"]["labels"]
    return "pod-security.kubernetes.io/enforce" in labels


def test_rights_in_the_namespace_are_enough_to_run_what_somebody_with_more_began(
    site: DayZero, capsys: pytest.CaptureFixture[str]
) -> None:
    """As long as it is as it has to be; what is not is told, and healed by whoever may."""
    theirs = "you may not patch it, whoever may can heal it with"
    site.up()
    site.fake.denied = {("create", "namespaces"), ("patch", "namespaces")}
    capsys.readouterr()
    site.fake.requests.clear()
    assert site.up() == 0
    assert site.fake.writes == []
    assert "drifted" not in capsys.readouterr().out
    loosen(site)
    assert site.up() == 0
    [line] = [it for it in capsys.readouterr().out.splitlines() if "drifted" in it]
    assert f"Namespace {SPACE}: drifted (pod-security.kubernetes.io/enforce; {theirs}" in line
    assert install.show_difference(site.plan(), Terminal()) == 0
    first, why, last = capsys.readouterr().out.splitlines()
    assert first == f"Namespace {SPACE}: drifted"
    assert why.startswith(f"    pod-security.kubernetes.io/enforce; {theirs}")
    assert last.startswith("0 of ")
    site.fake.denied = set()
    assert not enforced(site)
    assert site.up() == 0
    assert enforced(site)


def lose_labels(site: DayZero, kind: str, name: str, *, more: str = "") -> None:
    """Somebody takes away the one that says whose the object is."""

    def take(found: Any) -> None:
        for each in (names.OWNER_LABEL, *([more] if more else [])):
            del found["metadata"]["labels"][each]

    site.fake.edit(kind, name, "kubectl-label", take)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("ConfigMap", names.CONFIGURATION),
        ("Deployment", names.WORKER),
        ("Role", names.PLATFORM_JOB),
        ("ServiceAccount", names.SERVER),
        ("Namespace", SPACE),
    ],
)
def test_an_object_that_lost_the_label_of_its_owner_is_no_strangers_and_gets_it_back(
    site: DayZero, ask: Ask, kind: str, name: str
) -> None:
    assert ask() == 0
    before = site.fake.look(kind, name)["metadata"]
    lose_labels(site, kind, name)
    assert ask(check=True) == 0
    assert ask() == 0
    after = site.fake.look(kind, name)["metadata"]
    assert (after["labels"], after["uid"]) == (before["labels"], before["uid"])
    site.fake.requests.clear()
    assert ask() == 0
    assert site.fake.writes == []


@pytest.mark.parametrize("labels", [{}, {names.OWNER_LABEL: "theirs"}])
def test_an_object_that_somebody_made_in_place_of_one_of_ours_is_his(
    site: DayZero, ask: Ask, labels: dict[str, str]
) -> None:
    assert ask() == 0
    ref = Ref("v1", "ConfigMap", names.CONFIGURATION)
    site.cluster.delete(ref, uid=site.cluster.get(ref)["metadata"]["uid"])
    site.put("ConfigMap", names.CONFIGURATION, labels=labels)
    with pytest.raises(ManyFaults, match=f"not of this platform: {ref.kind} {SPACE}/{ref.name}"):
        ask()


def test_an_object_that_somebody_took_over_is_his(site: DayZero, ask: Ask) -> None:
    assert ask() == 0
    theirs = {names.OWNER_LABEL: "theirs"}
    about = "ConfigMap", names.CONFIGURATION, "kubectl-label"
    site.fake.edit(*about, lambda it: it["metadata"]["labels"].update(theirs))
    with pytest.raises(ManyFaults, match="not of this platform"):
        ask()


def test_a_namespace_that_lost_its_labels_is_healed_by_whoever_may(
    site: DayZero, ask: Ask, capsys: pytest.CaptureFixture[str]
) -> None:
    """All of them: without the one by which it is known, nobody looked at the others."""
    assert ask() == 0
    level = "pod-security.kubernetes.io/enforce"
    lose_labels(site, "Namespace", SPACE, more=level)
    told = [str(each) for each in site.platform().rights() if each.differs]
    assert [each for each in told if names.OWNER_LABEL in each and level in each] == told != []
    site.fake.denied = {("patch", "namespaces")}
    assert ask() == 0
    assert f"Namespace {SPACE}: drifted" in capsys.readouterr().out
    site.fake.denied = set()
    assert ask() == 0
    assert enforced(site)
    assert [each for each in site.platform().rights() if each.differs] == []


def test_a_namespace_that_may_not_be_patched_is_not_pruned(site: DayZero) -> None:
    """It is in the inventory, and wanted, although nothing of it is applied."""
    site.up()
    own = install._rights_ownership(site.settings)
    before = read_inventory(site.cluster, own)
    assert Ref("v1", "Namespace", SPACE) in before.uids
    site.fake.denied = {("patch", "namespaces")}
    removed = Ref("v1", "ServiceAccount", names.MIGRATION)
    site.cluster.delete(removed, uid=site.cluster.get(removed)["metadata"]["uid"])
    site.up()
    assert site.fake.look("Namespace", SPACE)["metadata"]["labels"][names.OWNER_LABEL]
    assert list(read_inventory(site.cluster, own).uids) == list(before.uids)
