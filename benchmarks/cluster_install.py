"""A fresh installation in a cluster against the same work with kubectl and prefect, by hand.

Both have the image and a database of their own; the hand needs no time to think, read or mistype,
and starts nothing beside anything else.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from secrets import token_bytes
from statistics import median
from typing import Any, Final

from pydantic import SecretStr

from benchmarks.imports import Row
from bootstrap.cluster.image import render
from clinical_ai import names
from clinical_ai.adapters.docker_images import DockerImages
from clinical_ai.adapters.port_forward import forwarded
from clinical_ai.adapters.prefect_rest import PrefectRest
from clinical_ai.manifests import orchestration
from clinical_ai.manifests.kubernetes import desired
from clinical_ai.manifests.kubernetes.migration import migration
from clinical_ai.manifests.kubernetes.pod_check import pod_check
from clinical_ai.manifests.kubernetes.pools import pools
from clinical_ai.ports_cluster import Object
from clinical_ai.release import Release
from clinical_ai.secret_references import parts
from clinical_ai.settings import Settings
from clinical_ai.steps.image import look_for_image
from clinical_ai.steps.settings_block import save_settings
from clinical_ai.wiring_cluster import release_of
from tests.support.cluster_site import CHECKOUT, GIVEN, ClusterSite

AGAIN: Final = 5
_PASSWORD: Final = "admin:not-secret-of-a-benchmark"  # noqa: S105


def measure(rounds: int) -> list[Row]:
    """Alternating, so that noise meets both; all namespaces go at the end of each round."""
    ours, theirs, again, runs = [], [], [], []
    for _ in range(rounds):
        with fresh_site("bench-hand") as site:
            theirs.append(_seconds_by_hand(site))
        with fresh_site("bench-ours") as site:
            ours.append(_timed(site.up))
            again += [_timed(site.up) for _ in range(AGAIN)]
            runs.append(_timed(site.deploy))
    return [
        Row("install in an empty namespace, by hand", median(ours), median(theirs), 1.0),
        Row("install again, against the first time", median(again), median(ours), 0.25),
        Row("a run of deploy/self with nothing to do, the same", median(runs), median(ours), 0.25),
    ]


@contextmanager
def fresh_site(name: str) -> Iterator[ClusterSite]:
    """With a database, and the image in the registry."""
    folder = Path(tempfile.mkdtemp(prefix="clinical-ai-bench-"))
    site = ClusterSite(folder, name)
    try:
        site.lay_ground()
        site.kubectl("wait", "--for=condition=Ready", "pod/postgres", "-n", site.data)
        yield site
    finally:
        site.remove()
        shutil.rmtree(folder)


def _timed(job: Callable[[], object]) -> float:
    started = time.perf_counter()
    job()
    return time.perf_counter() - started


def _seconds_by_hand(site: ClusterSite) -> float:
    hand = Hand(site)  # the files that a guide would hand out are there
    with ExitStack() as running:
        started = time.perf_counter()
        hand.look()
        hand.lay_ground()
        hand.check_from_pod()
        hand.bring_server()
        environment = hand.reach(running)
        hand.register(environment)
        hand.bring_workers()
        hand.fly(environment)
        hand.verify(environment)
        return time.perf_counter() - started


@dataclass
class Hand:
    """The steps of a guide, one command after the other."""

    site: ClusterSite

    def __post_init__(self) -> None:
        self.rights = self._file(
            "rights", desired.for_bootstrap(self.settings, make_namespace=True)
        )
        self.stages = {
            name: self._file(name, found) for name, found in self._stages().items() if found
        }
        self.check = self._file("check", [pod_check(self.settings, self.release)])
        self.migration = self._file("migration", [migration(self.settings, self.release)])
        self.secrets = self._file("own", self._secrets())

    @cached_property
    def settings(self) -> Settings:
        return self.site.parsed

    @cached_property
    def rendered(self) -> dict[str, Any]:
        return render(CHECKOUT)

    @cached_property
    def release(self) -> Release:
        source = self.site.source
        image = look_for_image(DockerImages(), source).image
        assert image is not None  # noqa: S101 - the site has pushed it
        return release_of(image, source.content, self.rendered)

    def look(self) -> None:
        """Whether it can be done."""
        space = self.site.namespace
        for words in (
            ["version"],
            ["get", "namespaces"],
            ["auth", "can-i", "--list", "-n", space],
            ["api-resources"],
            ["get", "resourcequota", "-n", space],
            ["get", "all", "-n", space],
        ):
            self.site.kubectl(*words)

    def lay_ground(self) -> None:
        """Namespace, accounts, rights, Secrets, configuration, policies."""
        self._apply(self.rights)
        self._apply(self.secrets)
        for name in ("configuration", "secrets", "network"):
            if name in self.stages:
                self._apply(self.stages[name])

    def check_from_pod(self) -> None:
        """Database and storage as a pod sees them."""
        self._apply(self.check)
        self._await_job(names.POD_CHECK)
        self.site.kubectl("delete", "job", names.POD_CHECK)

    def bring_server(self) -> None:
        """After the migration of its database."""
        self._apply(self.migration)
        self._await_job(migration(self.settings, self.release)["metadata"]["name"])
        self._apply(self.stages["server"])
        self._await_rollout(names.SERVER)

    def reach(self, running: ExitStack) -> dict[str, str]:
        """The environment of `prefect`, while a port is forwarded."""
        site = self.site
        place = (site.environment, site.namespace, names.SERVER, names.API_PORT)
        port = running.enter_context(forwarded(*place))
        return {
            **os.environ,
            "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
            "PREFECT_API_AUTH_STRING": _PASSWORD,
            "PREFECT_HOME": str(site.folder / "prefect"),
        }

    def register(self, environment: dict[str, str]) -> None:
        """Pools, the zombie automation, settings and deployments."""
        wanted = pools(self.settings, self.release, self.rendered["job_template"])
        for pool in wanted:
            template = self._write(f"{pool['name']}.json", pool["base_job_template"])
            create = ["work-pool", "create", pool["name"], "--type", pool["type"]]
            self._prefect(environment, *create, "--base-job-template", str(template))
        automation = self._write("automation.json", orchestration.zombie_automation())
        self._prefect(environment, "automation", "create", "--from-file", str(automation))
        self._prefect(environment, "block", "register", "--module", "blocks.settings")
        self._save_block(environment)
        self._prefect(environment, "--no-prompt", "deploy", "--all")

    def bring_workers(self) -> None:
        """Both, one after the other."""
        for stage, name in (("platform worker", names.PLATFORM_WORKER), ("worker", names.WORKER)):
            self._apply(self.stages[stage])
            self._await_rollout(name)

    def fly(self, environment: dict[str, str]) -> None:
        """A run in each pool."""
        for name in (names.CANARY, names.PLATFORM_CANARY):
            self._prefect(environment, "deployment", "run", "--watch", name)

    def verify(self, environment: dict[str, str]) -> None:
        """What a guide's chapter asks to be looked at."""
        for words in (
            ["get", "deployments"],
            ["get", "pods"],
            ["get", "services"],
            ["get", "endpointslices"],
            ["get", "networkpolicies"],
            ["get", "secrets"],
            *(["logs", f"deployment/{name}", "--tail=500"] for name in names.WORKLOADS),
        ):
            self.site.kubectl(*words)
        for words in (["work-pool", "ls"], ["deployment", "ls"], ["flow-run", "ls"]):
            self._prefect(environment, *words)

    def _stages(self) -> dict[str, Sequence[Object]]:
        return dict(desired.stages(self.settings, self.release))

    def _secrets(self) -> list[Object]:
        """What the operator has, a password and a key of the platform's own."""
        values = {
            **{name: self.site.environment[variable] for variable, name in GIVEN.items()},
            names.API_AUTH: _PASSWORD,
            names.ENCRYPTION_KEY: urlsafe_b64encode(token_bytes(32)).decode(),
        }
        data: dict[str, dict[str, str]] = {}
        for reference, value in values.items():
            name, key = parts(reference)
            data.setdefault(name, {})[key] = value
        return [
            {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": keys}
            for name, keys in data.items()
        ]

    def _save_block(self, environment: dict[str, str]) -> None:
        """As the form of the UI would."""
        api = PrefectRest(environment["PREFECT_API_URL"], SecretStr(_PASSWORD))
        save_settings(api, self.settings, self.rendered["block"]["checksum"])

    def _file(self, name: str, objects: Sequence[Object]) -> Path:
        return self._write(f"{name}.json", {"apiVersion": "v1", "kind": "List", "items": objects})

    def _write(self, name: str, content: object) -> Path:
        path = self.site.folder / name
        path.write_text(json.dumps(content))
        return path

    def _apply(self, path: Path) -> None:
        self.site.kubectl("apply", "-f", str(path))

    def _await_job(self, name: str) -> None:
        self.site.kubectl("wait", "--for=condition=Complete", f"job/{name}", "--timeout=300s")
        self.site.kubectl("logs", f"job/{name}")

    def _await_rollout(self, name: str) -> None:
        self.site.kubectl("rollout", "status", f"deployment/{name}", "--timeout=300s")

    def _prefect(self, environment: dict[str, str], *words: str) -> None:
        command = [sys.executable, "-m", "prefect", *words]
        done = subprocess.run(
            command, cwd=CHECKOUT, env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            sys.stderr.write(done.stdout + done.stderr)
            done.check_returncode()
