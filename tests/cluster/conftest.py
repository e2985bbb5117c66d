"""One platform serves all tests of this folder that ask for it.

Another, of production, serves those marked `parts`; `make e2e` runs both beside each other.
E2E_SITE names a namespace to leave them in, and to find them in again, while tests are written.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp

import pytest

from clinical_ai.ports_cluster import Ref
from tests.support.cluster_site import ClusterSite


@pytest.fixture(scope="session")
def site() -> Iterator[ClusterSite]:
    """A platform that bootstrap has installed from nothing; tests leave it as they found it."""
    kept = os.environ.get("E2E_SITE")
    folder = Path(mkdtemp(prefix="cai-e2e-", dir="/tmp"))
    made = ClusterSite(folder, *([kept] if kept else []))
    try:
        if made.api.find(Ref("v1", "Namespace", made.data)) is None:
            made.lay_ground()
            made.first = made.up()
        made.quiet_schedules()
        yield made
    finally:
        if not kept:
            made.remove()
        shutil.rmtree(folder)
