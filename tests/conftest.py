"""Fixtures that every test may ask for; what they stand on is in tests/support."""

import gc

import pytest
from hypothesis import settings

# How long a case takes is for benchmarks: a busy machine is no fault of the code.
settings.register_profile("without a deadline", deadline=None)
settings.load_profile("without a deadline")

pytest_plugins = [
    "tests.support.clock",
    "tests.support.cluster_site",
    "tests.support.deploying",
    "tests.support.deployment_files",
    "tests.support.fake_docker",
    "tests.support.folders",
    "tests.support.installed",
    "tests.support.platform",
    "tests.support.postgres",
    "tests.support.prefect_server",
    "tests.support.production_site",
    "tests.support.s3",
    "tests.support.switch",
    "tests.support.vault_server",
    "tests.support.world",
]


@pytest.hookimpl(tryfirst=True)  # before -m is looked at
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks what asks for Prefect's server itself; `api` marks what runs on it, too."""
    for item in items:
        assert isinstance(item, pytest.Function)
        if "prefect_server" in item.fixturenames:
            item.add_marker("served")


def pytest_collection_finish() -> None:
    """Garbage is looked for less often, and not in what is there to stay: all that is imported."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)
