"""The Job that looks from inside the cluster: as a run is started, and with no right there."""

import json
from typing import Any

import pytest

from clinical_ai import names
from clinical_ai.manifests.kubernetes import credentials
from clinical_ai.manifests.kubernetes.pod_check import StandIn, lent_secret, pod_check
from clinical_ai.settings import Settings, parse
from tests.support.golden import as_yaml, same_as_golden
from tests.support.kubernetes_examples import ALL, RELEASE, settings_of
from tests.support.object_schema import check

every_example = pytest.mark.parametrize("settings", [settings_of(name) for name in ALL], ids=ALL)


def job(settings: Settings) -> Any:
    return json.loads(json.dumps(pod_check(settings, RELEASE)))


def pod(settings: Settings) -> Any:
    return job(settings)["spec"]["template"]["spec"]


@pytest.mark.parametrize("name", ["production", "vault-agent"])
def test_the_job_is_the_golden_one(name: str) -> None:
    same_as_golden(f"kubernetes-check-{name}.yaml", as_yaml(job(settings_of(name))))


@pytest.mark.parametrize("version", ["1.25", "1.37"])
@every_example
def test_the_job_has_no_field_that_a_cluster_does_not_know(
    settings: Settings, version: str
) -> None:
    check(job(settings), version)


@every_example
def test_the_job_ends_once_and_goes_away(settings: Settings) -> None:
    spec = job(settings)["spec"]
    assert (spec["backoffLimit"], pod(settings)["restartPolicy"]) == (0, "Never")
    assert spec["activeDeadlineSeconds"] > 0
    assert spec["ttlSecondsAfterFinished"] > 0


@every_example
def test_the_pod_may_nothing_in_the_cluster(settings: Settings) -> None:
    assert pod(settings)["automountServiceAccountToken"] is False
    sources = [
        source["serviceAccountToken"]["audience"]
        for volume in pod(settings)["volumes"]
        for source in volume.get("projected", {}).get("sources", [])
        if "serviceAccountToken" in source
    ]
    assert set(sources) <= {"vault"}  # a token that the API server does not take


def given_settings(settings: Settings) -> str:
    [container] = [it for it in pod(settings)["containers"] if it["name"] == "check"]
    assert container["image"] == RELEASE.image
    [given] = [it["value"] for it in container["env"] if it["name"] == names.SETTINGS_VARIABLE]
    return str(given)


@every_example
def test_the_pod_gets_the_settings_as_they_are(settings: Settings) -> None:
    assert parse(json.loads(given_settings(settings))) == settings


def test_the_kubelet_finds_no_variable_to_replace_in_the_settings() -> None:
    variables = {"worker": {"environment": {"A": "$(HOME) costs $5"}}}
    settings = parse({"kubernetes": {"registry": "r.test", "components": variables}})
    given = given_settings(settings)
    assert "$" not in given
    assert parse(json.loads(given)) == settings


@every_example
def test_the_pod_mounts_the_secrets_that_it_looks_with_and_no_other(settings: Settings) -> None:
    mounted = {
        f"secret:{source['secret']['name']}/{item['key']}": source["secret"].get("optional", False)
        for volume in pod(settings)["volumes"]
        for source in volume.get("projected", {}).get("sources", [])
        for item in source.get("secret", {}).get("items", [])
    }
    assert mounted.pop(names.ENCRYPTION_KEY) is True  # `up` makes it
    assert not any(mounted.values())
    wanted = {names.DATABASE_URL, names.PREFECT_DATABASE_URL}
    if credentials.agent(settings) is None:
        wanted |= set(credentials.storage(settings))
    assert set(mounted) == wanted


def test_an_addition_that_names_a_password_to_come_does_not_stop_the_pod() -> None:
    variables = {"jobs": {"environment": {"PASSWORD": names.API_AUTH}}}
    settings = parse({"kubernetes": {"registry": "r.test", "components": variables}})
    [container] = pod(settings)["containers"]
    [chosen] = [it["valueFrom"] for it in container["env"] if it["name"] == "PASSWORD"]
    assert chosen["secretKeyRef"]["optional"] is True


def test_what_is_lent_has_keys_that_a_secret_takes_however_long_its_names_are() -> None:
    references = [f"secret:{'n' * 253}/{'k' * 252}{last}" for last in "ab"]
    keys = dict(zip(("minio-access-key", "minio-secret-key"), references, strict=True))
    settings = parse({"kubernetes": {"registry": "r.test"}, **keys})
    found = pod_check(settings, RELEASE, StandIn(lent=frozenset(references)))
    found["metadata"]["uid"] = "1"
    lent = lent_secret(found, dict.fromkeys(references, "bm90"))
    read = {
        item["key"]
        for volume in found["spec"]["template"]["spec"]["volumes"]
        for source in volume.get("projected", {}).get("sources", [])
        if source.get("secret", {}).get("name") == lent["metadata"]["name"]
        for item in source["secret"]["items"]
    }
    assert read == set(lent["data"])
    assert len(read) == 2
    assert max(map(len, read)) <= 253
