"""The Kubernetes worker of Prefect makes Jobs of our template that a cluster accepts."""

import json
from typing import Any
from uuid import uuid4

import pytest
from prefect.client.schemas.objects import FlowRun
from prefect.settings import PREFECT_API_AUTH_STRING, temporary_settings
from prefect.utilities.templating import apply_values
from prefect_kubernetes.worker import KubernetesWorker, KubernetesWorkerJobConfiguration

from clinical_ai import names
from clinical_ai.manifests.kubernetes import pools
from tests.support.kubernetes_examples import ALL, RELEASE, settings_of
from tests.support.object_schema import check

examples = pytest.mark.parametrize("name", ALL)


def job_of(name: str, **chosen: Any) -> dict[str, Any]:
    """The Job that the worker makes of a run, with these variables of its deployment."""
    template = pools.platform_template(settings_of(name), RELEASE)
    variables = template["variables"]["properties"].items()
    values = {key: each["default"] for key, each in variables if "default" in each} | chosen
    made = KubernetesWorkerJobConfiguration(**apply_values(template["job_configuration"], values))
    with temporary_settings({PREFECT_API_AUTH_STRING: "admin:admin"}):
        made.prepare_for_flow_run(FlowRun(id=uuid4(), flow_id=uuid4(), name="a Run with ü"))
    found: dict[str, Any] = json.loads(json.dumps(made.job_manifest))
    return found


@examples
def test_a_cluster_accepts_the_job_of_a_run(name: str) -> None:
    job = job_of(name)
    for invented in ("parallelism", "completions"):  # by the worker; the API server drops them
        del job["spec"]["template"]["spec"][invented]
    job["metadata"]["name"] = job["metadata"].pop("generateName") + "x"
    check(job)


@examples
def test_a_runs_pod_keeps_what_policies_and_accounts_know_it_by(name: str) -> None:
    pod = job_of(name, labels={"a": "b"}, env={"MORE": "1"})["spec"]["template"]
    assert pod["metadata"]["labels"]["app"] == names.PLATFORM_JOB
    assert pod["spec"]["serviceAccountName"] == names.PLATFORM_JOB
    [container] = pod["spec"]["containers"]
    variables = [each["name"] for each in container["env"]]
    assert {"MORE", "DATABASE_URL", "HOME", names.IMAGE_VARIABLE} <= set(variables)
    assert len(variables) == len(set(variables))


def test_a_deployment_may_take_more_of_a_node_for_its_runs() -> None:
    [container] = job_of("production", memory_limit="8Gi")["spec"]["template"]["spec"]["containers"]
    assert container["resources"]["limits"] == {"cpu": "1", "memory": "8Gi"}
    assert container["resources"]["requests"] == {"cpu": "200m", "memory": "384Mi"}


def test_our_template_has_the_shape_of_the_workers_own() -> None:
    theirs = KubernetesWorker.get_default_base_job_template()
    ours = pools.platform_template(settings_of("production"), RELEASE)
    assert set(ours["job_configuration"]) == set(theirs["job_configuration"]) - {"cluster_config"}
    assert set(ours["variables"]["properties"]) < set(theirs["variables"]["properties"])
