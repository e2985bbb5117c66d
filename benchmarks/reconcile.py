"""A reconcile with nothing to do against `helm upgrade` of the same objects, on one cluster.

Workloads have no replicas meanwhile: what is measured is the comparison, not pods.
"""

import json
import os
import shutil
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.imports import Row
from clinical_ai.adapters.kubernetes_api import KubernetesApi, open_kubernetes
from clinical_ai.errors import NeedsOperator
from clinical_ai.manifests.kubernetes import desired
from clinical_ai.manifests.kubernetes.metadata import cluster_of, ownership
from clinical_ai.ports_cluster import Object, Ref
from clinical_ai.steps.cluster.deploy import look
from clinical_ai.steps.cluster.inventory import Ownership
from clinical_ai.steps.cluster.reconcile import reconcile
from clinical_ai.steps.cluster.site import Site
from tests.support.kubernetes_examples import RELEASE, settings_of

OURS, THEIRS = "bench-ours", "bench-helm"
ROUNDS = 15
_SCALED = ("Deployment",)


def measure() -> list[Row]:
    """Alternating, so that noise meets both; both namespaces go at the end."""
    with _Namespace(OURS) as ours, _Namespace(THEIRS):
        objects = _objects(OURS)
        own = Ownership(ownership(OURS), limit=len(objects))
        reconcile(ours, objects, own, write=True)
        chart = _chart(_objects(THEIRS))
        try:
            _helm("install", "bench", str(chart), "--namespace", THEIRS)
            jobs: dict[str, Callable[[], object]] = {
                "ours": lambda: look(Site(ours, own), {"all": objects}),
                "helm": lambda: _helm("upgrade", "bench", str(chart), "--namespace", THEIRS),
            }
            taken: dict[str, list[float]] = {name: [] for name in jobs}
            for _ in range(ROUNDS):
                for name, job in jobs.items():
                    taken[name].append(_seconds(job))
            asked = _requests(ours, own, objects)
        finally:
            shutil.rmtree(chart)
        most = len(objects) + len({each["kind"] for each in objects})
    return [
        Row(
            f"reconcile {len(objects)} objects with nothing to do, `helm upgrade`",
            median(taken["ours"]),
            median(taken["helm"]),
            1.0,
        ),
        Row("requests of it: one dry run an object, one list a kind", asked, most, 1.0, "requests"),
    ]


class _Namespace:
    def __init__(self, name: str) -> None:
        self.name = name

    def __enter__(self) -> KubernetesApi:
        self.api = open_kubernetes(os.environ, namespace=self.name)
        about = {"name": self.name}
        self.api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": about})
        return self.api

    def __exit__(self, *_: object) -> None:
        ref = Ref("v1", "Namespace", self.name)
        self.api.delete(ref, uid=self.api.get(ref)["metadata"]["uid"])


def _objects(namespace: str) -> list[Object]:
    """Those of a development platform, without pods."""
    settings = settings_of("development")
    cluster = cluster_of(settings).model_copy(update={"namespace": namespace})
    found = desired.for_deploy(settings.model_copy(update={"kubernetes": cluster}), RELEASE)
    for each in found:
        if each["kind"] in _SCALED:
            each["spec"]["replicas"] = 0
    return found


def _chart(objects: list[Object]) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="clinical-ai-chart-"))
    about = {"apiVersion": "v2", "name": "bench", "version": "1.0.0"}
    (folder / "Chart.yaml").write_text(json.dumps(about))
    (folder / "templates").mkdir()
    for number, each in enumerate(objects):
        text = json.dumps(each, indent=1).replace("{{", "{{`{{`}}")
        (folder / "templates" / f"{number:02}.yaml").write_text(text)
    return folder


def _helm(*words: str) -> None:
    helm = shutil.which("helm")
    if helm is None:
        raise NeedsOperator("helm is not on the PATH", "put that of the judges there")
    subprocess.run([helm, *words], check=True, capture_output=True)


def _seconds(job: Callable[[], object]) -> float:
    started = time.perf_counter()
    job()
    return time.perf_counter() - started


def _requests(api: KubernetesApi, own: Ownership, objects: list[Object]) -> float:
    """How many requests one comparison makes, but for the one for the inventory."""
    counting = _Counting(api)
    look(Site(counting, own), {"all": objects})
    return float(sum(counting.calls[name] for name in ("find_all", "apply", "find")) - 1)


class _Counting:
    """The cluster, and how often each of its methods was called."""

    def __init__(self, api: KubernetesApi) -> None:
        self._api = api
        self.calls: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._api, name)
        if callable(found):
            self.calls[name] += 1
        return found
