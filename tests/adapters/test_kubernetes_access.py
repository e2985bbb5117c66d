"""Where the API server is and who we are: as kubectl reads it, and nothing of it in an error."""

import base64
import json
import logging
import ssl
import subprocess
import sys
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from clinical_ai.adapters.kubernetes_access import Access, load_access
from clinical_ai.errors import NeedsOperator
from tests.support.certificates import Authority

CANARY = "hunter2canary"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


def write(folder: Path, user: Mapping[str, Any], name: str = "config", **cluster: Any) -> Path:
    """A kubeconfig with one context."""
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": name,
        "contexts": [
            {"name": name, "context": {"cluster": name, "user": name, "namespace": "place"}}
        ],
        "clusters": [{"name": name, "cluster": {"server": "https://api.test:6443", **cluster}}],
        "users": [{"name": name, "user": dict(user)}],
    }
    path = folder / name
    path.write_text(yaml.safe_dump(content))
    return path


def load(path: Path | str, **environ: str) -> Access:
    return load_access({"PATH": "/usr/bin:/bin", "KUBECONFIG": str(path), **environ})


def encoded(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def test_a_token_a_namespace_and_an_authority_are_read(
    tmp_path: Path, authority: Authority
) -> None:
    data = {"certificate-authority-data": encoded(authority.certificate)}
    access = load(write(tmp_path, {"token": "abc"}, **data))
    assert (access.host, access.namespace) == ("https://api.test:6443", "place")
    assert access.authorization() == "Bearer abc"
    assert access.who == "context config"
    assert access.trust.verify_mode is ssl.CERT_REQUIRED
    assert access.trust.check_hostname
    assert len(access.trust.get_ca_certs()) == 1


def test_paths_are_relative_to_the_file_and_a_token_file_may_end_in_a_newline(
    tmp_path: Path, authority: Authority
) -> None:
    (tmp_path / "token").write_text("abc\n")
    (tmp_path / "ca.crt").write_bytes(authority.certificate.read_bytes())
    path = write(tmp_path, {"tokenFile": "token"}, **{"certificate-authority": "ca.crt"})
    assert load(path).authorization() == "Bearer abc"
    (tmp_path / "token").write_text("new")
    assert load(path).authorization() == "Bearer new"


def test_a_client_certificate_is_used(tmp_path: Path, authority: Authority) -> None:
    certificate, key = authority.issue("somebody")
    user = {"client-certificate-data": encoded(certificate), "client-key-data": encoded(key)}
    assert load(write(tmp_path, user)).authorization() == ""
    wrong = {**user, "client-key-data": encoded(authority.issue("other")[1])}
    with pytest.raises(NeedsOperator, match=r"can't be read \(SSLError\)"):
        load(write(tmp_path, wrong))


def test_another_context_and_several_files_are_chosen_from(tmp_path: Path) -> None:
    one = write(tmp_path, {"token": "1"}, "one")
    two = write(
        tmp_path, {"token": "2"}, "two", **{"tls-server-name": "api", "proxy-url": "http://p:1"}
    )
    both = f"{one}:{two}:{tmp_path / 'absent'}"
    access = load_access({}, kubeconfig=both, context="two")
    assert (access.authorization(), access.server_name) == ("Bearer 2", "api")
    assert access.proxy == "http://p:1"


def test_no_current_context_is_told_with_those_that_can_be_named(tmp_path: Path) -> None:
    path = write(tmp_path, {"token": "1"}, "one")
    path.write_text(path.read_text().replace("current-context: one\n", ""))
    with pytest.raises(NeedsOperator, match=r"has no current context\. name one .*: one\."):
        load(path)
    assert load_access({}, kubeconfig=str(path), context="one").who == "context one"


def test_a_login_program_that_is_not_there_is_told_by_its_name(tmp_path: Path) -> None:
    user = {"exec": {"command": "no-such-login", "apiVersion": "client.authentication.k8s.io/v1"}}
    with pytest.raises(NeedsOperator, match="needs no-such-login, which is not there"):
        load(write(tmp_path, user))


def test_an_absent_kubeconfig_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(NeedsOperator, match=r"there is no kubeconfig at .*absent"):
        load(tmp_path / "absent")
    assert caplog.records == []


def test_a_context_that_is_not_there_is_told_with_those_that_are(tmp_path: Path) -> None:
    both = f"{write(tmp_path, {'token': '1'}, 'one')}:{write(tmp_path, {'token': '2'}, 'two')}"
    with pytest.raises(NeedsOperator, match=r"has no context 'three'\. known are: one, two\."):
        load_access({}, kubeconfig=both, context="three")
    with pytest.raises(NeedsOperator, match=r"has no context 'twoo'\. did you mean 'two'\?"):
        load_access({}, kubeconfig=both, context="twoo")


def test_the_environment_s_proxy_is_used_unless_the_file_names_one(tmp_path: Path) -> None:
    path = write(tmp_path, {"token": "1"})
    assert load(path, HTTPS_PROXY="http://p:1").proxy == "http://p:1"
    assert load(path, HTTPS_PROXY="http://p:1", NO_PROXY=".test").proxy is None


def plugin(folder: Path, code: str, **more: Any) -> dict[str, Any]:
    script = folder / "login.py"
    script.write_text(f"import json, os, sys\n{code}\n")
    version = "client.authentication.k8s.io/v1"
    command = {"command": sys.executable, "args": [str(script)], "apiVersion": version}
    return {"exec": {**command, **more}}


def test_a_login_program_gives_the_token(tmp_path: Path) -> None:
    code = (
        "told = json.loads(os.environ['KUBERNETES_EXEC_INFO'])\n"
        "status = {'token': os.environ['WHO']}\n"
        "print(json.dumps({**told, 'status': status}))"
    )
    user = plugin(tmp_path, code, env=[{"name": "WHO", "value": "ann"}])
    assert load(write(tmp_path, user)).authorization() == "Bearer ann"


def test_it_is_read_inside_a_running_event_loop_too(tmp_path: Path) -> None:
    import asyncio

    path = write(tmp_path, {"token": "1"})

    async def inside() -> str:
        return load(path).authorization()

    assert asyncio.run(inside()) == "Bearer 1"


def test_a_login_program_that_fails_says_why_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    user = plugin(tmp_path, "sys.exit('the session has expired, run aws sso login')")
    with pytest.raises(NeedsOperator, match="the session has expired, run aws sso login"):
        load(write(tmp_path, user))
    assert caplog.records == []


@pytest.mark.parametrize("output", [f"print('{CANARY}')", "print(json.dumps({'a': 1}))"])
def test_what_a_login_program_printed_is_not_repeated(
    tmp_path: Path, output: str, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(NeedsOperator) as refused:
        load(write(tmp_path, plugin(tmp_path, output)))
    assert CANARY not in "".join(traceback.format_exception(refused.value))
    assert caplog.records == []


def id_token(expires: float) -> str:
    parts = [{"alg": "none"}, {"exp": expires}, {}]
    return ".".join(
        base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts
    )


def test_an_identity_provider_is_never_asked_without_looking_at_its_certificate(
    tmp_path: Path,
) -> None:
    config = {"client-id": "c", "client-secret": "s", "idp-issuer-url": "https://127.0.0.1:9"}
    now = datetime.now(UTC).timestamp()
    for expires in (now + 3600, now - 3600):
        told = {**config, "id-token": id_token(expires), "refresh-token": CANARY}
        path = write(tmp_path, {"auth-provider": {"name": "oidc", "config": told}})
        if expires > now:
            assert load(path).authorization() == f"Bearer {told['id-token']}"
            continue
        with pytest.raises(NeedsOperator, match="expired; any kubectl command renews it"):
            load(path)
        assert CANARY in path.read_text()


def test_acting_as_somebody_else_is_refused_rather_than_forgotten(tmp_path: Path) -> None:
    with pytest.raises(NeedsOperator, match="acts as somebody else"):
        load(write(tmp_path, {"token": "1", "as": "admin"}))


def test_a_check_that_is_switched_off_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path, {"token": "1"}, **{"insecure-skip-tls-verify": True})
    with caplog.at_level(logging.WARNING):
        assert load(path).trust.verify_mode is ssl.CERT_NONE
    assert "insecure-skip-tls-verify" in caplog.text


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "just text",
        "a: [",
        f"current-context: a\ncontexts: [{{name: a, context: {{cluster: b, user: {CANARY}}}}}]",
        f"current-context: a\nusers: [{{nme: a, user: {{token: {CANARY}}}}}]",
        f"users:\n- name: a\n  user:\n    token: {CANARY}\n   x: [",
    ],
)
def test_what_is_no_kubeconfig_is_told_and_not_repeated(tmp_path: Path, content: str) -> None:
    path = tmp_path / "config"
    path.write_text(content)
    with pytest.raises(NeedsOperator, match=f"kubeconfig {path}") as refused:
        load(path)
    told = "".join(traceback.format_exception(refused.value))
    assert CANARY not in told


def test_without_any_cluster_it_says_what_to_set(tmp_path: Path) -> None:
    with pytest.raises(NeedsOperator, match="set KUBECONFIG"):
        load_access({"HOME": str(tmp_path)}, pod=tmp_path / "none")
    with pytest.raises(NeedsOperator, match=f"no kubeconfig at {tmp_path}/none"):
        load(tmp_path / "none")


def pod(folder: Path, authority: Authority) -> dict[str, str]:
    (folder / "ca.crt").write_bytes(authority.certificate.read_bytes())
    (folder / "token").write_text("first\n")
    (folder / "namespace").write_text("place\n")
    return {
        "KUBERNETES_SERVICE_HOST": "10.96.0.1",
        "KUBERNETES_SERVICE_PORT": "443",
        "HOME": "/nowhere",
    }


def test_a_pod_uses_its_account_and_reads_a_renewed_token(
    tmp_path: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    environ = pod(tmp_path, authority)
    access = load_access(environ, pod=tmp_path)
    assert (access.host, access.namespace) == ("https://10.96.0.1:443", "place")
    assert access.authorization() == "Bearer first"
    (tmp_path / "token").write_text("second")
    assert access.authorization() == "Bearer first"
    later = datetime(2100, 1, 1)  # noqa: DTZ001 - as the library counts

    class Later(datetime):
        @classmethod
        def now(cls, *_: Any) -> Any:
            return later

    monkeypatch.setattr("kubernetes_asyncio.config.incluster_config.datetime.datetime", Later)
    assert access.authorization() == "Bearer second"


def test_a_kubeconfig_that_is_named_goes_before_the_pod_s_account(
    tmp_path: Path, authority: Authority
) -> None:
    environ = pod(tmp_path, authority)
    named = write(tmp_path, {"token": "1"})
    assert load_access({**environ, "KUBECONFIG": str(named)}, pod=tmp_path).who == "context config"


def test_a_pod_without_a_certificate_is_told_where_to_look(
    tmp_path: Path, authority: Authority
) -> None:
    environ = pod(tmp_path, authority)
    (tmp_path / "ca.crt").unlink()
    with pytest.raises(NeedsOperator, match="automountServiceAccountToken"):
        load_access(environ, pod=tmp_path)


def test_opening_a_platform_imports_nothing_of_kubernetes() -> None:
    look = (
        "import sys, clinical_ai.wiring, clinical_ai.adapters.kubernetes_api, flows.tasks;"
        "sys.exit(any('kubernetes' in name.split('.')[0] for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", look], check=False).returncode == 0
