"""Fixtures that every test may ask for; what they stand on is in tests/support."""

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
    "tests.support.world",
]
