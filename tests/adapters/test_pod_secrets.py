"""A run in a pod: what it knows of its platform."""

import json
from pathlib import Path

import pytest

from clinical_ai import names, wiring_cluster
from clinical_ai.errors import NeedsOperator
from clinical_ai.settings import Settings
from tests.support.kubernetes_examples import RELEASE, pod_templates, settings_of


def environment_of(name: str, settings: Settings) -> dict[str, str]:
    """What stands in clear in the pods of this name."""
    variables = dict(pod_templates(settings))[name]["spec"]["containers"][0]["env"]
    return {each["name"]: each["value"] for each in variables if "value" in each}


def test_a_run_of_the_clinical_worker_applies_no_release(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of("production")
    monkeypatch.setattr(wiring_cluster, "RENDERED", tmp_path / "rendered.json")
    (tmp_path / "rendered.json").write_text(json.dumps({"revision": RELEASE.revision}))
    run = wiring_cluster.open_in_pod(environment_of(names.WORKER, settings))
    with pytest.raises(NeedsOperator, match=r"is not told its release\. run deploy/self"):
        assert run.own_release
    job = wiring_cluster.open_in_pod(environment_of(names.PLATFORM_JOB, settings))
    assert (job.own_release.image, job.own_release.content) == (RELEASE.image, RELEASE.content)
