"""A platform in namespaces of its own on a real cluster, a database and a storage beside it."""

import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from tempfile import gettempdir
from typing import Any, Final
from uuid import uuid4

from bootstrap.cluster.image import source_of
from clinical_ai import names
from clinical_ai.adapters.change_lock import change_lock
from clinical_ai.adapters.docker_images import DockerImages
from clinical_ai.adapters.kubernetes_api import KubernetesApi, open_kubernetes
from clinical_ai.adapters.source_files import content_of
from clinical_ai.manifests.release import IMAGE
from clinical_ai.ports import PrefectApi
from clinical_ai.ports_cluster import Object, Ref
from clinical_ai.settings import Settings, parse
from clinical_ai.steps.cluster.lease import find_holder
from clinical_ai.steps.cluster.records import Records
from clinical_ai.steps.image import Source, ensure_image, look_for_image
from clinical_ai.steps.runs import (
    Run,
    as_run,
    follow_run,
    get_deployment,
    read_table,
    start_run,
)
from clinical_ai.waiting import Sighting, wait_until
from clinical_ai.wiring_cluster import reach_api
from tests.support.real_cluster import kubeconfig

CHECKOUT: Final = Path(__file__).resolve().parent.parent.parent
REGISTRY: Final = os.environ.get("E2E_REGISTRY", "localhost:5000")
_PASSWORD: Final = "not-secret-of-a-test"
_SECONDS: Final = 900
_STORAGE: Final = """\
worker-query-seconds = 2
minio-endpoint = "http://versitygw.versitygw.svc.cluster.local:9000"
minio-access-key = "env:E2E_MINIO_ACCESS_KEY"
minio-secret-key = "env:E2E_MINIO_SECRET_KEY"
"""
_KUBERNETES: Final = """
[kubernetes]
namespace = "{namespace}"
registry = "{registry}/{content}"
database-url = "env:E2E_DATABASE_URL"
prefect-database-url = "env:E2E_PREFECT_DATABASE_URL"

[kubernetes.build]
base-image = "{registry}/python:3.13"
network = "host"

[[kubernetes.egress.database]]
namespace = "{data}"
ports = [5432]

"""
# Of the operator's shell, and where bootstrap keeps them.
GIVEN: Final = {
    "E2E_MINIO_ACCESS_KEY": names.MINIO_ACCESS_KEY,
    "E2E_MINIO_SECRET_KEY": names.MINIO_SECRET_KEY,
    "E2E_PREFECT_DATABASE_URL": names.PREFECT_DATABASE_URL,
    "E2E_DATABASE_URL": names.DATABASE_URL,
}
# A test's node is small, and others use it, too.
_LITTLE: Final = {"resources": {"requests": {"cpu": "20m", "memory": "64Mi"}}}
_COMPONENTS: Final = ("server", "worker", "platform-worker", "jobs", "migration")
_REQUESTS: Final = """\
[kubernetes.components.{component}.resources.requests]
cpu = "20m"
memory = "64Mi"
"""
# They change without anybody's doing.
_RESTLESS: Final = ("events", "events.events.k8s.io", "pods.metrics.k8s.io")
_SCHEDULED: Final = (names.DEPLOY_SELF, names.REGISTER, names.VERIFY)


@dataclass
class ClusterSite:
    """One platform's namespace; `data`: that of its database. `first`: what its bootstrap said."""

    folder: Path
    namespace: str = field(default_factory=lambda: f"e2e-{uuid4().hex[:6]}")
    first: str = ""

    @property
    def data(self) -> str:
        return f"{self.namespace}-data"

    @cached_property
    def api(self) -> KubernetesApi:
        return open_kubernetes(os.environ, kubeconfig=kubeconfig(), namespace=self.namespace)

    @property
    def settings(self) -> Path:
        path = self.folder / "settings.toml"
        path.write_text(self.text)
        return path

    @property
    def text(self) -> str:
        """What the settings file holds."""
        cluster = _KUBERNETES.format(
            namespace=self.namespace,
            registry=REGISTRY,
            # A version's image is never replaced: each state of the code has its own place.
            content=f"e2e-{content_of(CHECKOUT, IMAGE, '')[:8]}",
            data=self.data,
        )
        requests = "".join(_REQUESTS.format(component=each) for each in _COMPONENTS)
        return self.storage + cluster + requests

    @property
    def storage(self) -> str:
        """What it says of the storage."""
        return _STORAGE

    @property
    def environment(self) -> dict[str, str]:
        """Of an operator's shell."""
        address = f"postgres:{_PASSWORD}@postgres.{self.data}.svc.cluster.local:5432/cai_data"
        return {
            **os.environ,
            "PYTHONPATH": str(CHECKOUT),
            "PYTHONUNBUFFERED": "1",
            "E2E_MINIO_ACCESS_KEY": "minioadmin",
            "E2E_MINIO_SECRET_KEY": "minioadmin",
            "E2E_DATABASE_URL": f"postgresql://{address}",
            "E2E_PREFECT_DATABASE_URL": f"postgresql+asyncpg://{address}",
        }

    def bootstrap(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """As an operator starts it."""
        return self._run(*self._bootstrap(*words))

    def start_bootstrap(
        self, *words: str, through: Sequence[str] = ("bootstrap",)
    ) -> "subprocess.Popen[str]":
        """The same, left running; all that it says in one stream, in a session of its own.

        `through`: a module that takes the words of `bootstrap` after its own.
        """
        return subprocess.Popen(
            self._bootstrap(*words, through=through),
            cwd=CHECKOUT,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def up(self, *words: str) -> str:
        """`bootstrap` to a good end; what it said."""
        done = self.bootstrap(*words)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def cli(self, command: str, *words: str) -> "subprocess.CompletedProcess[str]":
        """A command of `clinical-ai` about this platform."""
        either = ["--runtime", "kubernetes"] if command in {"status", "verify", "deploy"} else []
        place = [*either, "--namespace", self.namespace]
        return self._run(sys.executable, "-m", "clinical_ai.cli", command, *place, *words)

    def kubectl(self, *words: str) -> str:
        """As a person at a terminal uses it."""
        done = self._run("kubectl", "--namespace", self.namespace, *words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def status(self) -> dict[str, Any]:
        """What `clinical-ai status --json` tells."""
        found: dict[str, Any] = json.loads(self.cli("status", "--json").stdout)
        return found

    def password(self) -> str:
        """Of the API, as `user:password`."""
        from clinical_ai.adapters.cluster_secrets import ClusterSecrets

        return ClusterSecrets(self.api).get(names.API_AUTH).get_secret_value()

    @contextmanager
    def reach(self) -> Iterator[PrefectApi]:
        """Prefect's API, through a forwarded port."""
        with reach_api(self.api, self.environment) as api:
            yield api

    def deploy(self, **parameters: Any) -> "Told":
        """A run of deploy/self to its end."""
        with self.reach() as api:
            run = follow_run(api, start_run(api, names.DEPLOY_SELF, parameters), seconds=_SECONDS)
            return Told(run, self._changes(api, run.id))

    def last_deploy(self) -> "Told":
        """The run of deploy/self that began last."""
        [last] = self.deploys(limit=1)
        return last

    def deploys(self, *, limit: int = 5, **wanted: Any) -> list["Told"]:
        """Runs of deploy/self, those that began last first."""
        with self.reach() as api:
            deployment = get_deployment(api, names.DEPLOY_SELF)["id"]
            runs = {"deployment_id": {"any_": [deployment]}, **wanted}
            asked = {"flow_runs": runs, "sort": "START_TIME_DESC", "limit": limit}
            rows = api.post("/flow_runs/filter", asked)
            return [Told(as_run(row), self._changes(api, row["id"])) for row in rows]

    def _changes(self, api: PrefectApi, run_id: str) -> dict[str, str]:
        return {
            row["what"].replace(f" {self.namespace}/", " "): f"{row['result']} {row['detail']}"
            for row in read_table(api, run_id, "deploy-self-changes")
        }

    def edit(self, **fields: Any) -> None:
        """What the form of the Prefect UI does to the settings block."""
        with self.reach() as api:
            block = _block(api)
            body = {"data": {**block["data"], **fields}, "merge_existing_data": False}
            api.patch(f"/block_documents/{block['id']}", body)

    def edit_cluster(self, **fields: Any) -> None:
        """The same for what it says of the cluster; `_` stands for `-`."""
        with self.reach() as api:
            cluster = _block(api)["data"]["kubernetes"]
        named = {name.replace("_", "-"): value for name, value in fields.items()}
        self.edit(kubernetes={**cluster, **named})

    def add_to(self, component: str, **additions: Any) -> None:
        """The settings add this to the pods of one component, and nothing to others."""
        components = {each: dict(_LITTLE) for each in _COMPONENTS}
        components[component] |= additions
        self.edit_cluster(components=components)

    def quiet_schedules(self) -> None:
        """No run starts by the clock while tests look; switched off in the UI, they stay so."""
        with self.reach() as api:
            for full_name in _SCHEDULED:
                flow, _, name = full_name.partition("/")
                row = api.get(f"/deployments/name/{flow}/{name}")
                for each in row["schedules"]:
                    path = f"/deployments/{row['id']}/schedules/{each['id']}"
                    # What the server is not sent of parameters it resets.
                    api.patch(path, {"active": False, "parameters": each["parameters"]})

    def objects(self) -> dict[str, Object]:
        """Everything in the namespace, by kind and name, but for what changes by itself."""
        kinds = self.kubectl("api-resources", "--namespaced", "--verbs=list", "-o", "name").split()
        asked = ",".join(kind for kind in kinds if kind not in _RESTLESS)
        rows: list[Object] = json.loads(self.kubectl("get", asked, "-o", "json"))["items"]
        return {f"{each['kind']} {each['metadata']['name']}": each for each in rows}

    def versions(self) -> dict[str, str]:
        """Of everything in the namespace; the same twice when nothing was written in between.

        Kubernetes closes the Job of a run somewhat later than Prefect does the run.
        """

        def look() -> Sighting:
            jobs = self.api.find_all("batch/v1", "Job")
            left = [job["metadata"]["name"] for job in jobs if not job["status"].get("conditions")]
            return Sighting(not left, f"{left} have not ended")

        wait_until("the end of all Jobs", look, seconds=60)
        return {name: each["metadata"]["resourceVersion"] for name, each in self.objects().items()}

    def rows(self) -> dict[str, Any]:
        """When anything in Prefect was last written, but for heartbeats; and which runs exist."""
        kinds = ("deployments", "block_documents", "block_schemas", "automations", "flows")
        with self.reach() as api:
            found: dict[str, Any] = {
                kind: sorted((row["id"], row["updated"]) for row in api.pages(f"/{kind}/filter"))
                for kind in kinds
            }
            pools = api.pages("/work_pools/filter")  # a worker's heartbeat writes its pool, too
            found["pools"] = {row["name"]: _still(row) for row in pools}
            runs = api.pages("/flow_runs/filter")
            found["runs"] = sorted((row["id"], row["state_type"]) for row in runs)
        return found

    @property
    def ledger(self) -> list[dict[str, Any]]:
        """What was applied, the oldest first."""
        return Records(self.api).read_ledger()

    def lay_ground(self) -> None:
        """PostgreSQL in a namespace of its own, and the image."""
        for each in _database(self.data):
            self.api.create(each)
        self.build()

    def build(self) -> None:
        """The image is in the registry; built once for all platforms."""
        images = DockerImages()
        with change_lock(Path(gettempdir()) / f"{names.PRODUCT}-e2e.lock", "a build", seconds=1800):
            ensure_image(images, look_for_image(images, self.source))

    @property
    def source(self) -> Source:
        """What its image is made of."""
        return source_of(CHECKOUT, self.parsed)

    @property
    def parsed(self) -> Settings:
        """The file's settings, with Secrets in the place of variables of a shell."""
        text = self.text
        for variable, reference in GIVEN.items():
            text = text.replace(f"env:{variable}", reference)
        return parse(tomllib.loads(text))

    def remove(self) -> None:
        """Both namespaces go; no test waits for that."""
        refs = [Ref("v1", "Namespace", name) for name in (self.namespace, self.data)]
        for ref in refs:
            if (found := self.api.find(ref)) is not None:
                self.api.delete(ref, uid=found["metadata"]["uid"])

    def await_gone(self, ref: Ref) -> None:
        """The object does not exist any more."""

        def look() -> Sighting:
            return Sighting(self.api.find(ref) is None, "it is still there")

        wait_until(f"the end of {ref}", look, seconds=180)

    def await_holder(self, who: str, *, seconds: float) -> None:
        """Somebody of this name holds the lease."""

        def look() -> Sighting:
            holder = find_holder(self.api)
            held = holder is not None and who in holder.who
            return Sighting(held, f"{holder} holds the lease")

        wait_until(f"{who} to hold the lease", look, seconds=seconds, every=0.2)

    def running_pods(self) -> list[Object]:
        """Those that a quota counts."""
        pods = self.api.find_all("v1", "Pod")
        return [pod for pod in pods if pod["status"].get("phase") in {"Pending", "Running"}]

    def sql(self, query: str) -> str:
        """The answer of the database, as psql writes it."""
        place = ["exec", "postgres", "--namespace", self.data, "--", "env"]
        access = [f"PGPASSWORD={_PASSWORD}", "psql", "-h", "127.0.0.1", "-U", "postgres"]
        return self.kubectl(*place, *access, "-d", "cai_data", "-tAc", query).strip()

    def _bootstrap(self, *words: str, through: Sequence[str] = ("bootstrap",)) -> list[str]:
        command = [sys.executable, "-m", *through, "--runtime", "kubernetes"]
        return [*command, "--settings", str(self.settings), *words]

    def _run(self, *words: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            words,
            cwd=CHECKOUT,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=_SECONDS,
        )


@dataclass(frozen=True)
class Told:
    """How a run of deploy/self ended, and what it looked at, by kind and name."""

    run: Run
    changes: dict[str, str]

    @property
    def differing(self) -> dict[str, str]:
        """What differed, and what became of it; but for workers that the server takes for lost."""
        return {
            what: it
            for what, it in self.changes.items()
            if not it.startswith("unchanged") and not what.startswith("worker ")
        }


def _block(api: PrefectApi) -> dict[str, Any]:
    path = f"/block_types/slug/{names.SETTINGS_BLOCK_TYPE}/block_documents/name"
    found: dict[str, Any] = api.get(f"{path}/{names.SETTINGS_BLOCK}")
    return found


def _still(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key not in {"updated", "status"}}


def _database(namespace: str) -> list[Object]:
    about = {"name": "postgres", "namespace": namespace, "labels": {"app": "postgres"}}
    variables = {
        "POSTGRES_USER": "postgres",
        "POSTGRES_PASSWORD": _PASSWORD,
        "POSTGRES_DB": "cai_data",
    }
    container: dict[str, Any] = {
        "name": "postgres",
        "image": f"{REGISTRY}/postgres:17",
        "env": [{"name": name, "value": value} for name, value in variables.items()],
        "ports": [{"containerPort": 5432}],
    }
    port = {"port": 5432, "targetPort": 5432}
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}},
        {"apiVersion": "v1", "kind": "Pod", "metadata": about, "spec": {"containers": [container]}},
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": about,
            "spec": {"selector": {"app": "postgres"}, "ports": [port]},
        },
    ]


if __name__ == "__main__":  # beside something else, so that no test has to wait for it
    ClusterSite(Path(gettempdir())).build()
