"""prefect.yaml names flows that exist and marks all it deploys as ours."""

import ast
from typing import Any

import pytest

from clinical_ai import __version__, names
from tests.repository.texts import ROOT, deployments, label, prefect_yaml, text


def flows_of(path: str) -> dict[str, str]:
    """Functions of the file that are flows, and the flows' names."""
    found = {}
    for node in ast.parse((ROOT / path).read_text()).body:
        if not isinstance(node, ast.FunctionDef):
            continue
        for decorator in node.decorator_list:
            if ast.unparse(decorator).partition("(")[0] == "flow":
                given = getattr(decorator, "keywords", [])
                named = [each.value.value for each in given if each.arg == "name"]
                found[node.name] = named[0] if named else node.name.replace("_", "-")
    return found


def full_name(deployment: dict[str, Any]) -> str:
    path, _, function = deployment["entrypoint"].partition(":")
    return f"{flows_of(path)[function]}/{deployment['name']}"


@pytest.mark.parametrize("deployment", deployments(), ids=label)
def test_a_deployment_points_at_a_flow_that_exists(deployment: dict[str, Any]) -> None:
    path, _, function = deployment["entrypoint"].partition(":")
    assert function in flows_of(path)


@pytest.mark.parametrize("deployment", deployments(), ids=label)
def test_a_deployment_is_marked_ours_described_and_has_slugs(deployment: dict[str, Any]) -> None:
    assert names.OWNER_TAG in deployment["tags"]
    assert deployment["description"]
    assert deployment["work_pool"]["name"] in {names.POOL, names.PLATFORM_POOL}
    assert deployment["work_pool"]["work_queue_name"] == names.QUEUE
    assert all(schedule["slug"] for schedule in deployment.get("schedules", []))
    assert deployment["version"] == __version__


def test_deployments_are_those_that_the_code_names() -> None:
    found = [full_name(deployment) for deployment in deployments()]
    known = [
        *(names.DEPLOY_SELF, names.REGISTER, names.VERIFY, names.CANARY, names.PLATFORM_CANARY),
        names.PIPELINE,
    ]
    assert sorted(found) == sorted(known)


def test_every_flow_is_deployed() -> None:
    files = [f"flows/{path.name}" for path in (ROOT / "flows").glob("*.py")]
    there = {f"{path}:{function}" for path in files for function in flows_of(path)}
    assert there == {deployment["entrypoint"] for deployment in deployments()}


def test_prefect_yaml_is_of_the_locked_prefect() -> None:
    assert f"\nprefect=={prefect_yaml()['prefect-version']} " in text("requirements.lock")
