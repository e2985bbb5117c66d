"""Fixtures that every test may ask for; what they stand on is in tests/support."""

pytest_plugins = [
    "tests.support.folders",
    "tests.support.platform",
    "tests.support.postgres",
    "tests.support.s3",
]
