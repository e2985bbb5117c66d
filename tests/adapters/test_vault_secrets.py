"""Vault as runs of a pod ask it: logins, refusals, outages, and what no error may hold."""

import logging
import pickle
import socket
import ssl
import subprocess
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from urllib3.util import create_urllib3_context

from clinical_ai import names
from clinical_ai.adapters.vault_secrets import VaultSecrets
from clinical_ai.errors import NeedsOperator, PlatformError, Transient
from clinical_ai.settings_vault import VaultAccess
from tests.support.certificates import Authority
from tests.support.vault_server import JWT, TOKEN, Given, VaultTestServer

CANARY: Final = "hunter2-canary"
REFERENCE: Final = "vault:secret/clinical-ai/lab#token"
DENIED: Final = {"errors": [f"permission denied for {CANARY}"]}


@pytest.fixture
def lab(vault: VaultTestServer) -> VaultTestServer:
    """With a token for a laboratory in it."""
    vault.keep("secret/clinical-ai/lab", token=CANARY)
    return vault


def store_of(vault: VaultTestServer, token: Path, **more: Any) -> VaultSecrets:
    access = {key: more.pop(key) for key in VaultAccess.model_fields if key in more}
    return VaultSecrets(VaultAccess(vault_address=vault.address, **access), token, **more)


def value_of(store: VaultSecrets, reference: str = REFERENCE) -> str:
    return store.get(reference).get_secret_value()


def everything_in(error: BaseException | None) -> Iterator[str]:
    """What an error, and whatever it leads back to, holds and shows."""
    while error is not None:
        yield "".join(traceback.format_exception(error))
        yield f"{error!r} {vars(error)}"
        error = error.__cause__ or error.__context__


def refused(store: VaultSecrets, kind: type[PlatformError]) -> PlatformError:
    """The error of a read, which holds no secret."""
    with pytest.raises(kind) as met:
        store.get(REFERENCE)
    told = " ".join(everything_in(met.value))
    assert not [secret for secret in (CANARY, JWT, TOKEN) if secret in told], told
    # What requests raises holds the request: no text shows the token in it, and it is there.
    assert isinstance(met.value.__context__, FileNotFoundError | None)
    assert str(pickle.loads(pickle.dumps(met.value))) == str(met.value)  # noqa: S301 - our own
    return met.value


class Time:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


# Logging in.


def test_one_login_is_good_for_its_lease_and_no_longer(
    lab: VaultTestServer, pod_token: Path
) -> None:
    clock = Time()
    store = store_of(lab, pod_token, clock=clock)
    for _ in range(3):
        assert value_of(store) == CANARY
    clock.now += lab.lease - 1
    value_of(store)
    assert lab.logins == 1
    clock.now += 1
    value_of(store)
    assert lab.logins == 2
    assert {it.token for it in lab.asked if it.method == "POST"} == {None}


def test_each_login_reads_the_pods_token_anew(lab: VaultTestServer, pod_token: Path) -> None:
    clock = Time()
    store = store_of(lab, pod_token, clock=clock)
    value_of(store)
    lab.jwts = {"renewed"}
    pod_token.write_text("renewed\n")
    clock.now += lab.lease
    assert value_of(store) == CANARY


def test_a_token_that_vault_takes_no_more_is_followed_by_one_login(
    lab: VaultTestServer, pod_token: Path
) -> None:
    store = store_of(lab, pod_token)
    value_of(store)
    lab.tokens.clear()
    assert value_of(store) == CANARY
    assert lab.logins == 2


def test_what_the_role_may_not_read_is_told_with_the_policy_that_it_lacks(
    lab: VaultTestServer, pod_token: Path
) -> None:
    path = "secret/data/clinical-ai/lab"
    lab.forbidden.add(path)
    told = refused(store_of(lab, pod_token), NeedsOperator)
    assert f"does not let the role clinical-ai-prefect read {path}" in str(told)
    assert f'path "{path}" {{ capabilities = ["read"] }}' in str(told)
    assert lab.logins == 2


@pytest.mark.parametrize("role", ["clinical-ai-prefect", "another"])
def test_whom_vault_does_not_let_in_is_told_role_and_mount(
    lab: VaultTestServer, pod_token: Path, role: str
) -> None:
    lab.jwts.clear()
    told = refused(store_of(lab, pod_token, role=role), NeedsOperator)
    assert f"with the role {role} at auth/kubernetes: HTTP 40" in str(told)
    assert f"bind the ServiceAccount {names.WORKER}" in str(told)
    assert "with the audience vault" in str(told)


def test_a_pod_without_a_token_for_vault_tells_who_gives_it_one(
    lab: VaultTestServer, tmp_path: Path
) -> None:
    told = refused(store_of(lab, tmp_path / "none"), NeedsOperator)
    assert "this pod has no token for Vault" in str(told)
    assert "run deploy/self" in str(told)
    assert lab.asked == []


def test_the_pods_token_goes_to_the_login_and_vaults_to_the_rest(
    lab: VaultTestServer, pod_token: Path
) -> None:
    value_of(store_of(lab, pod_token, vault_namespace="clinical"))
    assert [(it.method, it.path, it.token) for it in lab.asked] == [
        ("POST", "/v1/auth/kubernetes/login", None),
        ("GET", "/v1/secret/data/clinical-ai/lab", f"{TOKEN}-1"),
    ]
    assert {it.namespace for it in lab.asked} == {"clinical"}


def test_nothing_of_the_environment_is_taken_for_vault(
    lab: VaultTestServer, pod_token: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".vault-token").write_text("theirs")
    (tmp_path / ".netrc").write_text(f"machine 127.0.0.1 login a password {CANARY}\n")
    for name, value in {
        "HOME": str(tmp_path),
        "VAULT_TOKEN": "theirs",
        "VAULT_ADDR": "http://nowhere.invalid",
        "VAULT_NAMESPACE": "theirs",
        "HTTP_PROXY": "http://127.0.0.1:9",
        "REQUESTS_CA_BUNDLE": "/nowhere.pem",
    }.items():
        monkeypatch.setenv(name, value)
    assert value_of(store_of(lab, pod_token)) == CANARY
    assert {(it.token, it.namespace) for it in lab.asked} == {(None, None), (f"{TOKEN}-1", None)}


# Reading.


def test_a_mount_is_the_first_part_but_for_the_one_of_the_settings(
    vault: VaultTestServer, pod_token: Path
) -> None:
    store = store_of(vault, pod_token, kv_mount="team/kv")
    for reference, path in {
        "vault:team/kv/a/b#c": "team/kv/data/a/b",
        "vault:team/kvx/a#c": "team/data/kvx/a",
        "vault:kv/a/b#c": "kv/data/a/b",
    }.items():
        assert store.find(reference) is None
        assert vault.asked[-1].path == f"/v1/{path}"


def test_what_is_absent_is_told_with_the_place_where_it_belongs(
    lab: VaultTestServer, pod_token: Path
) -> None:
    with pytest.raises(NeedsOperator) as met:
        store_of(lab, pod_token).get("vault:secret/clinical-ai/lab#key")
    assert met.value.problem == "vault:secret/clinical-ai/lab#key is not there"
    assert met.value.remedy.startswith(
        "give the secret clinical-ai/lab in Vault's mount secret the field key"
    )
    assert "of kv-version v2" in met.value.remedy


@pytest.mark.parametrize("value", ["", "\n", f"{CANARY}\0", f"{CANARY}\ud800", 7, {"a": CANARY}])
def test_what_is_no_text_is_no_credential(
    lab: VaultTestServer, pod_token: Path, value: object
) -> None:
    lab.keep("secret/clinical-ai/lab", token=value)
    told = refused(store_of(lab, pod_token), NeedsOperator)
    assert f"{REFERENCE} is empty or holds no text" in str(told)


def test_a_field_without_a_value_is_absent(lab: VaultTestServer, pod_token: Path) -> None:
    lab.keep("secret/clinical-ai/lab", token=None)
    assert store_of(lab, pod_token).find(REFERENCE) is None


# Outages, and what is not Vault.


@pytest.mark.parametrize("status", [412, 429, 500, 502, 503])
@pytest.mark.parametrize("during", ["login", "read"])
def test_an_outage_may_heal(
    lab: VaultTestServer, pod_token: Path, status: int, during: str
) -> None:
    store = store_of(lab, pod_token)
    if during == "read":
        value_of(store)
    lab.answers = [Given(status, DENIED)]
    told = refused(store, Transient)
    assert f"Vault at {lab.address} answers HTTP {status}" in str(told)
    assert ("sealed" in str(told)) == (status == 503)
    assert value_of(store) == CANARY


def test_nobody_who_listens_may_heal(pod_token: Path) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # and nobody listens
        address = f"http://127.0.0.1:{bound.getsockname()[1]}"
        told = refused(VaultSecrets(VaultAccess(vault_address=address), pod_token), Transient)
    assert str(told) == f"no answer from Vault at {address}: ConnectionError"


@pytest.mark.parametrize(
    "body",
    [
        *(f"<p>{CANARY}</p>", [CANARY], {"auth": None}, {"auth": {"client_token": CANARY}}),
        {"auth": {"client_token": 7, "lease_duration": 60}},
    ],
)
def test_what_answers_a_login_otherwise_is_not_vault(
    lab: VaultTestServer, pod_token: Path, body: object
) -> None:
    lab.answers = [Given(200, body)]
    told = refused(store_of(lab, pod_token), NeedsOperator)
    assert f"what answers as Vault at {lab.address} is not Vault" in str(told)


@pytest.mark.parametrize("body", [f"{{{CANARY}", {"data": [CANARY]}, {"data": {"data": CANARY}}])
def test_what_answers_a_read_otherwise_is_not_vault(
    lab: VaultTestServer, pod_token: Path, body: object
) -> None:
    store = store_of(lab, pod_token)
    value_of(store)
    lab.answers = [Given(200, body)]
    assert "is not Vault" in str(refused(store, NeedsOperator))


@pytest.mark.parametrize("during", ["login", "read"])
def test_no_redirect_is_followed_with_a_token(
    lab: VaultTestServer, pod_token: Path, during: str
) -> None:
    elsewhere = VaultTestServer()
    try:
        store = store_of(lab, pod_token)
        if during == "read":
            value_of(store)
        lab.answers = [Given(307, f"{elsewhere.address}/v1/secret/data/clinical-ai/lab")]
        assert "HTTP 307" in str(refused(store, NeedsOperator))
        assert elsewhere.asked == []
    finally:
        elsewhere.close()


def test_a_refusal_of_another_kind_names_the_path(lab: VaultTestServer, pod_token: Path) -> None:
    store = store_of(lab, pod_token, kv_version="v1")
    lab.versions["secret"] = "v1"
    value_of(store)
    lab.answers = [Given(405, DENIED)]
    told = refused(store, NeedsOperator)
    assert f"Vault at {lab.address} refuses secret/clinical-ai/lab: HTTP 405" in str(told)


# Whether it serves.


def test_a_vault_that_serves_tells_so_without_a_login_and_outside_any_namespace(
    vault: VaultTestServer, tmp_path: Path
) -> None:
    """Its root namespace alone answers; a standby serves, too."""
    store = store_of(vault, tmp_path / "no-token", vault_namespace="clinical")
    assert store.check_health() == f"{vault.address} answers, unsealed"
    assert [(it.token, it.namespace) for it in vault.asked] == [(None, None)]


@pytest.mark.parametrize(
    ("status", "told"),
    [(501, ", as when not initialised"), (503, ", as when sealed"), (472, ""), (404, "")],
)
def test_a_vault_that_does_not_serve_is_told_with_what_an_administrator_does(
    vault: VaultTestServer, pod_token: Path, status: int, told: str
) -> None:
    vault.answers = [Given(status, {"initialized": status != 501, "sealed": True})]
    with pytest.raises(NeedsOperator) as unready:
        store_of(vault, pod_token).check_health()
    assert unready.value.problem == f"Vault at {vault.address} answers HTTP {status}{told}"
    assert "vault operator unseal" in unready.value.remedy


@pytest.mark.parametrize("body", [f"<p>{CANARY}</p>", {"status": CANARY}, [CANARY]])
def test_what_answers_otherwise_to_the_question_is_not_vault(
    vault: VaultTestServer, pod_token: Path, body: object
) -> None:
    vault.answers = [Given(200, body)]
    with pytest.raises(NeedsOperator, match="is not Vault") as refusal:
        store_of(vault, pod_token).check_health()
    assert CANARY not in str(refusal.value)


# TLS and proxies.


@pytest.fixture
def by_tls(tmp_path: Path) -> Iterator[tuple[VaultTestServer, Path]]:
    """A server with a certificate, and that of its authority."""
    authority = Authority(tmp_path)
    server = VaultTestServer(authority.issue("vault"))
    server.keep("secret/clinical-ai/lab", token=CANARY)
    yield server, authority.certificate
    server.close()


def test_a_certificate_of_the_settings_bundle_is_trusted(
    by_tls: tuple[VaultTestServer, Path], pod_token: Path
) -> None:
    server, bundle = by_tls
    assert value_of(store_of(server, pod_token, ca_bundle=str(bundle))) == CANARY


def test_an_authority_that_keeps_older_rules_is_trusted_as_by_vaults_agent(
    by_tls: tuple[VaultTestServer, Path], pod_token: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python 3.13 asks for the newer ones where nobody says otherwise."""
    strict = create_urllib3_context(verify_flags=ssl.VERIFY_X509_STRICT)
    monkeypatch.setattr("urllib3.connection.create_urllib3_context", lambda *_, **__: strict)
    server, bundle = by_tls
    assert value_of(store_of(server, pod_token, ca_bundle=str(bundle))) == CANARY


def test_one_of_nobody_is_told_before_a_token_is_sent(
    by_tls: tuple[VaultTestServer, Path], pod_token: Path
) -> None:
    server, _ = by_tls
    told = refused(store_of(server, pod_token), NeedsOperator)
    assert f"the certificate of Vault at {server.address} is not trusted" in str(told)
    assert server.asked == []


def test_a_bundle_that_is_not_there_is_told(
    by_tls: tuple[VaultTestServer, Path], pod_token: Path
) -> None:
    told = refused(store_of(by_tls[0], pod_token, ca_bundle="/nowhere/ca.pem"), NeedsOperator)
    assert "ca-bundle /nowhere/ca.pem is not a file" in str(told)


def test_a_proxy_that_is_given_is_used(lab: VaultTestServer, pod_token: Path) -> None:
    access = VaultAccess(vault_address="http://vault.example.org:8200")
    assert value_of(VaultSecrets(access, pod_token, proxy=lab.address)) == CANARY
    assert {it.path.partition("/v1/")[0] for it in lab.asked} == {access.vault_address}


# What is left behind.


def test_no_log_and_no_text_of_the_store_has_a_secret(
    lab: VaultTestServer, pod_token: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = store_of(lab, pod_token)
    with caplog.at_level(logging.DEBUG):
        found = store.find(REFERENCE)
    told = f"{caplog.text} {store!r} {found!r} {store._client!r}"
    assert not [secret for secret in (CANARY, JWT, TOKEN) if secret in told]


def test_hvac_is_imported_by_the_first_question_alone() -> None:
    code = "import clinical_ai.adapters.vault_secrets, sys; print('hvac' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
