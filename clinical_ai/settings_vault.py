"""How credentials come from HashiCorp Vault into a cluster: AWS's, and those of connections."""

from typing import Literal

from pydantic import field_validator

from clinical_ai import names
from clinical_ai.frozen import Frozen
from clinical_ai.notation import Address
from clinical_ai.notation_kubernetes import Duration, FieldName, Image, Name, VaultPath


class VaultAccess(Frozen):
    """Where Vault is, and the role that may read it (Kubernetes authentication).

    `secret_path` and what follows are of AWS's credentials alone.
    """

    vault_address: Address
    vault_namespace: VaultPath | None = None
    auth_mount: VaultPath = "kubernetes"
    role: FieldName = names.PRODUCT
    # Vault refuses roles without an audience from 1.21 on.
    audience: FieldName = "vault"
    kv_mount: VaultPath = "secret"
    kv_version: Literal["v1", "v2"] = "v2"
    secret_path: VaultPath = f"{names.NAMESPACE}/aws"
    access_key_id_field: FieldName = "aws-access-key-id"
    secret_access_key_field: FieldName = "aws-secret-access-key"  # noqa: S105 - the name of one
    refresh_interval: Duration = "5m0s"


class ExternalSecrets(VaultAccess):
    """External Secrets Operator keeps the Secret `clinical-ai-aws-credentials` up to date."""

    kind: Literal["external-secrets"] = "external-secrets"
    service_account: Name = names.EXTERNAL_SECRETS

    @field_validator("service_account")
    @classmethod
    def _of_no_pod(cls, value: str) -> str:
        if value in {*names.PLATFORM_NAMES, "default"}:
            raise ValueError(
                f"is {value}, which pods have; give the one that is bound to role in Vault a name"
                " of its own, or leave it out"
            )
        return value


class VaultAgent(VaultAccess):
    """Vault's agent writes the credentials into the memory of the pods that need them."""

    kind: Literal["vault-agent"] = "vault-agent"
    image: Image = "hashicorp/vault:1.20"
