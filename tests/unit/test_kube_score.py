"""kube-score finds nothing in the golden files that docs/decisions does not argue."""

import json
import os
import re
import shutil
import subprocess
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from clinical_ai import names
from tests.support.golden import FOLDER

pytestmark = pytest.mark.cluster  # no environment has its program but that of `make e2e`

DECISIONS: Final = FOLDER.parent.parent / "docs/decisions/0022-objects-of-a-cluster.md"
FILES: Final = sorted(path.name for path in FOLDER.glob("kubernetes-*.yaml"))
OLDEST: Final = "v1.25"  # whose schemas are checked
GOOD: Final = 10
ALL: Final = "*"
# By kube-score's name of the check: how docs/decisions begins to argue it, and for which `app`.
ARGUED: Final = {
    "container-ephemeral-storage-request-and-limit": (
        "No request or limit of ephemeral storage",
        {ALL},
    ),
    "container-image-pull-policy": ("Pull policy `IfNotPresent`", {ALL}),
    "deployment-has-host-podantiaffinity": ("No anti-affinity", {names.WORKER}),
    "deployment-replicas": (
        "One of each workload",
        {names.SERVER, names.PLATFORM_WORKER, names.WORKER},
    ),
    "networkpolicy-targets-pod": ("A policy for pods that no file shows", {names.PLATFORM_JOB}),
    "pod-networkpolicy": ("A policy for pods that no file shows", {names.PLATFORM_JOB}),
}


def kube_score() -> str:
    """Its path; a missing one fails and is never passed over."""
    cache = Path(os.environ.get("CLUSTER_CACHE", Path.home() / ".cache/test-cluster"))
    found = shutil.which("kube-score", path=f"{os.environ['PATH']}:{cache / 'bin'}")
    if found is None:
        pytest.fail(f"there is no kube-score: put it on the PATH or in {cache / 'bin'}")
    return found


def objects(name: str) -> list[Any]:
    """What the file shows; of work pools the Job of a run, with the defaults of its variables."""
    found = list(yaml.safe_load_all((FOLDER / name).read_text()))
    if not name.startswith("kubernetes-pools"):
        return found
    templates = [pool["base_job_template"] for pool in found[0]]
    return [
        filled(each["job_configuration"]["job_manifest"], each["variables"]["properties"])
        for each in templates
        if "job_manifest" in each["job_configuration"]
    ]


def filled(value: Any, variables: Mapping[str, Any]) -> Any:
    match value:
        case dict():
            whole = {key: filled(each, variables) for key, each in value.items()}
            return {key: each for key, each in whole.items() if each is not None}
        case list():
            return [filled(each, variables) for each in value]
        case str() if variable := re.fullmatch(r"{{ (\w+) }}", value):
            return variables.get(variable[1], {}).get("default")
    return value


def findings(name: str) -> dict[str, set[str]]:
    """`app` of the objects that are not wholly good, by check."""
    command = [kube_score(), "score", "--kubernetes-version", OLDEST, "-o", "json", "-"]
    text = yaml.safe_dump_all(objects(name))
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr  # its exit code is 1 for a finding, too
    found = defaultdict(set)
    for each in json.loads(done.stdout):
        for check in each["checks"]:
            if not check["skipped"] and check["grade"] < GOOD:
                found[check["check"]["id"]].add(each["object_meta"]["labels"]["app"])
    return found


@pytest.mark.parametrize("name", FILES)
def test_kube_score_finds_nothing_that_is_not_argued(name: str) -> None:
    nothing: tuple[str, set[str]] = ("", set())
    unargued = {
        check: left
        for check, found in findings(name).items()
        if ALL not in (argued := ARGUED.get(check, nothing)[1]) and (left := found - argued)
    }
    assert unargued == {}


def test_nothing_is_argued_that_kube_score_does_not_find() -> None:
    every = [findings(name) for name in FILES]
    for check, (begin, argued) in ARGUED.items():
        found = set[str]().union(*(each.get(check, set()) for each in every))
        assert found
        assert argued - {ALL} <= found, check
        assert f"- **{begin}**" in DECISIONS.read_text()
