"""Reads prefect.yaml files in a process of their own, which imports their flows."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any, Final

from pydantic import SecretStr

from clinical_ai import names
from clinical_ai.deployment_plan import Wanted, from_rendered
from clinical_ai.errors import ManyFaults, NeedsOperator
from clinical_ai.secret_forms import without_secrets

_SECONDS: Final = 300
_SECONDS_TO_END: Final = 10


@contextmanager
def reading(
    files: Sequence[Path],
    environ: Mapping[str, str],
    *,
    server: tuple[str, SecretStr | None] | None = None,
    steps: str = "refuse",
    seconds: float = _SECONDS,
) -> Iterator[Callable[[], list[Wanted]]]:
    """All files are read at once, beside whatever the block does; gives what waits for them.

    A folder stands for the prefect.yaml in it.

    That returns the deployments of all files, in their order; ManyFaults with file and line of
    each fault. `server`: address and password of Prefect, for variables and blocks that a file
    refers to. `environ`: what `{{ $NAME }}` in a file means. `steps`: what becomes of build and
    push steps, `refuse`, `skip` or `run`; run, they come one file after the other. `seconds`: for
    the flows of one file.
    """
    environment = _environment(environ, server)
    files = [file / "prefect.yaml" if file.is_dir() else file for file in files]
    with ExitStack() as ends:

        def start(file: Path) -> "_Child":
            child = _start(file, environment, steps)
            ends.callback(_end, child)
            return child

        children = map(start, files) if steps == "run" else [start(file) for file in files]
        yield lambda: _collect(zip(files, children, strict=True), seconds)


def _collect(children: Iterable[tuple[Path, "_Child"]], seconds: float) -> list[Wanted]:
    wanted: list[Wanted] = []
    faults: list[NeedsOperator] = []
    for file, child in children:
        found = _answer(child, seconds)
        faults += [_fault(file, fault) for fault in found["faults"]]
        wanted += [from_rendered(raw, str(file)) for raw in found["deployments"]]
    faults += _twice(wanted)
    if faults:
        raise ManyFaults(faults)
    return wanted


def _start(file: Path, environment: dict[str, str], steps: str) -> "_Child":
    words = [sys.executable, "-m", "clinical_ai.adapters.deployment_file", str(file)]
    # A file: a pipe would be open as long as what a flow has started on import.
    said = TemporaryFile()  # noqa: SIM115 - closed by `_end`
    process = subprocess.Popen(
        [*words, "--steps", steps],
        cwd=Path(__file__).resolve().parent.parent.parent,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=None if steps == "run" else said,
        text=True,
        start_new_session=True,  # a Ctrl-C is ours: it is told by SIGTERM, and ends all below it
    )
    return _Child(process, said)


def _answer(child: "_Child", seconds: float) -> dict[str, Any]:
    try:
        out, _ = child.process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        return _failed(f"its flows took more than {seconds:g} s to import", "see what they do then")
    finally:
        _end(child)
    try:
        answer: dict[str, Any] = json.loads(out)
    except ValueError:
        why = f"exit code {child.process.returncode}"
        if "Traceback" in child.words:
            why = f"{without_secrets(child.words.strip().splitlines()[-1]):.200}"
        return _failed(f"its flows ended the process that imports them: {why}", "mend them")
    return answer


@dataclass
class _Child:
    process: "subprocess.Popen[str]"
    said: IO[bytes]
    words: str = ""


def _end(child: "_Child") -> None:
    """The process and what it started are gone; what it said is in `words`."""
    if child.said.closed:
        return
    child.process.terminate()
    try:
        child.process.wait(_SECONDS_TO_END)
    except subprocess.TimeoutExpired:
        child.process.kill()
        child.process.wait()
    child.said.seek(0)
    child.words = child.said.read().decode(errors="replace")
    child.said.close()


def _environment(
    environ: Mapping[str, str], server: tuple[str, SecretStr | None] | None
) -> dict[str, str]:
    """The caller's, but for settings of a Prefect of theirs; nothing is to be reached there."""
    kept = {name: value for name, value in environ.items() if not name.startswith("PREFECT_")}
    kept |= {"PREFECT_API_URL": "http://127.0.0.1:9/api", "DO_NOT_TRACK": "1"}
    kept["PYTHONTZPATH"] = ""  # as runs have it, see manifests.processes
    if server is not None:
        url, auth = server
        kept[names.API_VARIABLE] = url
        if auth is not None:
            kept[names.AUTH_VARIABLE] = auth.get_secret_value()
    return kept


def _failed(problem: str, remedy: str) -> dict[str, Any]:
    return {"deployments": [], "faults": [{"line": 1, "problem": problem, "remedy": remedy}]}


def _fault(file: Path, fault: Mapping[str, Any]) -> NeedsOperator:
    return NeedsOperator(f"{file}:{fault['line']}: {fault['problem']}", fault["remedy"])


def _twice(wanted: Sequence[Wanted]) -> list[NeedsOperator]:
    """Of one file the reader tells it itself."""
    first: dict[str, str] = {}
    faults = []
    for each in wanted:
        if each.full_name in first:
            told = f"{each.place}: {each.full_name} stands in {first[each.full_name]}, too"
            faults.append(NeedsOperator(told, "rename one"))
        first.setdefault(each.full_name, each.place)
    return faults
