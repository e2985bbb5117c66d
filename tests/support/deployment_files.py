"""A team's prefect.yaml beside its flows, and the faults that reading it tells."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from clinical_ai.adapters import deployment_file
from clinical_ai.adapters.deployment_reader import reading
from clinical_ai.deployment_plan import Wanted, from_rendered
from clinical_ai.errors import ManyFaults

FLOWS: Final = """\
from prefect import flow

@flow
def load(source: str, rows: int = 10):
    \"\"\"Loads rows.\"\"\"

@flow(name="other-name", version="3", description="described")
def second():
    pass

not_a_flow = 1
"""
HEAD: Final = """\
name: team
pull:
  - prefect.deployments.steps.set_working_directory: {directory: "."}
deployments:
"""
GOOD: Final = """\
  - name: one
    entrypoint: flows.py:load
    tags: ["owner:team"]
    work_pool: {name: default}
"""
Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    monkeypatch.chdir(tmp_path)  # where `read_here` and `told_here` go
    (tmp_path / "flows.py").write_text(FLOWS)

    def put(text: str) -> Path:
        file = tmp_path / "prefect.yaml"
        file.write_text(text)
        return file

    return put


def read(file: Path, first: Callable[[], object] = lambda: None, **more: Any) -> list[Wanted]:
    """`first` is done once the process that reads has begun; its time is counted from then."""
    environ = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent"}
    with reading([file], environ, **more) as found:
        first()
        return found()


def read_here(file: Path) -> list[Wanted]:
    """The same, in this process: a tenth of the time."""
    found = _answer_here(file)
    assert found["faults"] == []
    return [from_rendered(raw, str(file)) for raw in found["deployments"]]


def told(file: Path, **more: Any) -> list[str]:
    """Faults as `line: problem`, by a process of its own."""
    with pytest.raises(ManyFaults) as met:
        read(file, **more)
    assert all(fault.remedy for fault in met.value.faults)
    return [fault.problem.removeprefix(f"{file}:") for fault in met.value.faults]


def told_here(file: Path, *, remedies: bool = False) -> list[str]:
    """The same, in this process. `remedies`: with what to do behind each."""
    faults = _answer_here(file)["faults"]
    assert all(fault["remedy"] for fault in faults)
    return [
        f"{fault['line']}: {fault['problem']}" + (f" ({fault['remedy']})" if remedies else "")
        for fault in faults
    ]


def _answer_here(file: Path) -> dict[str, Any]:
    """As it comes from the process that reads it elsewhere."""
    answer: dict[str, Any] = json.loads(json.dumps(deployment_file.read(file)))
    return answer
