"""A production platform: its AWS credentials come from Vault, by either way that settings name,
and runs read the credentials of a connection from there themselves.

In this order on one platform: what External Secrets keeps, then the change to Vault's agent.
"""

from collections.abc import Mapping
from hashlib import sha256
from typing import Final

import pytest

from clinical_ai import names
from clinical_ai.ports import PrefectApi
from clinical_ai.ports_cluster import Ref
from clinical_ai.steps.cluster.workers import pods_of
from clinical_ai.steps.runs import read_table, run_to_end
from clinical_ai.waiting import Sighting, wait_until
from tests.support.cluster_reach import VAULT, reach
from tests.support.production_site import KEYS, LAB, Installed, ProductionSite

pytestmark = [pytest.mark.cluster, pytest.mark.parts, pytest.mark.timeout(900)]

_AWS: Final = "clinical-ai-aws-credentials"
_KEY: Final = "aws-secret-access-key"
_FILE: Final = f"{names.SECRETS_FOLDER}/{_AWS}/{_KEY}"
_DIGEST: Final = (
    "import hashlib, sys; print(hashlib.sha256(open(sys.argv[1],'rb').read()).hexdigest())"
)
# As a run opens its platform: the settings are the block's, and the pod's account logs in.
_OF_LAB: Final = """\
import hashlib
from clinical_ai.wiring_cluster import open_here
here = open_here()
found = here.secrets.get(here.settings.connections["lab"].credentials).get_secret_value()
print(hashlib.sha256(found.encode()).hexdigest())
"""
_TOKEN: Final = f"import os; print(os.path.exists('{names.VAULT_TOKEN}'))"
_OPERATOR: Final = "external-secrets.io/v1"
_NEW: Final = "not-secret-of-a-test-either"


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


def lab_in_worker(site: ProductionSite) -> str:
    """Digest of the credentials of the connection `lab`, as a run of the clinical worker reads."""
    told = site.run_in(
        f"deploy/{names.WORKER}", "python3", "-c", _OF_LAB, container=names.WORKER_CONTAINER
    )
    return told.strip()


def follow_lab(site: ProductionSite) -> None:
    """What a run reads is in Vault at that moment, in a worker that stays."""
    before = worker_of(site)
    assert lab_in_worker(site) == sha256(LAB["token"].encode()).hexdigest()
    site.vault.keep("lab", {"token": _NEW})
    try:
        assert lab_in_worker(site) == sha256(_NEW.encode()).hexdigest()
    finally:
        site.vault.keep("lab", LAB)
    assert worker_of(site) == before


def worker_of(site: ProductionSite) -> tuple[str, list[str]]:
    """The one pod of the clinical worker, and its containers."""
    [pod] = pods_of(site.api, names.WORKER)
    return pod["metadata"]["uid"], [each["name"] for each in pod["spec"]["containers"]]


def follow_vault(site: ProductionSite) -> None:
    """A key that changes in Vault, and changes back, reaches the worker."""
    site.vault.keep("aws", {**KEYS, _KEY: _NEW})
    try:
        await_key(site, _NEW)
    finally:
        site.vault.keep("aws", KEYS)
    await_key(site, KEYS[_KEY])


def await_key(site: ProductionSite, key: str) -> None:
    """The worker reads this key; its pod is the one of before."""
    before, wanted = worker_of(site), sha256(key.encode()).hexdigest()

    def look() -> Sighting:
        return Sighting(digest_in_worker(site) == wanted, "it is the key of before")

    # External Secrets asks every 20 s here, and the kubelet renews files about every minute.
    wait_until("the new key in the worker", look, seconds=180, every=2)
    assert worker_of(site) == before


@pytest.fixture(scope="module")
def agents(production: ProductionSite) -> ProductionSite:
    """Its settings were changed to Vault's agent, and deploy/self did the rest."""
    if production.kind != "vault-agent":
        production.kind = "vault-agent"
        production.build_agent()
        production.edit_cluster(aws_credentials=production.credentials)
        told = production.deploy()
        assert told.run.completed, told.run.message
    return production


def test_bootstrap_tells_that_vault_is_not_ready_and_starts_no_server(
    installed_production: Installed,
) -> None:
    refusal = installed_production.refusal
    assert "External Secrets' operator runs in namespace external-secrets" in refusal.looked
    assert f"ExternalSecret {_AWS} is not in step with Vault" in refusal.told
    assert f"SecretStore {names.VAULT}" in refusal.told
    assert "check that Vault is up, and its address, role, audience, path" in refusal.told
    assert not refusal.server


def test_verify_proves_that_external_secrets_keeps_the_credentials(
    production: ProductionSite,
) -> None:
    with production.reach() as api:
        evidence = verified(api)
    assert f"Secret {_AWS} synced at 20" in evidence["secrets"]
    assert "bucket(s) listed" in evidence["storage"]
    assert digest_in_worker(production) == sha256(KEYS[_KEY].encode()).hexdigest()


def test_a_key_that_changes_in_vault_reaches_the_worker_by_external_secrets(
    production: ProductionSite,
) -> None:
    follow_vault(production)


def test_a_run_reads_a_connections_credentials_from_vault_itself(
    production: ProductionSite,
) -> None:
    follow_lab(production)
    for other in (names.SERVER, names.PLATFORM_WORKER):
        told = production.run_in(f"deploy/{other}", "python3", "-c", _TOKEN)
        assert told.strip() == "False", other


def test_the_way_changes_to_vaults_agent_and_nothing_of_the_other_is_left(
    agents: ProductionSite,
) -> None:
    with agents.reach() as api:
        evidence = verified(api)
    assert "rendered by Vault's agent" in evidence["secrets"]
    assert "bucket(s) listed" in evidence["storage"]
    assert digest_in_worker(agents) == sha256(KEYS[_KEY].encode()).hexdigest()
    assert worker_of(agents)[1][1:] == ["vault-agent"]
    missing, _ = reach(agents, f"deploy/{names.WORKER}", allowed=[VAULT])
    assert not missing
    assert agents.api.find(Ref(_OPERATOR, "ExternalSecret", _AWS)) is None
    assert agents.api.find(Ref(_OPERATOR, "SecretStore", names.VAULT)) is None
    assert agents.api.find(Ref("v1", "Secret", _AWS)) is None


def test_a_key_that_changes_in_vault_reaches_the_worker_by_its_agent(
    agents: ProductionSite,
) -> None:
    follow_vault(agents)


def test_a_run_reads_a_connections_credentials_from_vault_beside_the_agent(
    agents: ProductionSite,
) -> None:
    follow_lab(agents)


def test_a_check_tells_that_vault_does_not_let_the_agent_in(agents: ProductionSite) -> None:
    agents.vault.distrust()
    try:
        done = agents.bootstrap("--check")
    finally:
        agents.prepare_vault()
    assert done.returncode == 1
    assert "container vault-agent-init" in done.stderr
    assert "does not let its work begin" in done.stderr
    assert "invalid role name" in done.stderr
