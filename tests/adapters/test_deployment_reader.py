"""A prefect.yaml is read whole: every fault with its line, and exactly what Prefect would send."""

from functools import partial
from pathlib import Path

import psutil
import pytest
from pydantic import SecretStr

from clinical_ai.adapters.deployment_reader import reading
from clinical_ai.errors import ManyFaults
from clinical_ai.waiting import Sighting, wait_until
from tests.support.deployment_files import (
    FLOWS,
    GOOD,
    HEAD,
    Write,
    read,
    read_here,
    told,
    told_here,
)
from tests.support.prefect_server import PrefectServer, ensure_pool


def test_a_deployment_is_what_prefect_would_send(write: Write) -> None:
    (found,) = read_here(write(HEAD + GOOD))
    assert found.full_name == "load/one"
    assert found.body["description"] == "Loads rows."
    assert found.body["parameter_openapi_schema"]["required"] == ["source"]
    assert found.body["work_pool_name"] == "default"
    assert found.named == {"entrypoint", "tags"}
    assert found.place.endswith("prefect.yaml:5")
    assert found.triggers is None
    assert found.checked


def test_only_what_a_schedule_says_is_wanted_of_it(write: Write) -> None:
    text = GOOD + "    parameters: {source: a}\n    schedules:\n      - {slug: a, interval: 60}\n"
    text += "      - {slug: b, cron: '0 5 * * *', active: false, parameters: {source: x}}\n"
    (found,) = read_here(write(HEAD + text))
    interval, cron = found.body["schedules"]
    assert interval == {"slug": "a", "schedule": {"interval": 60.0, "timezone": "UTC"}}
    assert (cron["active"], cron["parameters"]) == (False, {"source": "x"})


def test_a_rule_without_a_start_is_as_the_file_writes_it_at_any_time(write: Write) -> None:
    rules = ["FREQ=MINUTELY;INTERVAL=7", "RRULE:FREQ=DAILY", "DTSTART:20260101T030000\nFREQ=DAILY"]
    lines = [f"      - {{slug: s{number}, rrule: {rule!r}}}\n" for number, rule in enumerate(rules)]
    lines[2] = lines[2].replace("'", '"')
    text = f"{HEAD}{GOOD}    parameters: {{source: a}}\n    schedules:\n{''.join(lines)}"
    (found,) = read_here(write(text))
    assert [each["schedule"]["rrule"] for each in found.body["schedules"]] == rules


def test_every_fault_of_form_is_told_with_its_line(write: Write) -> None:
    text = """\
nmae: team
deployments:
  - name: a
    entrypoint: flows.py:load
    tags: ["owner:team"]
    paramters: {a: 1}
    work_pool: {nam: default}
  - name: b
    entrypoint: flows.py:load
    work_pool:
      name: default
      job_variables:
        env: {DB_PASSWORD: x, URL: "http://me:word@h/", B: "{{ prefect.blocks.secret.s }}", N: s}
    schedules:
      - cron: "0 5 * * *"
      - {slug: a, interval: 60, chron: 1}
      - {slug: a, interval: 60}
    concurrency_limit: {limit: 1, colision_strategy: ENQUEUE}
"""
    found = told_here(write(text))
    wanted = [
        "1: unknown key 'nmae'",
        "3: deployment 'a' has no work_pool.name",
        "6: unknown key 'paramters'",
        "7: unknown key 'nam'",
        "8: deployment 'b' has not one owner",
        "13: job variable DB_PASSWORD looks like a secret in clear",
        "13: job variable URL is an address with a password",
        "13: job variable B would hold a block's value in clear",
        "15: a schedule of deployment 'b' has no slug",
        "16: unknown key 'chron'",
        "17: two schedules of deployment 'b' have the slug a",
        "18: unknown key 'colision_strategy'",
    ]
    for start in wanted:
        assert any(line.startswith(start) for line in found), (start, found)
    assert not any("word" in line.replace("password", "").replace("PASSWORD", "") for line in found)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("deployments: [", "2: "),
        ("a: 1\n\tb: 2\n", "2: "),
        ("- 1\n", "1: it is not a table of keys"),
        ("name: x\n", "1: it names no deployment"),
        (HEAD + GOOD + '    description: "a\\0b"\n', "9: it has a NUL character"),
        (HEAD + GOOD + "    yes: 1\n", "9: unknown key 'True'"),
        (HEAD + GOOD + "    1: 1\n", "9: unknown key '1'"),
        (HEAD + GOOD + "    parameters:\n      source: x\n      2020-01-01: 1\n", "11: parameter"),
        (HEAD + GOOD + "    work_pool2: {}\n    ~: 1\n", "10: unknown key 'None'"),
        (HEAD + GOOD + "    on: 1\n    'on': 2\n    on: 3\n", "11: True is given twice"),
        (HEAD + GOOD + "    parameters: {source: [a, 2020-13-45]}\n", "9: what looks like a date"),
        (HEAD + GOOD + "    2020-01-45: 1\n", "9: what looks like a date"),
        (HEAD + GOOD + "    !!int x: 1\n", "9: what looks like a date or a number"),
        (HEAD + GOOD + "    name: two\n", "9: name is given twice"),
        (HEAD + GOOD + "    tags: 5\n", "9: tags is given twice"),
        (HEAD + GOOD.replace('["owner:team"]', "5"), "7: deployments.0.tags"),
        (HEAD + GOOD + "    schedules: [{slug: a}]\n", "9: deployments.0.schedules.0: Exactly one"),
        (
            HEAD + GOOD + GOOD.replace("owner:team", "owner:x").replace("one", "two"),
            "9: deployments of several owners",
        ),
    ],
)
def test_a_text_that_is_wrong_is_told_with_its_line(write: Write, text: str, line: str) -> None:
    found = told_here(write(text))
    assert any(each.startswith(line) for each in found), found


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        (
            GOOD.replace("flows.py:load", "flowz.py:load"),
            "6: entrypoint flowz.py:load: there is",
        ),
        (GOOD.replace(":load", ":lode"), "6: entrypoint flows.py:lode: MissingFlowError"),
        (GOOD.replace(":load", ":not_a_flow"), "6: entrypoint flows.py:not_a_flow: MissingFlow"),
        (GOOD.replace("flows.py:load", "flows"), "6: entrypoint 'flows' names no flow"),
        (GOOD.replace("flows.py:load", "bad.py:load"), "can't be imported: ZeroDivisionError"),
        (GOOD + "    parameters: {rows: many}\n", "9: parameter rows: its value is not of"),
        (
            GOOD + "    parameters: {source: a, rose: 1}\n",
            "9: parameter rose: the flow has no such",
        ),
        (
            GOOD + "    schedules: [{slug: a, interval: 60, parameters: {rose: 1}}]\n",
            "9: parameter rose: the flow has no such parameter",
        ),
        (GOOD + "    schedules: [{slug: a, cron: '61 5 * * *'}]\n", "9: schedule 'a': cron: Inv"),
        (GOOD + "    schedules: [{slug: a, cron: '0 0 30 2 *'}]\n", "9: a schedule never comes"),
        (GOOD + "    schedules: [{slug: a, rrule: 'FREQ=X'}]\n", "9: schedule 'a': "),
        (GOOD.replace("flows.py:load", "exits.py:f"), "can't be imported: SystemExit: 3"),
        (GOOD.replace("flows.py:load", "flows.py"), "6: entrypoint 'flows.py' names no flow"),
        (
            GOOD + "    parameters: {rows: {__prefect_kind: json, value: '5'}}\n",
            "9: parameter rows",
        ),
        (GOOD + "    schedule: {cron: '1 5 * * *'}\n", "9: `schedule` is the old form"),
        (GOOD + "    sla: [{name: x}]\n", "9: deployments.0.sla.0: "),
        (GOOD + "    description: '{{ $NO_SUCH }}'\n", "9: $NO_SUCH is not set"),
        (
            GOOD.replace("default}", "default, job_variables: {a: '{{ prefect.variable.x }}'}}"),
            "8: the template 'prefect.variable.x' means nothing",
        ),
        (GOOD + "    concurrency_limit: {limit: -1}\n", "9: deployment 'one': "),
        (
            GOOD + "    schedules: [{slug: a, cron: '1 5 * * *', timezone: X/Y}]\n",
            "9: schedule 'a'",
        ),
        (GOOD.replace("one", "'50%'"), "5: name '50%' has %, which Prefect allows in no name"),
        (GOOD.replace("one", "a/b&c"), "5: name 'a/b&c' has / &, which Prefect allows"),
        (GOOD.replace("one", "' '"), "5: name ' ' is blank"),
        (GOOD.replace("default", "'<a>'"), "8: work_pool.name '<a>' has > <, which"),
        (
            GOOD.replace("default}", "default, work_queue_name: a/b}"),
            "8: work_pool.work_queue_name 'a/b' has /, which",
        ),
        (
            GOOD.replace("flows.py", "banned.py"),
            "6: entrypoint banned.py:load can't be imported: I",
        ),
        (GOOD + GOOD, "9: two deployments are named load/one"),
        (GOOD + "    push: [{x: {}}]\n", "9: push steps are not run by register"),
        (GOOD + "    description: '{{ prefect.variables.v }}'\n", "no server is known here"),
    ],
)
def test_a_deployment_that_can_not_run_is_told_with_its_line(
    write: Write, tmp_path: Path, entry: str, said: str
) -> None:
    (tmp_path / "bad.py").write_text("1 / 0\n")
    (tmp_path / "banned.py").write_text(FLOWS.replace("other-name", "a%b"))
    (tmp_path / "exits.py").write_text("import sys\nsys.exit(3)\n")
    found = told_here(write(HEAD + entry))
    assert any(said in line for line in found), found


def test_what_flows_print_is_no_answer(write: Write, tmp_path: Path) -> None:
    (tmp_path / "flows.py").write_text("print('{}')\n" + FLOWS)
    assert len(read(write(HEAD + GOOD))) == 1


def test_a_flow_that_a_pull_step_brings_is_unchecked(write: Write) -> None:
    text = GOOD.replace("flows.py", "elsewhere/flows.py")
    text += "    pull: [{prefect.deployments.steps.git_clone: {repository: 'https://h/r'}}]\n"
    (found,) = read_here(write(HEAD + text))
    assert not found.checked
    assert found.full_name == "load/one"


def test_build_steps_run_when_they_are_asked_for_and_are_skipped_for_a_plan(
    write: Write, tmp_path: Path
) -> None:
    step = "prefect.deployments.steps.run_shell_script"
    text = f"    build: [{{{step}: {{script: touch {tmp_path}/built}}}},"
    text += f" {{{step}: {{id: b, script: echo image-7}}}}]\n"
    text += "    description: '{{ b.stdout }}'\n"
    file = write(HEAD + GOOD + text)
    assert len(read(file, steps="skip")) == 1
    assert not (tmp_path / "built").exists()
    (found,) = read(file, steps="run")
    assert (tmp_path / "built").exists()
    assert found.body["description"] == "image-7"


def test_faults_of_all_kinds_are_told_at_once(write: Write, tmp_path: Path) -> None:
    text = (
        f"{HEAD}{GOOD}    nonsense: 1\n    schedules: [{{slug: a, cron: bad}}, {{slug: [b]}}]\n"
        f"{GOOD.replace('one', 'two').replace('flows.py', 'gone.py')}"
        f"{GOOD.replace('one', 'three')}    parameters: {{rose: 1}}\n"
    )
    found = told_here(write(text))
    for said in (
        "unknown key 'nonsense'",
        "schedule 'a': cron",
        "there is no file gone.py",
        "parameter rose: the flow has no such",
    ):
        assert any(said in line for line in found), (said, found)


def test_what_flows_print_and_start_on_import_is_no_fault_and_takes_no_time(
    write: Write, tmp_path: Path
) -> None:
    (tmp_path / "flows.py").write_text(
        "import os, subprocess, threading, time\n"
        "print('printed')\nos.system('echo by a child')\n"
        "threading.Thread(target=time.sleep, args=(60,)).start()\n"
        f"subprocess.Popen(['sleep', '61'])\nos.chdir('/')\n{FLOWS}"
    )
    text = HEAD + GOOD + GOOD.replace("one", "two").replace(":load", ":second")
    found = read(write_again(tmp_path, text), seconds=50)
    assert [each.full_name for each in found] == ["load/one", "other-name/two"]


def write_again(folder: Path, text: str) -> Path:
    (folder / "prefect.yaml").write_text(text)
    return folder / "prefect.yaml"


@pytest.mark.parametrize(
    ("last", "fault"),
    [
        ("", ""),
        ("os._exit(3)", "1: its flows ended the process that imports them: exit code 3"),
        (
            "os.write(2, b'Traceback\\nE: postgresql://u:' + b'hunter2' * 40 + b'@d'); os._exit(1)",
            "1: its flows ended the process that imports them: E: postgresql://***@d",
        ),
        ("os.kill(os.getpid(), 9)", "1: its flows ended the process that imports them"),
        ("os.system('sleep 70')", "1: its flows took more than 1 s to import"),
    ],
)
def test_nothing_that_flows_start_on_import_is_left(
    write: Write, tmp_path: Path, last: str, fault: str
) -> None:
    child = "sleep 62 & echo $! >> pids; sleep 63"
    (tmp_path / "flows.py").write_text(
        "import os, subprocess, time\n"
        f"run = subprocess.Popen(['sh', '-c', {child!r}], start_new_session=True, env={{}})\n"
        f"if os.fork() == 0:\n    os.setsid()\n    subprocess.Popen(['sh', '-c', {child!r}])\n"
        "    os._exit(0)\n"
        "while not os.path.exists('pids') or len(open('pids').readlines()) < 2: time.sleep(0.01)\n"
        f"{last}\n{FLOWS}"
    )
    file = write(HEAD + GOOD)

    def started() -> list[str]:
        pids = tmp_path / "pids"
        return pids.read_text().split() if pids.exists() else []

    def look() -> Sighting:
        return Sighting(len(started()) == 2, f"{len(started())} of 2")

    if fault:
        await_both = partial(wait_until, "what the flows start", look, seconds=50, every=0.05)
        seconds = 1 if "more than 1 s" in fault else 60
        assert told(file, first=await_both, seconds=seconds)[0].startswith(fault)
    else:
        assert len(read(file, seconds=50)) == 1
    assert len(started()) == 2
    assert not any(Path("/proc", pid).exists() for pid in started())
    left = [process.info["cmdline"] for process in psutil.process_iter(["cmdline"])]
    assert not any(str(file) in (words or ()) for words in left)


def test_two_folders_may_have_modules_of_the_same_name(tmp_path: Path) -> None:
    text = HEAD
    for number, name in enumerate("ab"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "helper.py").write_text(f"WORD_{name} = {number}\n")
        (tmp_path / name / "flow.py").write_text(
            f"from prefect import flow\nfrom helper import WORD_{name}\n@flow\ndef f{name}(): ...\n"
        )
        text += GOOD.replace("flows.py:load", f"{name}/flow.py:f{name}").replace("one", name)
    write_again(tmp_path, text)
    assert [each.full_name for each in read(tmp_path)] == ["fa/a", "fb/b"], "the folder's file"


def test_variables_are_looked_up_on_the_server(write: Write, prefect_server: PrefectServer) -> None:
    api = prefect_server.open()
    ensure_pool(api, "default")
    if api.get("/variables/name/team_words") is None:
        api.post("/variables/", {"name": "team_words", "value": "from the server"})
    server = (prefect_server.url, prefect_server.auth)
    text = HEAD + GOOD + "    description: '{{ prefect.variables.team_words }}'\n"
    (found,) = read(write(text), server=server)
    assert found.body["description"] == "from the server"
    other = told(write(text.replace("team_words", "nothing")), server=server)
    assert any("nothing does not exist on the server" in line for line in other)


def test_a_work_pool_that_the_server_does_not_have_is_told_before_anything_is_written(
    write: Write, prefect_server: PrefectServer
) -> None:
    api = prefect_server.open()
    ensure_pool(api, "default")
    server = (prefect_server.url, prefect_server.auth)
    lines = told(write(HEAD + GOOD.replace("{name: default}", "{name: defualt}")), server=server)
    assert lines == ["8: there is no work pool 'defualt' on the server"]
    (away,) = told(write(HEAD + GOOD), server=("http://127.0.0.1:9/api", None))
    assert away == "1: no answer from Prefect at http://127.0.0.1:9/api: ConnectError"


def test_two_files_with_the_same_deployment_are_told(write: Write, tmp_path: Path) -> None:
    file = write(HEAD + GOOD)
    twin = tmp_path / "twin.yaml"
    twin.write_text(file.read_text())
    told = r"twin.yaml:5: load/one stands in .*prefect.yaml:5, too"
    with (
        pytest.raises(ManyFaults, match=told),
        reading([file, twin], {"PATH": "/usr/bin:/bin"}) as found,
    ):
        found()


@pytest.mark.parametrize("more", ["", "    schedules: [{slug: a, cron: bad}]\n"])
def test_what_the_environment_fills_in_is_no_secret_by_name_or_form(
    write: Write, monkeypatch: pytest.MonkeyPatch, more: str
) -> None:
    monkeypatch.setenv("DB_PASSWORD", "canary")
    monkeypatch.setenv("PLACE", "postgres://me:canary@db/x")
    variables = "{env: {A: '{{ $DB_PASSWORD }}', B: '{{ $PLACE }}', C: '{{ $HOME }}'}}"
    text = GOOD.replace("default}", f"default, job_variables: {variables}}}") + more
    text += "    triggers: [{expect: [a], job_variables: {D: '{{ $DB_PASSWORD }}'}}]\n"
    found = told_here(write(HEAD + text))
    for said in (
        "job variable A would hold the value of $DB_PASSWORD in clear",
        "job variable B is an address with a password",
        "job variable D would hold the value of $DB_PASSWORD in clear",
    ):
        assert any(said in line for line in found), (said, found)
    assert not any("variable C" in line or "canary" in line for line in found)


def test_a_password_is_in_no_answer(write: Write) -> None:
    file = write(HEAD + GOOD)
    (fault,) = told(file, server=("http://127.0.0.1:9/api", SecretStr("admin:hidden")))
    assert "hidden" not in fault
