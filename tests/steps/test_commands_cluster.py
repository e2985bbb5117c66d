"""`clinical-ai` with a platform in a cluster: what it prints, how it ends, what it asks before."""

import io
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from clinical_ai import cli, names
from clinical_ai.ports import PrefectApi
from clinical_ai.ports_cluster import Ref
from clinical_ai.steps.cluster.break_glass import find_stop, stop
from clinical_ai.steps.cluster.lease import cluster_lease, find_holder
from clinical_ai.steps.cluster.records import Records
from clinical_ai.steps.roll import hold, new_journal
from clinical_ai.steps.verify import Result, as_rows
from tests.support.clock import Clock
from tests.support.fake_cluster import Request
from tests.support.installed import SPACE, Installed

Run = Callable[..., int]
KUBERNETES = ("--runtime", "kubernetes")


@pytest.fixture
def run(installed: Installed, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A command line to its exit code; `given` is typed by a person."""
    place = "clinical_ai.commands_cluster"

    def open_it(_environ: Any, *, namespace: str, context: str) -> Any:
        assert context in {"", "chosen"}
        return installed.fake.open(namespace)

    @contextmanager
    def reach(*_: Any) -> Iterator[PrefectApi]:
        yield installed.prefect

    monkeypatch.setattr(f"{place}.open_kubernetes", open_it)
    monkeypatch.setattr(f"{place}.reach_api", reach)

    def run(*words: str, given: str = "") -> int:
        monkeypatch.setattr("sys.stdin", io.StringIO(given))
        return cli.main(words)

    return run


def register(site: Installed, full_name: str) -> None:
    flow, name = full_name.split("/")
    body = {"name": name, "work_pool_name": names.PLATFORM_POOL, "entrypoint": "a:b"}
    found = site.prefect.post("/flows/", {"name": flow})["id"]
    site.prefect.post("/deployments/", {**body, "flow_id": found})


def ends(site: Installed, state: str, message: str, table: list[Result] | None = None) -> None:
    """From now on each run ends so at once, and leaves this table."""
    real = site.prefect.post

    def post(path: str, body: Any = None) -> Any:
        answer = real(path, body)
        if path.endswith("/create_flow_run"):
            if table is not None:
                left = {"key": "verify", "data": json.dumps(as_rows(table))}
                real("/artifacts/", {**left, "flow_run_id": answer["id"]})
            told = {"type": state, "message": message}
            real(f"/flow_runs/{answer['id']}/set_state", {"state": told})
        return answer

    site.prefect.post = post  # type: ignore[method-assign]


# The command line.


@pytest.mark.parametrize(
    "words",
    [
        ("break-glass",),
        ("break-glass", "maybe"),
        ("uninstall", "now"),
        ("uninstall", "--state", "x"),
        ("uninstall", "--yes", "--runtime", "local"),
        ("status", "--runtime", "moon"),
        ("verify", "--report-only"),
        ("uninstall", "--yes", "--namespace", ""),
        ("status", *KUBERNETES, "--namespace", "../kube-system"),
    ],
)
def test_a_wrong_command_line_ends_with_two_and_reaches_no_cluster(
    run: Run, installed: Installed, words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    installed.fake.requests.clear()
    with pytest.raises(SystemExit) as ended:
        run(*words)
    assert ended.value.code == 2
    assert installed.fake.requests == []
    assert "usage: clinical-ai" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["status", "verify", "deploy"])
@pytest.mark.parametrize(
    ("option", "told"),
    [
        (("--namespace", "prod"), "--namespace is of a cluster. add --runtime kubernetes."),
        (("--context", "prod"), "--context is of a cluster. add --runtime kubernetes."),
        ((*KUBERNETES, "--state", "x"), "--state is of one machine. leave it out"),
    ],
)
def test_an_option_of_the_other_runtime_reaches_no_platform(
    run: Run,
    installed: Installed,
    command: str,
    option: tuple[str, ...],
    told: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    installed.fake.requests.clear()
    assert run(command, *option) == 1
    assert installed.fake.requests == []
    assert capsys.readouterr().err.startswith(told)


def test_a_confirmed_removal_without_its_runtime_reaches_no_platform(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("deploy", "--confirm") == 1
    told = "--confirm is of a cluster. add --runtime kubernetes."
    assert capsys.readouterr().err.startswith(told)


@pytest.mark.parametrize(
    ("command", "options"),
    [
        ("status", ["--runtime", "--namespace", "--context", "--json"]),
        ("verify", ["--runtime", "--namespace", "--context", "--json"]),
        ("deploy", ["--runtime", "--namespace", "--context", "--report-only", "--confirm"]),
        ("break-glass", ["--runtime", "--namespace", "--context", "--reason"]),
        (
            "uninstall",
            ["--runtime", "--namespace", "--yes", "--secrets", "--database", "--whole-namespace"],
        ),
    ],
)
def test_a_command_explains_what_it_takes(
    command: str, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main([command, "--help"])
    assert ended.value.code == 0
    told = capsys.readouterr().out
    assert [each for each in options if each not in told] == []


# Status, verify, deploy.


def test_status_ends_with_zero_when_all_is_up_and_with_one_when_not(
    run: Run, installed: Installed, capsys: pytest.CaptureFixture[str]
) -> None:
    installed.keep_secrets()
    assert run("status", *KUBERNETES, "--json", "--context", "chosen") == 0
    assert json.loads(capsys.readouterr().out)["namespace"] == SPACE
    installed.prefect.down = True
    assert run("status", *KUBERNETES) == 1
    assert "no answer from Prefect" in capsys.readouterr().out


def test_another_namespace_is_another_platform(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("status", *KUBERNETES, "--namespace", "elsewhere") == 1
    assert "namespace    elsewhere" in capsys.readouterr().out


def test_a_cluster_that_is_away_is_one_sentence_and_ends_with_one(
    run: Run, installed: Installed, capsys: pytest.CaptureFixture[str]
) -> None:
    installed.fake.down = True
    assert run("status", *KUBERNETES) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert "Traceback" not in told.err
    assert told.err.startswith("no answer from the API server")


@pytest.mark.parametrize(("passed", "code"), [(True, 0), (False, 1)])
def test_verify_shows_the_table_of_a_run_and_ends_by_it(
    run: Run,
    installed: Installed,
    capsys: pytest.CaptureFixture[str],
    *,
    passed: bool,
    code: int,
) -> None:
    installed.keep_secrets()
    register(installed, names.VERIFY)
    table = [Result("pods ready", passed, "one pod", "" if passed else "look at it")]
    ends(installed, "COMPLETED" if passed else "FAILED", "", table)
    assert run("verify", *KUBERNETES) == code
    assert "pods ready           one pod" in capsys.readouterr().out
    assert run("verify", *KUBERNETES, "--json") == code
    told = json.loads(capsys.readouterr().out)
    assert told[:-1] == as_rows(table)
    assert (told[-1]["check"], told[-1]["result"]) == ("secrets present", "passed")


@pytest.mark.parametrize("lost", [True, False])
def test_verify_looks_at_secrets_with_a_persons_rights(
    run: Run, installed: Installed, capsys: pytest.CaptureFixture[str], *, lost: bool
) -> None:
    """From inside nobody may; without the right it is no fault, and told."""
    installed.keep_secrets()
    register(installed, names.VERIFY)
    ends(installed, "COMPLETED", "", [Result("pods ready", passed=True, evidence="one pod")])
    if lost:
        ref = Ref("v1", "Secret", f"{names.PRODUCT}-encryption")
        installed.cluster.delete(ref, uid=installed.cluster.get(ref)["metadata"]["uid"])
    else:
        installed.fake.denied = {("get", "secrets")}
    assert run("verify", *KUBERNETES) == int(lost)
    said = capsys.readouterr().out
    assert (f"{names.ENCRYPTION_KEY} is not there" in said) is lost
    assert ("not known: a-test may not get secrets" in said) is not lost


def test_a_verify_that_leaves_no_table_is_no_success(
    run: Run, installed: Installed, capsys: pytest.CaptureFixture[str]
) -> None:
    register(installed, names.VERIFY)
    ends(installed, "COMPLETED", "well")
    assert run("verify", *KUBERNETES) == 1
    assert "without a table: well" in capsys.readouterr().err


@pytest.mark.parametrize(("state", "code"), [("COMPLETED", 0), ("FAILED", 1), ("CRASHED", 1)])
def test_deploy_follows_its_run_and_ends_by_it(
    run: Run, installed: Installed, capsys: pytest.CaptureFixture[str], state: str, code: int
) -> None:
    register(installed, names.DEPLOY_SELF)
    ends(installed, state, "3 things changed")
    assert run("deploy", *KUBERNETES, "--report-only") == code
    assert f"{state.lower()} 3 things changed" in capsys.readouterr().out
    [row] = installed.prefect.runs.values()
    assert row["parameters"] == {"report_only": True}


def test_deploy_tells_what_its_run_asks_and_follows_it_until_the_answer(
    run: Run, installed: Installed, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    register(installed, names.DEPLOY_SELF)
    prefect = installed.prefect

    def enters(state: str) -> None:
        [key] = prefect.runs
        told = {"type": state, "message": f"{state} by a test"}
        prefect.post(f"/flow_runs/{key}/set_state", {"state": told})

    def asks() -> None:
        enters("PAUSED")
        [key] = prefect.runs
        told = "6 objects would be deleted\n\nIt waits 60 minutes for an answer: https://p.test/it"
        line = {"name": "prefect.flow_runs", "message": told, "timestamp": "2026-11-02T03:04:05Z"}
        prefect.post("/logs/", [{**line, "flow_run_id": key}])

    hour = [lambda: None] * 1800  # every two seconds, after the first minute
    clock.happens(lambda: enters("RUNNING"), asks, *hour, lambda: enters("COMPLETED"))
    assert run("deploy", *KUBERNETES) == 0
    told = capsys.readouterr()
    assert told.err.count("It waits 60 minutes for an answer: https://p.test/it") == 1
    assert "COMPLETED by a test" in told.out


def test_deploy_that_is_interrupted_says_that_its_run_goes_on(
    run: Run, installed: Installed, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    register(installed, names.DEPLOY_SELF)

    def interrupt() -> None:
        raise KeyboardInterrupt

    clock.happens(interrupt)
    assert run("deploy", *KUBERNETES) == 130
    told = capsys.readouterr().err
    assert "the run goes on: `clinical-ai status --runtime kubernetes` and the UI" in told
    assert "run it again" not in told


def test_deploy_removes_much_unasked_when_it_is_told_to(run: Run, installed: Installed) -> None:
    register(installed, names.DEPLOY_SELF)
    ends(installed, "COMPLETED", "well")
    assert run("deploy", *KUBERNETES, "--confirm") == 0
    [row] = installed.prefect.runs.values()
    assert row["parameters"] == {"report_only": False, "confirm_removal": True}


@pytest.mark.parametrize(("options", "paused"), [((), False), (("--report-only",), True)])
def test_deploy_opens_a_pool_that_a_killed_run_held(
    run: Run, installed: Installed, options: tuple[str, ...], paused: bool
) -> None:
    register(installed, names.DEPLOY_SELF)
    ends(installed, "COMPLETED", "well")
    journal = new_journal("a worker is replaced").held({names.PLATFORM_POOL: False})
    Records(installed.cluster).write_journal(journal)
    hold(installed.prefect, [names.PLATFORM_POOL])
    assert run("deploy", *KUBERNETES, *options) == 0
    assert installed.prefect.pools[names.PLATFORM_POOL]["is_paused"] is paused


def test_deploy_opens_no_pool_while_self_management_is_stopped(
    run: Run, installed: Installed, capsys: pytest.CaptureFixture[str]
) -> None:
    register(installed, names.DEPLOY_SELF)
    journal = new_journal("a worker is replaced").held({names.PLATFORM_POOL: False})
    Records(installed.cluster).write_journal(journal)
    hold(installed.prefect, [names.PLATFORM_POOL])
    run("break-glass", "on", "--reason", "incident 12")
    installed.fake.requests.clear()
    assert run("deploy", *KUBERNETES) == 1
    assert "incident 12" in capsys.readouterr().err
    assert installed.fake.writes == []
    assert installed.prefect.pools[names.PLATFORM_POOL]["is_paused"] is True
    assert installed.prefect.runs == {}


def test_what_is_not_registered_yet_is_told(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("deploy", *KUBERNETES) == 1
    assert f"{names.DEPLOY_SELF} is not registered" in capsys.readouterr().err


# Break-glass.


def test_the_switch_goes_on_with_its_reason_and_off_again(
    run: Run, installed: Installed, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("break-glass", "on", "--reason", "incident 12") == 0
    assert "incident 12 (" in str(find_stop(installed.cluster))
    told = capsys.readouterr().out
    assert f"self-management in namespace {SPACE}: stopped (incident 12" in told
    for _ in range(2):
        assert run("break-glass", "off") == 0
        assert find_stop(installed.cluster) is None


def test_a_command_of_a_cluster_alone_takes_the_option_by_which_others_reach_it(
    run: Run, installed: Installed
) -> None:
    """An emergency is no time to learn which commands do not need it."""
    assert run("break-glass", "on", *KUBERNETES) == 0
    assert find_stop(installed.cluster)
    assert run("break-glass", "off", *KUBERNETES) == 0
    assert run("uninstall", *KUBERNETES, "--yes") == 0
    assert installed.there() == set()


@pytest.mark.parametrize("words", [("break-glass", "on"), ("uninstall", "--yes")])
def test_one_machine_is_told_what_it_has_instead_of_a_command_of_a_cluster(
    run: Run, words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        run(*words, "--runtime", "local")
    told = capsys.readouterr().err
    assert "'local' has no such command; one machine has `clinical-ai down` and `destroy`" in told


def test_a_switch_without_a_reason_says_that_none_was_given(run: Run, installed: Installed) -> None:
    assert run("break-glass", "on") == 0
    assert str(find_stop(installed.cluster)).startswith("no reason given (")


# Uninstall.


@pytest.mark.parametrize("given", ["", "\n", "yes\n", "UNINSTALL\n", "uninstall it\n"])
def test_nothing_is_removed_without_the_word(
    run: Run, installed: Installed, given: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = installed.there()
    installed.fake.requests.clear()
    assert run("uninstall", "--secrets", "--whole-namespace", given=given) == 1
    assert installed.there() == before
    assert installed.fake.writes == []
    told = capsys.readouterr().out
    assert f"goes   Deployment {names.SERVER}" in told
    assert f"Type the word uninstall to go on in namespace {SPACE}: " in told
    assert told.endswith("nothing was removed\n")


@pytest.mark.parametrize(("words", "given"), [((), "uninstall\n"), (("--yes",), "")])
def test_all_of_it_is_removed_with_the_word_or_with_yes(
    run: Run, installed: Installed, words: tuple[str, ...], given: str
) -> None:
    assert run("uninstall", *words, given=given) == 0
    assert installed.there() == set()
    assert installed.fake.look("Namespace", SPACE)


def test_a_second_time_there_is_nothing_to_ask_for(
    run: Run, installed: Installed, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("uninstall", "--yes", "--database") == 0
    installed.fake.requests.clear()
    assert run("uninstall", "--database") == 0
    assert installed.fake.writes == []
    assert capsys.readouterr().out.endswith(f"nothing is left to remove in namespace {SPACE}\n")


def test_a_lease_that_a_killed_uninstallation_left_goes_with_the_next(
    run: Run, installed: Installed, capsys: pytest.CaptureFixture[str]
) -> None:
    def kill(asked: Any) -> None:
        if (asked.verb, asked.served.kind) == ("delete", "Lease"):
            raise KeyboardInterrupt

    installed.fake.on_write = kill
    assert run("uninstall", "--yes") == 130
    installed.fake.on_write = lambda _: None
    assert installed.there() == {("Lease", names.CLUSTER_LEASE)}
    capsys.readouterr()
    assert run("uninstall", "--yes") == 0
    assert f"goes   Lease {names.CLUSTER_LEASE}" in capsys.readouterr().out
    assert installed.there() == set()


def test_a_schema_that_cannot_be_dropped_any_more_is_told(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("uninstall", "--yes") == 0
    capsys.readouterr()
    assert run("uninstall", "--yes", "--database") == 0
    assert "stays  schema prefect of the database, if no earlier" in capsys.readouterr().out


@pytest.mark.parametrize("dropped", [False, True])
def test_the_schema_stays_with_the_namespace_or_without_it_unless_it_is_dropped(
    run: Run, capsys: pytest.CaptureFixture[str], *, dropped: bool
) -> None:
    assert run("uninstall", "--whole-namespace", *["--database"] * dropped) == 1
    stays = [each for each in capsys.readouterr().out.splitlines() if each.startswith("stays")]
    assert stays == ["stays  schema prefect of the database"] * (not dropped)


def test_the_namespace_goes_with_all_in_it_when_bootstrap_made_it(
    run: Run, installed: Installed
) -> None:
    installed.put("ConfigMap", "theirs")
    assert run("uninstall", "--yes", "--whole-namespace") == 0
    assert installed.there() == set()
    assert installed.cluster.find(Ref("v1", "Namespace", SPACE)) is None


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        ({}, f"Namespace {SPACE} has lost label {names.OWNER_LABEL}"),
        ({names.OWNER_LABEL: "ann"}, f"namespace {SPACE} was not made by bootstrap"),
    ],
)
def test_a_namespace_that_does_not_say_it_is_ours_is_not_removed_and_nothing_in_it(
    run: Run,
    installed: Installed,
    capsys: pytest.CaptureFixture[str],
    labels: dict[str, str],
    told: str,
) -> None:
    installed.fake.edit("Namespace", SPACE, "ann", lambda it: it["metadata"].update(labels=labels))
    before = installed.there()
    assert run("uninstall", "--yes", "--whole-namespace") == 1
    said = capsys.readouterr().err
    assert told in said
    assert ("which puts it back" in said) is (not labels)
    assert "leave out --whole-namespace; nothing was changed" in said
    assert installed.there() == before


HELD = new_journal("a worker is replaced").held({names.PLATFORM_POOL: False})


def test_a_namespace_that_alone_knows_of_a_held_pool_is_not_removed(
    run: Run, installed: Installed, capsys: pytest.CaptureFixture[str]
) -> None:
    Records(installed.cluster).write_journal(HELD)
    before = installed.there()
    assert run("uninstall", "--yes", "--whole-namespace") == 1
    told = capsys.readouterr().err
    assert "holds platform in the database" in told
    assert "run `clinical-ai deploy --runtime kubernetes`, which opens it" in told
    assert "add --database" in told
    assert installed.there() == before
    assert run("uninstall", "--yes", "--whole-namespace", "--database") == 0
    assert installed.cluster.find(Ref("v1", "Namespace", SPACE)) is None


@pytest.mark.parametrize("asked", [(), ("--database",)])
def test_nor_is_it_when_no_job_is_left_that_could_drop_the_schema(
    run: Run, installed: Installed, asked: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """A database that stays remembers the pause, whatever is asked for."""
    Records(installed.cluster).write_journal(HELD)
    assert run("uninstall", "--yes") == 0
    capsys.readouterr()
    assert run("uninstall", "--yes", "--whole-namespace", *asked) == 1
    told = capsys.readouterr().err
    assert "run `clinical-ai up --runtime kubernetes --settings FILE`, which opens it" in told
    assert "add --database" not in told
    assert installed.there() == {("ConfigMap", names.JOURNAL)}
    assert run("uninstall", "--yes", *asked) == 0
    assert installed.there() == {("ConfigMap", names.JOURNAL)}
    assert installed.cluster.find(Ref("v1", "Namespace", SPACE))


def test_nor_is_it_when_the_pool_came_to_be_held_while_somebody_was_asked(
    run: Run, installed: Installed, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = installed.there()

    def typed(*_: Any) -> bool:
        Records(installed.cluster).write_journal(HELD)
        return True

    monkeypatch.setattr("clinical_ai.commands_cluster._confirmed", typed)
    assert run("uninstall", "--whole-namespace") == 1
    assert before <= installed.there()


def test_nothing_is_removed_while_self_management_is_stopped(
    run: Run, installed: Installed, capsys: pytest.CaptureFixture[str]
) -> None:
    run("break-glass", "on", "--reason", "incident 12")
    before = installed.there()
    assert run("uninstall", "--yes") == 1
    assert "incident 12" in capsys.readouterr().err
    assert before <= installed.there()
    assert find_holder(installed.cluster) is None


def test_a_stop_at_the_end_of_an_uninstallation_keeps_the_namespace(
    run: Run, installed: Installed
) -> None:
    def pull(asked: Request) -> None:
        if (asked.verb, asked.served.kind) == ("delete", "Lease"):
            stop(installed.cluster, "ann", "incident 12")

    installed.fake.on_write = pull
    assert run("uninstall", "--yes", "--whole-namespace") == 1
    assert installed.cluster.find(Ref("v1", "Namespace", SPACE)) is not None


JOB = {
    "template": {"spec": {"containers": [{"name": "c", "image": "i"}], "restartPolicy": "Never"}}
}


def test_what_is_made_while_somebody_is_asked_goes_as_well(
    run: Run, installed: Installed, monkeypatch: pytest.MonkeyPatch
) -> None:
    def typed(*_: Any) -> bool:
        installed.put("Job", "late", "batch/v1", labels={"app": names.PLATFORM_JOB}, spec=JOB)
        return True

    monkeypatch.setattr("clinical_ai.commands_cluster._confirmed", typed)
    assert run("uninstall") == 0
    assert installed.there() == set()


def test_a_change_that_is_under_way_is_waited_for_and_told(
    run: Run, installed: Installed, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    before = installed.there()
    with cluster_lease(installed.cluster, "deploy by ann", seconds=1):
        assert run("uninstall", "--yes") == 1
    assert "deploy by ann, since" in capsys.readouterr().err
    assert before <= installed.there()


def test_an_interruption_ends_with_130_and_frees_the_lease(run: Run, installed: Installed) -> None:
    def interrupt(asked: Any) -> None:
        if asked.verb == "delete":
            raise KeyboardInterrupt

    installed.fake.on_write = interrupt
    assert run("uninstall", "--yes") == 130
    assert find_holder(installed.cluster) is None
    installed.fake.on_write = lambda _: None
    assert run("uninstall", "--yes") == 0
    assert installed.there() == set()
