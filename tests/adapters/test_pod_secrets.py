"""Where a run in a pod finds its secrets: mounted ones, and those that Vault alone has."""

import json
from pathlib import Path
from typing import Any, Never

import pytest

from clinical_ai import names, wiring_cluster
from clinical_ai.adapters.pod_secrets import PodSecrets
from clinical_ai.errors import NeedsOperator
from clinical_ai.settings import Settings, parse
from tests.support.fakes import MemorySecrets
from tests.support.kubernetes_examples import RELEASE, pod_templates, settings_of
from tests.support.vault_server import VaultTestServer

REFERENCE = "vault:secret/clinical-ai/lab#token"


def settings_with(address: str) -> Settings:
    kubernetes = {
        "registry": "registry.example.org",
        "aws-credentials": {"kind": "external-secrets", "vault-address": address},
    }
    lab = {"addresses": ["https://lab.example.org/r4"], "credentials": REFERENCE}
    given = {"connections": {"lab": lab}, "kubernetes": kubernetes}
    return parse({"storage-environment": "production", **given})


def environment_of(name: str, settings: Settings) -> dict[str, str]:
    """What stands in clear in the pods of this name."""
    variables = dict(pod_templates(settings))[name]["spec"]["containers"][0]["env"]
    return {each["name"]: each["value"] for each in variables if "value" in each}


@pytest.fixture
def lab(
    vault: VaultTestServer, pod_token: Path, monkeypatch: pytest.MonkeyPatch
) -> VaultTestServer:
    """It has a token for a laboratory, and this pod a token for it."""
    monkeypatch.setattr(names, "VAULT_TOKEN", str(pod_token))
    vault.keep("secret/clinical-ai/lab", token="of the laboratory")
    return vault


def test_mounted_secrets_are_read_without_asking_where_vault_is() -> None:
    def nobody() -> Never:
        raise AssertionError

    store = PodSecrets(MemorySecrets({"secret:a/b": "mounted"}), nobody)
    assert store.get("secret:a/b").get_secret_value() == "mounted"
    assert store.find("secret:a/c") is None


def test_a_run_reads_both_as_its_settings_say(
    lab: VaultTestServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_with(lab.address)
    asked: list[object] = []

    def get_settings(api: object) -> Settings:
        asked.append(api)
        return settings

    monkeypatch.setattr("clinical_ai.steps.settings_block.get_settings", get_settings)
    monkeypatch.setattr(wiring_cluster, "RENDERED", tmp_path / "rendered.json")
    (tmp_path / "rendered.json").write_text("{}")
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "key").write_text("mounted\n")
    environ = environment_of(names.WORKER, settings)
    platform = wiring_cluster.open_here(environ | {names.SECRETS_VARIABLE: str(tmp_path)})
    assert platform.secrets.get("secret:own/key").get_secret_value() == "mounted"
    assert asked == []
    assert platform.secrets.get(REFERENCE).get_secret_value() == "of the laboratory"
    assert platform.secrets.find("vault:secret/clinical-ai/lab#other") is None
    assert len(asked) == lab.logins == 1


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


def test_settings_that_name_no_vault_lead_to_none() -> None:
    with pytest.raises(NeedsOperator, match=r"name no Vault.*write secret:NAME/KEY"):
        wiring_cluster.open_vault(settings_of("development"), {})


@pytest.mark.parametrize("scheme", ["HTTP", "HTTPS"])
@pytest.mark.parametrize("excepted", [None, "other.example.org", "example.org"])
def test_vault_is_asked_through_the_proxy_that_the_pods_environment_names(
    lab: VaultTestServer, scheme: str, excepted: str | None
) -> None:
    """HTTP_PROXY counts for an address of http alone, and NO_PROXY as policies take it."""
    environ = {f"{scheme}_PROXY": lab.address, **({"NO_PROXY": excepted} if excepted else {})}
    store = wiring_cluster.open_vault(settings_with("http://vault.example.org:8200"), environ)
    chosen: Any = store
    assert (chosen._proxy is not None) == (scheme == "HTTP" and excepted != "example.org")
