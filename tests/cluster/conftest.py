"""One platform serves all tests of this folder that ask for it, and one of production the rest.

Each platform's tests run one after the other in a process of their own, both beside what needs
none. E2E_SITE names a namespace to leave a platform in, and to find it in again, while tests are
written.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp
from typing import Final

import pytest

from clinical_ai.ports_cluster import Ref
from tests.support.cluster_site import ClusterSite

_HERE: Final = Path(__file__).parent


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The two platforms, and each other file, are groups that `--dist loadgroup` keeps together."""
    for item in items:
        if not item.path.is_relative_to(_HERE):
            continue
        asked = getattr(item, "fixturenames", ())
        shared = "production" if item.get_closest_marker("parts") else "platform"
        name = shared if {"site", "production"} & set(asked) else item.path.stem
        item.add_marker(pytest.mark.xdist_group(name))


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
