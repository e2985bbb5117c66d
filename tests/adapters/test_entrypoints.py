"""Whether a deployment's code is there, without importing it."""

from pathlib import Path
from typing import Any

import pytest

from clinical_ai.adapters.entrypoints import wrong_code

CODE = (
    "from a import b\nasync def one(): ...\ndef two(): ...\nclass C:\n    def m(self): ...\nx = 1\n"
)


@pytest.fixture
def code(tmp_path: Path) -> Path:
    (tmp_path / "flows").mkdir()
    (tmp_path / "flows" / "f.py").write_text(CODE)
    (tmp_path / "flows" / "broken.py").write_text("def (")
    return tmp_path


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        *(({"entrypoint": f"flows/f.py:{n}"}, "") for n in ("one", "two", "C.m", "x", "b")),
        ({"entrypoint": "f.py:one", "path": "flows"}, ""),
        (
            {
                "entrypoint": "f.py:one",
                "pull_steps": [{"a.set_working_directory": {"directory": "flows"}}],
            },
            "",
        ),
        ({"entrypoint": "team.module.flow"}, ""),
        ({"entrypoint": "gone.py:x", "pull_steps": [{"a.git_clone": {}}]}, ""),
        ({"entrypoint": None}, "it names no entrypoint"),
        ({"entrypoint": "flows/gone.py:one"}, "there is no "),
        ({"entrypoint": "flows/f.py:three"}, "f.py has no three"),
        ({"entrypoint": "flows/broken.py:x"}, "broken.py has no x"),
        ({"entrypoint": "/srv/releases/0123/code/f.py:one"}, "its release 0123 is gone"),
    ],
)
def test_a_deployments_code_is_there_or_the_reason_is_told(
    code: Path, row: dict[str, Any], reason: str
) -> None:
    told = wrong_code(row, code)
    assert reason in told
    assert bool(told) == bool(reason)
