"""Clinical runs and clients of the API come through what the platform does to itself."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from functools import partial
from itertools import cycle
from threading import Event, Thread
from time import sleep
from typing import Any, Final

import httpx
import pytest

from clinical_ai import names
from clinical_ai.adapters.s3 import open_s3
from clinical_ai.errors import Transient
from clinical_ai.ports import ObjectStore, PrefectApi
from clinical_ai.ports_cluster import Ref
from clinical_ai.steps.cluster.rollout import await_rollout
from clinical_ai.steps.cluster.workers import pods_of
from clinical_ai.steps.runs import follow_run, get_deployment, get_run, run_to_end, start_run
from clinical_ai.waiting import Sighting, wait_until
from tests.support.cluster_site import GIVEN, ClusterSite
from tests.support.fakes import MemorySecrets
from tests.support.patient import begin, deploy_patient

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

_WORKER: Final = Ref("apps/v1", "Deployment", names.WORKER)
_SERVER: Final = Ref("apps/v1", "Deployment", names.SERVER)
_EVERY: Final = 0.1  # seconds between two requests


@pytest.fixture
def api(site: ClusterSite) -> Iterator[PrefectApi]:
    """With a team's deployment, whose runs take as long as they are told."""
    with site.reach() as api:
        made = deploy_patient(api)
        yield api
    with site.reach() as anew:  # by the server that is there now
        anew.delete(f"/deployments/{made}")


def workers(site: ClusterSite) -> set[str]:
    """Names of the clinical worker's pods."""
    return {pod["metadata"]["name"] for pod in pods_of(site.api, names.WORKER)}


def begun_while(api: PrefectApi, work: Callable[[], object]) -> list[str]:
    """Ids of short runs that were started until the work had come to its end."""
    runs: list[str] = []
    with ThreadPoolExecutor(1) as threads:
        working = threads.submit(work)
        while not working.done():
            with suppress(Transient):  # as the forwarded port is moved
                runs.append(start_run(api, "patient/patient", {"seconds": 1}))
            sleep(2)
    working.result()
    return runs


def test_the_connector_loads_what_is_in_the_storage_into_the_database(site: ClusterSite) -> None:
    """And once: a second run finds nothing new."""
    bucket, rows = f"inbound-{site.namespace}", 40
    store = storage(site)
    store.ensure_bucket(bucket)
    lines = ["sample_id,value", *(f"s{number},{number}" for number in range(rows))]
    store.put(bucket, "lab/2026-11.csv", "\n".join(lines).encode())
    options = '{"format": "csv", "table": "results", "key": "sample_id"}'
    site.sql(
        "insert into cai_defined_sources (name, kind, bucket_name, location, options)"
        f" values ('lab', 'files', '{bucket}', 'lab/', '{options}')"
    )
    site.sql(
        "insert into cai_defined_destinations (name, kind, location)"
        " values ('warehouse', 'postgresql', 'warehouse')"
    )
    asked = {"source": "lab", "destination": "warehouse"}
    try:
        with site.reach() as api:
            for _ in range(2):
                run = run_to_end(api, names.PIPELINE, asked, seconds=300)
                assert run.completed, run.message
                assert site.sql("select count(*) from warehouse.results") == str(rows)
    finally:
        site.sql("delete from cai_defined_sources; delete from cai_defined_destinations")


def storage(site: ClusterSite) -> ObjectStore:
    """The same as its pods reach, from here."""
    service = json.loads(
        site.kubectl("get", "service", "versitygw", "-n", "versitygw", "-o", "json")
    )
    endpoint = f"http://{service['spec']['clusterIP']}:9000"
    keys = {name: site.environment[variable] for variable, name in GIVEN.items()}
    settings = site.parsed.model_copy(update={"minio_endpoint": endpoint})
    return open_s3(settings, MemorySecrets(keys))


def test_runs_with_a_limit_that_begin_while_the_server_is_replaced_all_complete(
    site: ClusterSite, api: PrefectApi
) -> None:
    """Each server keeps leases of its own, and Prefect cancels a run whose slot it knows not.

    deploy/self replaces it, and bootstrap puts the file's settings back.
    """
    patient = get_deployment(api, "patient/patient")["id"]
    api.patch(f"/deployments/{patient}", {"concurrency_limit": 50})

    def deploy() -> None:
        told = site.deploy()
        assert told.run.completed, told.run.message

    servers = pods_of(site.api, names.SERVER)
    site.add_to("server", annotations={"example.org/e2e": "another"})
    try:
        runs = begun_while(api, deploy)
        servers += pods_of(site.api, names.SERVER)
        runs += begun_while(api, partial(site.up, "--replace-settings"))
        servers += pods_of(site.api, names.SERVER)
        assert len({pod["metadata"]["name"] for pod in servers}) == 3
        states = [follow_run(api, run, seconds=300).state for run in runs]
        assert states == ["COMPLETED"] * len(runs)
        assert len(runs) > 10
    finally:
        site.add_to("server")
        site.deploy()  # others do not expect that their port is forwarded anew


def test_a_worker_is_replaced_when_its_runs_have_ended_and_none_is_lost_or_doubled(
    site: ClusterSite, api: PrefectApi
) -> None:
    before = workers(site)
    runs = begin(api, 40, 40)
    site.add_to("worker", annotations={"example.org/e2e": "another"})
    try:
        told = site.deploy()
        assert told.run.completed, told.run.message
        assert before.isdisjoint(workers(site))
        for run_id in runs:
            row = api.get(f"/flow_runs/{run_id}")  # it ended before its worker did
            assert (row["state_type"], row["run_count"]) == ("COMPLETED", 1)
        assert not api.get(f"/work_pools/{names.POOL}")["is_paused"]
    finally:
        site.add_to("worker")  # whatever run of deploy/self comes next takes it back


def test_a_run_whose_worker_vanished_is_reported_as_crashed_within_90_seconds(
    site: ClusterSite, api: PrefectApi
) -> None:
    [run_id] = begin(api, 600)
    site.kubectl("delete", "pod", "-l", f"app={names.WORKER}", "--force", "--grace-period=0")
    begun = {"name": "silent", "state": {"type": "RUNNING"}}
    patient = api.get("/deployments/name/patient/patient")["id"]
    silent = api.post(f"/deployments/{patient}/create_flow_run", begun)["id"]
    laptop = {**begun, "flow_id": api.post("/flows/", {"name": "laptop"})["id"]}
    elsewhere = api.post("/flow_runs/", laptop)["id"]
    assert follow_run(api, run_id, seconds=90).state == "CRASHED"
    assert follow_run(api, silent, seconds=90).state == "CRASHED"  # it never had a heartbeat
    row = api.get(f"/flow_runs/{silent}")
    started, ended = (datetime.fromisoformat(row[name]) for name in ("start_time", "end_time"))
    assert ended - started < timedelta(seconds=90)
    assert get_run(api, elsewhere).state == "RUNNING"  # of no pool of ours
    api.post(f"/flow_runs/{elsewhere}/set_state", {"state": {"type": "CANCELLED"}, "force": True})
    await_rollout(site.api, _WORKER, seconds=120)


def test_a_new_server_fails_no_request_of_a_client_at_10_a_second(site: ClusterSite) -> None:
    service = site.api.get(Ref("v1", "Service", names.SERVER))
    place = f"http://{service['spec']['clusterIP']}:{names.API_PORT}/api"
    [pod] = pods_of(site.api, names.SERVER)
    old = Ref("v1", "Pod", pod["metadata"]["name"])

    def look() -> Sighting:
        return Sighting(site.api.find(old) is None, f"{old} is still there")

    with asking(place, site.password()) as answers:
        site.kubectl("rollout", "restart", f"deployment/{names.SERVER}")
        await_rollout(site.api, _SERVER, seconds=300)
        wait_until("the end of the old server", look, seconds=120)
    assert len(answers) > 100
    assert set(answers) == {"200"}


@contextmanager
def asking(place: str, password: str) -> Iterator[list[str]]:
    """What a client is answered that asks ten times a second while the block runs.

    Every second request goes over a new connection, the others over one that stays. By turns they
    ask for the server's health, and to count runs, which asks the database.
    """
    over, answers = Event(), list[str]()
    user, _, secret = password.partition(":")
    given: dict[str, Any] = {"timeout": 30, "auth": (user, secret)}

    def ask(*, anew: bool) -> None:
        questions = cycle((("GET", "/health"), ("POST", "/flow_runs/count")))
        client = httpx.Client(**given)
        while not over.wait(2 * _EVERY):
            if anew:
                client.close()
                client = httpx.Client(**given)
            method, path = next(questions)
            try:
                answers.append(str(client.request(method, f"{place}{path}").status_code))
            except httpx.HTTPError as error:
                answers.append(repr(error))
        client.close()

    threads = [Thread(target=ask, kwargs={"anew": anew}) for anew in (True, False)]
    for thread in threads:
        thread.start()
    try:
        yield answers
    finally:
        over.set()
        for thread in threads:
            thread.join()
