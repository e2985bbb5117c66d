"""Prefect for the flows of this folder: the session's server."""

from collections.abc import Iterator

import pytest
from prefect.events.worker import EventsWorker
from prefect.logging.handlers import APILogWorker
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

from tests.support.prefect_server import PrefectServer


@pytest.fixture(scope="package", autouse=True)
def prefect_api(prefect_server: PrefectServer) -> Iterator[None]:
    auth = prefect_server.auth.get_secret_value()
    with temporary_settings({PREFECT_API_URL: prefect_server.url, PREFECT_API_AUTH_STRING: auth}):
        yield
        for sending in (APILogWorker, EventsWorker):  # or they try again when it is gone
            sending.drain_all()
