"""HashiCorp Vault of the test cluster, in development mode: a mount and a role of a test's own."""

from typing import Any, Final

import httpx

from clinical_ai.adapters.kubernetes_api import KubernetesApi
from clinical_ai.ports_cluster import Ref

ADDRESS: Final = "http://vault.vault.svc.cluster.local:8200"  # for pods
_TOKEN: Final = "root"  # of development mode


class Vault:
    """One platform's part of it: everything is named by the platform's namespace."""

    def __init__(self, api: KubernetesApi, name: str) -> None:
        host = api.get(Ref("v1", "Service", "vault", "vault"))["spec"]["clusterIP"]
        self.name = name
        self._client = httpx.Client(
            base_url=f"http://{host}:8200/v1", headers={"X-Vault-Token": _TOKEN}, timeout=10
        )

    def trust(self, namespace: str, accounts: list[str]) -> None:
        """These ServiceAccounts may read the secret, after Kubernetes authentication."""
        mounts = self._client.get("/sys/auth").raise_for_status().json()
        if f"{self.name}/" not in mounts:
            self._write(f"sys/auth/{self.name}", type="kubernetes")
        self._write(
            f"auth/{self.name}/config", kubernetes_host="https://kubernetes.default.svc:443"
        )
        rule = f'path "secret/data/{self.name}/aws" {{ capabilities = ["read"] }}'
        self._write(f"sys/policies/acl/{self.name}", policy=rule)
        self._write(
            f"auth/{self.name}/role/{self.name}",
            bound_service_account_names=accounts,
            bound_service_account_namespaces=[namespace],
            audience="vault",
            token_policies=[self.name],
            token_ttl="5m",
        )

    def keep(self, **fields: str) -> None:
        """The secret has these fields."""
        self._write(f"secret/data/{self.name}/aws", data=fields)

    def distrust(self) -> None:
        """Nobody may log in any more."""
        self._client.delete(f"/auth/{self.name}/role/{self.name}").raise_for_status()

    def forget(self) -> None:
        """All of it is gone."""
        for path in (
            f"sys/auth/{self.name}",
            f"sys/policies/acl/{self.name}",
            f"secret/metadata/{self.name}/aws",
        ):
            self._client.delete(f"/{path}").raise_for_status()
        self._client.close()

    def _write(self, path: str, **body: Any) -> None:
        self._client.post(f"/{path}", json=body).raise_for_status()
