"""What a person sees: one line a step, errors as sentences, colour only on a terminal."""

import errno
import logging
import os
import pty
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from bootstrap.__main__ import guarded, main
from bootstrap.terminal import Terminal, field_by_field
from clinical_ai.change import Change, Did
from clinical_ai.errors import ManyFaults, NeedsOperator, Transient
from clinical_ai.object_diff import FieldChange
from clinical_ai.steps.cluster.ensure import ObjectChange

ROOT = Path(__file__).resolve().parent.parent.parent
MADE = Change("pool default", Did.CREATED)


@pytest.fixture(autouse=True)
def waiting_log() -> Iterator[logging.Logger]:
    """`guarded` is the top of a process and takes the log of waits over; here it is given back."""
    log = logging.getLogger("clinical_ai.waiting")
    before = (log.handlers[:], log.level, log.propagate)
    yield log
    log.handlers[:], log.propagate = before[0], before[2]
    log.setLevel(before[1])


def raising(error: BaseException) -> Callable[[], int]:
    def work() -> int:
        raise error

    return work


def told(capsys: pytest.CaptureFixture[str], error: BaseException) -> tuple[int, str]:
    code = guarded(Terminal(), raising(error))
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err
    return code, err


def test_a_step_that_changed_nothing_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    changes = Terminal().step("pools", Change("a", Did.UNCHANGED), [Change("b", Did.UNCHANGED)])
    assert [change.what for change in changes] == ["a", "b"]
    line = capsys.readouterr().out
    assert line.split() == ["0.0", "s", "pools", "unchanged"]
    assert line.count("\n") == 1


def test_a_step_tells_what_it_wrote_and_leaves_out_what_it_found(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Terminal().step("pools", MADE, [Change("b", Did.UNCHANGED), Change("c", Did.UPDATED, "why")])
    assert capsys.readouterr().out.endswith("pool default: created; c: updated (why)\n")


@dataclass(frozen=True)
class Contested(Change):
    """Somebody else has set a field of it."""

    contested: bool = True


def test_a_step_tells_each_thing_that_it_left_to_others_on_a_line_of_its_own(
    capsys: pytest.CaptureFixture[str],
) -> None:
    field = "left alone: .rules belongs to ann"
    mine = Contested("Role a", Did.UNCHANGED, field)
    half = Contested("Role b", Did.UPDATED, field)
    above = Change("Namespace c", Did.DRIFTED, "ask whoever may")
    Terminal().step("rights", [MADE] * 4, mine, half, above)
    first, *lines = capsys.readouterr().out.splitlines()
    assert first.endswith("; and 1 more")
    for change, line in zip((mine, half, above), lines, strict=True):
        assert str(change) in line
        assert ("delete the object and run this again" in line) is change.contested


def test_a_step_that_only_left_things_alone_does_not_say_that_all_is_well(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Terminal().step("rights", Contested("Role a", Did.UNCHANGED), Change("b", Did.UNCHANGED))
    [line] = capsys.readouterr().out.splitlines()
    assert "Role a: unchanged" in line


def test_a_difference_is_told_field_by_field() -> None:
    fields = tuple(FieldChange(f".data.a{number}", "1", "2") for number in range(9))
    change = ObjectChange("ConfigMap web", Did.UPDATED, "a line", fields=fields)
    lines = field_by_field(change).splitlines()
    assert lines == ["ConfigMap web: updated", *(f"    {each}" for each in fields)]
    assert field_by_field(MADE) == str(MADE)
    contested = field_by_field(Contested("Role a", Did.UNCHANGED, "why"))
    assert "delete the object and run this again" in contested.splitlines()[-1]


def test_exactly_three_changes_fit_in_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    Terminal().step("pools", [MADE] * 3)
    assert "more" not in capsys.readouterr().out
    Terminal().step("pools", [MADE] * 4)
    assert capsys.readouterr().out.endswith("; and 1 more\n")


def test_only_a_terminal_is_coloured(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w") as screen:
        monkeypatch.setattr(sys, "stdout", screen)
        monkeypatch.setattr(sys, "stderr", screen)
        terminal = Terminal()
        terminal.step("pools", MADE)
        terminal.step("pools")
        terminal.note("meanwhile")
        terminal.fault("wrong")
        screen.flush()
        text = ""
        while text.count("\n") < 4:  # a terminal may give it in parts
            text += os.read(ours, 10_000).decode()
    seen = text.splitlines()
    os.close(ours)
    assert [line[-4:] for line in seen] == ["\033[0m"] * 4
    for line, painted in zip(
        seen,
        ["\033[32mpool", "\033[90munchanged", "\033[90mmeanwhile", "\033[31mwrong"],
        strict=True,
    ):
        assert painted in line


def test_one_fault_and_many_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    one, two = NeedsOperator("a", "b"), NeedsOperator("c", "d")
    assert told(capsys, ManyFaults([one])) == (1, "One thing stands in the way:\n- a. b.\n")
    code, text = told(capsys, ManyFaults([one, two]))
    assert (code, text) == (1, "2 things stand in the way:\n- a. b.\n- c. d.\n")


def test_every_error_of_ours_is_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert told(capsys, NeedsOperator("it is so", "do that")) == (1, "it is so. do that.\n")
    assert told(capsys, Transient("it is away")) == (1, "it is away\n")


def test_a_full_disk_met_anywhere_is_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    code, text = told(capsys, OSError(errno.ENOSPC, "No space left on device", "/srv/x"))
    assert code == 1
    assert text == (
        "/srv/x can't be used: No space left on device. "
        "free some disk space there and run it again.\n"
    )
    assert "a file of the platform can't be used" in told(capsys, OSError(errno.EIO, "bad"))[1]


def test_an_interruption_has_the_shells_code(capsys: pytest.CaptureFixture[str]) -> None:
    code, text = told(capsys, KeyboardInterrupt())
    assert code == 130
    assert "run it again" in text


def test_a_mistake_of_ours_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        guarded(Terminal(), raising(ZeroDivisionError()))


def test_good_work_gives_its_own_code_and_waits_are_notes(
    waiting_log: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    def work() -> int:
        waiting_log.info("waiting for %s", "the server\nto answer")
        waiting_log.debug("not this")
        return 7

    assert guarded(Terminal(), work) == 7
    out, err = capsys.readouterr()
    assert out == ""
    assert [line.strip() for line in err.splitlines()] == ["waiting for the server", "to answer"]


def test_main_reports_a_wrong_request_by_its_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--port", "0"]) == 1
    assert capsys.readouterr().err == "port 0 does not exist. give one from 1 to 65535.\n"


def test_check_and_diff_of_an_empty_folder_write_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with TemporaryDirectory(prefix="cai-", dir="/tmp") as parent, socket.socket() as probe:
        Path(parent).chmod(0o755)
        probe.bind(("127.0.0.1", 0))
        words = ["--state", f"{parent}/s", "--port", str(probe.getsockname()[1])]
        probe.close()
        assert main([*words, "--check"]) == 0
        out = capsys.readouterr().out
        assert f"state folder {parent}/s" in out
        assert "first installation" in out
        assert main([*words, "--diff"]) == 0
        assert "nothing is installed, `make up` would install all" in capsys.readouterr().out
        assert list(Path(parent).iterdir()) == []


def test_a_reader_that_has_enough_is_no_fault() -> None:
    code = (
        "import sys; from bootstrap.__main__ import guarded; from bootstrap.terminal import "
        "Terminal; t = Terminal(); sys.stdin.readline()\n"
        "sys.exit(guarded(t, lambda: [t.plain('x' * 100) for _ in range(100000)] and 0))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as writer:
        assert writer.stdout
        assert writer.stdin
        writer.stdout.close()
        writer.stdin.write("\n")
        writer.stdin.close()
        assert writer.stderr
        assert writer.stderr.read() == ""
    assert writer.returncode == 1
