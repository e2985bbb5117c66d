"""Another Python of a test's, with its coverage counted when that of the session is."""

import os
import sys


def python(*words: str) -> list[str]:
    """A command line that runs `words` by the interpreter of the tests, in the checkout."""
    measured = ["-m", "coverage", "run"] if "COVERAGE_RUN" in os.environ else []
    return [sys.executable, *measured, *words]
