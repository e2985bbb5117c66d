"""A Prefect client that talks to nobody, and keeps what Prefect's deploy would send."""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import cache
from typing import Any, Final
from unittest.mock import patch
from zoneinfo import available_timezones

import httpx
from prefect.cli.deploy import _core
from prefect.client import utilities
from prefect.client.orchestration import PrefectClient
from prefect.deployments import runner
from prefect.types import _datetime as times
from pydantic import SecretStr

from clinical_ai import names
from clinical_ai.adapters.deployment_flows import Flows
from clinical_ai.adapters.prefect_rest import PrefectRest
from clinical_ai.deployment_plan import SELF

_LOOKED_UP: Final = ("/variables/", "/block_types/slug/")


class Recorder(PrefectClient):
    """Answers as a server on which nothing is registered; `sent` is what it was given."""

    def __init__(self) -> None:
        self.sent: dict[str, Any] = {"flow_name": "", "body": {}, "triggers": []}

    async def __aenter__(self) -> "Recorder":
        """There is nothing to open."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """There is nothing to close."""

    async def request(self, method: Any, path: Any, *_: Any, **given: Any) -> httpx.Response:
        """What the server would answer."""
        status, answer = self._answer(method, path, given.get("json"), given.get("path_params"))
        response = httpx.Response(status, json=answer, request=httpx.Request(method, "http://-/"))
        response.raise_for_status()
        return response

    def _answer(self, method: str, path: str, body: Any, places: Any) -> tuple[int, Any]:
        match method, path:
            case "GET", "/work_pools/{name}":
                return 200, {"id": SELF, "type": "process", "base_job_template": {}, **places}
            case "POST", "/flows/":
                self.sent["flow_name"] = body["name"]
                return 201, {"id": SELF}
            case "POST", "/deployments/":
                self.sent["body"] = {key: body[key] for key in body if key != "flow_id"}
                return 201, {"id": SELF}
            case "POST", "/automations/":
                self.sent["triggers"].append(body)
                return 201, {"id": SELF}
            case "DELETE", _:
                return 204, None
            case "POST", _:
                return 200, []
            case "GET", _ if path.startswith(_LOOKED_UP):
                return 200, _look_up(path.format(**(places or {})))
            case _:
                return 404, {"detail": "nothing is registered yet"}


def _look_up(path: str) -> Any:
    """A variable or block document of the server that is meant; ValueError when there is none."""
    api_url, auth = os.environ.get(names.API_VARIABLE), os.environ.get(names.AUTH_VARIABLE)
    if api_url is None:
        raise ValueError(f"{path} is needed, and no server is known here")
    found = PrefectRest(api_url, SecretStr(auth) if auth else None).get(path)
    if found is None:
        raise ValueError(f"{path.rpartition('/')[2]} does not exist on the server ({path})")
    return found


def known_time_zones() -> AbstractContextManager[Any]:
    """Prefect lists all time zones of the system anew for each schedule it reads; here, once."""
    return patch.object(times, "available_timezones", cache(available_timezones))


@contextmanager
def recording(flows: Flows) -> Iterator[Recorder]:
    """While this lasts, Prefect's deploy reaches the recorder and flows that are loaded."""
    recorder = Recorder()
    with ExitStack() as patched:
        for where, name, what in (
            (_core, "load_flow_from_entrypoint", flows.get),
            (runner, "get_client", lambda **_: recorder),
            (utilities, "get_or_create_client", lambda _given: (recorder, True)),
        ):
            patched.enter_context(patch.object(where, name, what))
        yield recorder
