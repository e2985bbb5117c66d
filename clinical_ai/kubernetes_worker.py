"""Prefect's Kubernetes worker, for clusters whose certificate authority is an older one.

From Python 3.13 on, certificates have to keep rules that many a cluster's own authority does not
(`CA cert does not include key usage extension`); neither the worker's client nor its observer has a
setting for that. Chain, name and dates are verified as ever. Run as
`python -m clinical_ai.kubernetes_worker worker start ...`: it becomes Prefect's command line.
"""

import runpy
import ssl
import sys
from typing import Any


def accept_older_authorities() -> None:
    """Contexts that this process makes from now on don't ask for the newer rules."""
    made = ssl.create_default_context

    def lenient(*args: Any, **options: Any) -> ssl.SSLContext:
        context = made(*args, **options)
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        return context

    ssl.create_default_context = lenient


if __name__ == "__main__":
    accept_older_authorities()
    sys.argv[0] = "prefect"
    runpy.run_module("prefect", run_name="__main__")
