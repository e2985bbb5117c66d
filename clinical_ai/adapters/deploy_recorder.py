"""A Prefect client that talks to nobody, and keeps what Prefect's deploy would send."""

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from functools import cache
from typing import Any, Final
from unittest.mock import patch

import httpx
from prefect._internal.versioning import get_inferred_version_info
from prefect.cli.deploy import _core
from prefect.client import utilities
from prefect.client.base import ServerType
from prefect.client.orchestration import PrefectClient
from prefect.deployments import runner
from prefect.utilities import callables
from prefect.utilities.asyncutils import run_coro_as_sync
from pydantic import SecretStr
from rich.console import Console

from clinical_ai import names
from clinical_ai.adapters.deployment_flows import Flows
from clinical_ai.adapters.prefect_rest import PrefectRest
from clinical_ai.deployment_plan import SELF

_LOOKED_UP: Final = ("/variables/", "/block_types/slug/")


class Recorder(PrefectClient):
    """Answers as a server on which nothing is registered, and keeps what it is sent."""

    def __init__(self) -> None:
        self.server_type = ServerType.SERVER  # agreements (`sla`) are for Prefect Cloud alone
        self.forget()

    def forget(self) -> None:
        """Before a deployment: what the earlier one sent is not its own."""
        # Name of the flow, body of the deployment and automations, since then.
        self.sent: dict[str, Any] = {"flow_name": "", "body": {}, "triggers": []}

    async def __aenter__(self) -> "Recorder":
        """There is nothing to open."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """There is nothing to close."""

    async def request(self, method: Any, path: Any, *_: Any, **given: Any) -> httpx.Response:
        """What the server would answer."""
        status, answer = self._answer(method, path, given.get("json"), given.get("path_params"))
        return _response(method, status, json.dumps(answer)).raise_for_status()

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


@cache
def _response(method: str, status: int, body: str) -> httpx.Response:
    return httpx.Response(status, text=body, request=httpx.Request(method, "http://-/"))


@cache
def _server() -> PrefectRest | None:
    """The server that is meant; None where a file is read without one."""
    api_url, auth = os.environ.get(names.API_VARIABLE), os.environ.get(names.AUTH_VARIABLE)
    return PrefectRest(api_url, SecretStr(auth) if auth else None) if api_url else None


@cache
def find_pools() -> frozenset[str] | None:
    """Names of the server's work pools; None where a file is read without a server."""
    server = _server()
    if server is None:
        return None
    return frozenset(row["name"] for row in server.pages("/work_pools/filter"))


@cache
def _look_up(path: str) -> Any:
    """A variable or block document of the server that is meant; ValueError when there is none."""
    server = _server()
    if server is None:
        raise ValueError(f"{path} is needed, and no server is known here")
    found = server.get(path)
    if found is None:
        raise ValueError(f"{path.rpartition('/')[2]} does not exist on the server ({path})")
    return found


class Unread(Console):
    """A terminal that nobody reads; Prefect draws half a page on it for each deployment."""

    def print(self, *_: Any, **_options: Any) -> None:
        """Nothing, and without laying it out."""


@contextmanager
def recording(flows: Flows) -> Iterator[Recorder]:
    """While this lasts, Prefect's deploy reaches the recorder and flows that are loaded.

    What it finds out anew for each deployment is found out once: the schema of a flow and the
    version of the code, half a second together for forty deployments.
    """
    recorder = Recorder()
    schema = cache(callables.parameter_schema)
    with ExitStack() as patched:
        for where, name, what in (
            (_core, "load_flow_from_entrypoint", flows.get),
            (runner, "get_client", lambda **_: recorder),
            (utilities, "get_or_create_client", lambda _given: (recorder, True)),
            (_core, "parameter_schema", schema),
            (runner, "parameter_schema", schema),
            (runner, "get_inferred_version_info", lambda kind: kind),
            (runner, "run_coro_as_sync", _Versions()),
        ):
            patched.enter_context(patch.object(where, name, what))
        yield recorder


class _Versions:
    """Kind of version to what Prefect infers; a copy, since Prefect writes into it."""

    def __init__(self) -> None:
        self._infer = cache(lambda kind: run_coro_as_sync(get_inferred_version_info(kind)))

    def __call__(self, kind: Any) -> Any:
        return deepcopy(self._infer(kind))
