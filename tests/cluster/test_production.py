"""A production platform: its AWS credentials come from Vault, by Vault's agent."""

from collections.abc import Mapping
from hashlib import sha256
from typing import Final

import pytest

from clinical_ai import names
from clinical_ai.ports import PrefectApi
from clinical_ai.steps.cluster.workers import pods_of
from clinical_ai.steps.runs import read_table, run_to_end
from clinical_ai.waiting import Sighting, wait_until
from tests.support.production_site import KEYS, Installed, ProductionSite

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

_AWS: Final = "clinical-ai-aws-credentials"
_FILE: Final = f"{names.SECRETS_FOLDER}/{_AWS}/aws-secret-access-key"
_DIGEST: Final = (
    "import hashlib, sys; print(hashlib.sha256(open(sys.argv[1],'rb').read()).hexdigest())"
)


def verified(api: PrefectApi) -> Mapping[str, str]:
    """The evidence of each check; all have passed."""
    run = run_to_end(api, names.VERIFY, {}, seconds=300)
    rows = read_table(api, run.id, "verify")
    assert {row["check"]: row for row in rows if row["result"] != "passed"} == {}
    assert run.completed, run.message
    return {row["check"]: row["evidence"] for row in rows}


def digest_in_worker(site: ProductionSite) -> str:
    """Of the key that runs of the clinical worker read."""
    told = site.run_in(
        f"deploy/{names.WORKER}", "python3", "-c", _DIGEST, _FILE, container=names.WORKER_CONTAINER
    )
    return told.strip()


def test_bootstrap_tells_what_vault_refuses_and_starts_no_server(
    installed_production: Installed,
) -> None:
    refusal = installed_production.refusal
    assert "container vault-agent-init" in refusal.told
    assert "does not let its work begin" in refusal.told
    assert "invalid role name" in refusal.told
    assert not refusal.server


def test_verify_proves_a_platform_whose_credentials_vaults_agent_renders(
    production: ProductionSite,
) -> None:
    with production.prefect() as api:
        evidence = verified(api)
    assert "rendered by Vault's agent" in evidence["secrets"]
    assert "bucket(s) listed" in evidence["storage"]


def test_the_worker_has_the_key_from_vault_and_an_agent_that_renews_it(
    production: ProductionSite,
) -> None:
    key = KEYS["aws-secret-access-key"]
    assert digest_in_worker(production) == sha256(key.encode()).hexdigest()
    [pod] = pods_of(production.api, names.WORKER)
    assert [each["name"] for each in pod["spec"]["containers"]][1:] == ["vault-agent"]
    assert production.find("Secret", _AWS) is None


def test_a_key_that_changes_in_vault_reaches_the_worker_without_a_restart(
    production: ProductionSite,
) -> None:
    [before] = pods_of(production.api, names.WORKER)
    new = "not-secret-of-a-test-either"
    production.vault.keep(**{**KEYS, "aws-secret-access-key": new})
    try:
        wanted = sha256(new.encode()).hexdigest()

        def look() -> Sighting:
            return Sighting(digest_in_worker(production) == wanted, "the key of before")

        wait_until("the new key in the worker", look, seconds=120, every=2)
        [after] = pods_of(production.api, names.WORKER)
        assert after["metadata"]["uid"] == before["metadata"]["uid"]
    finally:
        production.vault.keep(**KEYS)
