"""The token with which a pod logs in to Vault: of its account, and for nobody but Vault."""

from pathlib import PurePosixPath
from typing import Any, Final

from clinical_ai import names
from clinical_ai.manifests.kubernetes import credentials
from clinical_ai.manifests.kubernetes.pods import Parts
from clinical_ai.settings import Settings
from clinical_ai.settings_vault import VaultAccess

_NAME: Final = "vault-token"
_FILE: Final = PurePosixPath(names.VAULT_TOKEN)
MOUNT: Final = {"name": _NAME, "mountPath": str(_FILE.parent), "readOnly": True}


def volume(access: VaultAccess) -> dict[str, Any]:
    """The kubelet renews it; no other audience takes it, the cluster's API neither."""
    token = {"audience": access.audience, "expirationSeconds": 3600, "path": _FILE.name}
    projected = {"defaultMode": 0o440, "sources": [{"serviceAccountToken": token}]}
    return {"name": _NAME, "projected": projected}


def of_runs(settings: Settings) -> Parts:
    """What the clinical worker gets when its runs read credentials of connections from Vault."""
    access = credentials.asked_by_runs(settings)
    if access is None:
        return Parts()
    # Vault's agent brings the volume along.
    volumes = [] if credentials.agent(settings) else [volume(access)]
    return Parts(mounts=[MOUNT], volumes=volumes)
