"""Golden files: what a pure function makes, kept beside the tests for people to read and review.

`make golden` writes them anew; the diff is then the change of behaviour that a reviewer sees.
"""

import os
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).resolve().parent.parent / "golden"


def same_as_golden(name: str, text: str) -> None:
    """The text is that of tests/golden/`name`; with GOLDEN=write, from now on."""
    path = FOLDER / name
    if os.environ.get("GOLDEN") == "write":
        path.write_text(text)
    assert path.exists(), f"{path} is missing: run `make golden` and read the diff"
    assert text == path.read_text(), f"{path} differs: run `make golden` and read the diff"


def as_yaml(document: Any) -> str:
    """The document in the order in which it was made, one line a value."""
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=1000)
