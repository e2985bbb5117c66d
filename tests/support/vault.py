"""HashiCorp Vault of the test cluster, in development mode: a mount and a role of a test's own."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal

import httpx

from clinical_ai.adapters.kubernetes_api import KubernetesApi
from clinical_ai.ports_cluster import Ref
from clinical_ai.settings_vault import VaultAccess
from tests.support.real_cluster import own_namespace

ADDRESS: Final = "http://vault.vault.svc.cluster.local:8200"  # for pods
_TOKEN: Final = "root"  # of development mode
Write = Callable[[Mapping[str, str]], None]


class Vault:
    """One platform's part of it: everything is named by the platform's namespace."""

    def __init__(self, api: KubernetesApi, name: str) -> None:
        host = api.get(Ref("v1", "Service", "vault", "vault"))["spec"]["clusterIP"]
        self.name = name
        self.address = f"http://{host}:8200"
        self._client = httpx.Client(
            base_url=f"{self.address}/v1", headers={"X-Vault-Token": _TOKEN}, timeout=10
        )

    def trust(self, namespace: str, accounts: list[str]) -> None:
        """These ServiceAccounts may read its secrets, after Kubernetes authentication."""
        mounts = self._client.get("/sys/auth").raise_for_status().json()
        if f"{self.name}/" not in mounts:
            self._write(f"sys/auth/{self.name}", type="kubernetes")
        self._write(
            f"auth/{self.name}/config", kubernetes_host="https://kubernetes.default.svc:443"
        )
        places = (f"secret/data/{self.name}/*", f"{self.name}/*")
        rule = "\n".join(f'path "{place}" {{ capabilities = ["read"] }}' for place in places)
        self._write(f"sys/policies/acl/{self.name}", policy=rule)
        self._write(
            f"auth/{self.name}/role/{self.name}",
            bound_service_account_names=accounts,
            bound_service_account_namespaces=[namespace],
            audience="vault",
            token_policies=[self.name],
            token_ttl="5m",
        )

    def keep(self, what: str, fields: Mapping[str, str]) -> None:
        """The secret of this name has these fields."""
        self._write(f"secret/data/{self.name}/{what}", data=dict(fields))

    def keep_plainly(self, what: str, fields: Mapping[str, str]) -> None:
        """The same in a mount of its own, without versions."""
        if f"{self.name}/" not in self._client.get("/sys/mounts").raise_for_status().json():
            self._write(f"sys/mounts/{self.name}", type="kv", options={"version": "1"})
        self._write(f"{self.name}/{what}", **fields)

    def distrust(self) -> None:
        """Nobody may log in any more."""
        self._client.delete(f"/auth/{self.name}/role/{self.name}").raise_for_status()

    def forget(self) -> None:
        """All of it is gone."""
        listed = self._client.request("LIST", f"/secret/metadata/{self.name}")
        kept = listed.json()["data"]["keys"] if listed.is_success else []
        for path in (
            f"sys/auth/{self.name}",
            f"sys/policies/acl/{self.name}",
            f"sys/mounts/{self.name}",
            *(f"secret/metadata/{self.name}/{what}" for what in kept),
        ):
            self._client.delete(f"/{path}").raise_for_status()
        self._client.close()

    def _write(self, path: str, **body: Any) -> None:
        self._client.post(f"/{path}", json=body).raise_for_status()


@contextmanager
def own_part(
    folder: Path, version: Literal["v1", "v2"]
) -> Iterator[tuple[VaultAccess, Path, Write]]:
    """For an account of a new namespace: the file of its token, and what writes its secret."""
    with own_namespace() as api:
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "reader"}}
        api.create(account)
        place = f"/api/v1/namespaces/{api.namespace}/serviceaccounts/reader/token"
        asked = {"spec": {"audiences": ["vault"], "expirationSeconds": 600}}
        token = folder / "vault-token"
        token.write_text(api._connection.send("POST", place, body=asked).json()["status"]["token"])
        vault = Vault(api, api.namespace)
        try:
            vault.trust(api.namespace, ["reader"])
            yield _access(vault, version), token, _writing(vault, version)
        finally:
            vault.forget()


def _access(vault: Vault, version: Literal["v1", "v2"]) -> VaultAccess:
    mount, path = ("secret", f"{vault.name}/test") if version == "v2" else (vault.name, "test")
    return VaultAccess(
        vault_address=vault.address,
        auth_mount=vault.name,
        role=vault.name,
        kv_mount=mount,
        kv_version=version,
        secret_path=path,
    )


def _writing(vault: Vault, version: Literal["v1", "v2"]) -> Write:
    keep = vault.keep if version == "v2" else vault.keep_plainly
    return lambda fields: keep("test", fields)
