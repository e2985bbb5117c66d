"""Vault's agent: renders AWS credentials into the memory of a pod.

An init container has them there before the pod's work starts; a sidecar keeps them fresh. Jobs are
short and have the init container alone. Its configuration is an annotation of the pod, which needs
no other object: a run of deploy/self whose pod waited for one could not make it anew.
"""

import json
from typing import Any, Final

from clinical_ai import names
from clinical_ai.manifests.kubernetes import credentials, vault_token
from clinical_ai.manifests.kubernetes.metadata import cluster_of
from clinical_ai.manifests.kubernetes.pods import Parts, amounts, locked_down
from clinical_ai.secret_references import parts
from clinical_ai.settings import Settings
from clinical_ai.settings_vault import VaultAgent

_FOLDER: Final = "/etc/vault-agent"
_FILE: Final = "agent.json"
_AMOUNTS: Final = (("25m", "64Mi"), ("100m", "128Mi"))


def containers(settings: Settings, *, sidecar: bool) -> Parts:
    """What a pod gets that needs the credentials; nothing when they come as a Secret."""
    chosen = credentials.agent(settings)
    if chosen is None:
        return Parts()
    _, target = _targets(settings)
    rendered = {"name": "vault-credentials", "mountPath": f"{names.SECRETS_FOLDER}/{target}"}
    mounts: list[dict[str, Any]] = [
        {"name": "vault-agent", "mountPath": _FOLDER, "readOnly": True},
        vault_token.MOUNT,
        rendered,
        *_trust(settings),
    ]
    return Parts(
        annotations={names.AGENT_ANNOTATION: _text(settings, chosen)},
        first=[_container(settings, chosen, "vault-agent-init", ["-exit-after-auth"], mounts)],
        beside=[_container(settings, chosen, "vault-agent", [], mounts)] if sidecar else [],
        mounts=[rendered | {"readOnly": True}],
        volumes=_volumes(chosen),
    )


def _volumes(chosen: VaultAgent) -> list[dict[str, Any]]:
    """Its configuration, a token for Vault alone, and memory for what it renders."""
    told = {"fieldPath": f"metadata.annotations['{names.AGENT_ANNOTATION}']"}
    return [
        {
            "name": "vault-agent",
            "downwardAPI": {"items": [{"path": _FILE, "fieldRef": told}]},
        },
        vault_token.volume(chosen),
        {"name": "vault-credentials", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
    ]


def _container(
    settings: Settings,
    chosen: VaultAgent,
    name: str,
    options: list[str],
    mounts: list[dict[str, Any]],
) -> dict[str, Any]:
    return {
        "name": name,
        "image": chosen.image,
        "imagePullPolicy": cluster_of(settings).image_pull_policy,
        "command": ["vault", "agent", f"-config={_FOLDER}/{_FILE}", *options],
        "env": [{"name": "HOME", "value": "/"}],
        "resources": amounts(*_AMOUNTS),
        "securityContext": locked_down(),
        "volumeMounts": mounts,
    }


def _text(settings: Settings, chosen: VaultAgent) -> str:
    """As JSON, in which nothing looks like what Prefect fills in in a job template."""
    return json.dumps(_configuration(settings, chosen)).replace("{{", "{\\u007b")


def _configuration(settings: Settings, chosen: VaultAgent) -> dict[str, Any]:
    version, data = ("data/", ".Data.data") if chosen.kv_version == "v2" else ("", ".Data")
    path = f"{chosen.kv_mount}/{version}{chosen.secret_path}"
    fields = (chosen.access_key_id_field, chosen.secret_access_key_field)
    keys, folder = _targets(settings)
    vault = {"address": chosen.vault_address}
    if settings.ca_bundle:
        vault["ca_cert"] = settings.ca_bundle
    method: dict[str, Any] = {
        "type": "kubernetes",
        "mount_path": f"auth/{chosen.auth_mount}",
        "config": {"role": chosen.role, "token_path": names.VAULT_TOKEN},
    }
    if chosen.vault_namespace:
        method["namespace"] = chosen.vault_namespace
        vault["namespace"] = chosen.vault_namespace
    return {
        "vault": vault,
        # A list: Vault takes an object of nothing but objects for a block with a label.
        "auto_auth": {"method": [method]},
        "template_config": {
            "exit_on_retry_failure": True,
            "static_secret_render_interval": chosen.refresh_interval,
        },
        "template": [
            {
                "destination": f"{names.SECRETS_FOLDER}/{folder}/{key}",
                "contents": _contents(path, data, field),
                "perms": "0440",
                "error_on_missing_key": True,
            }
            for key, field in zip(keys, fields, strict=True)
        ],
    }


def _contents(path: str, data: str, field: str) -> str:
    """The field's value. A field that is not there fails, by a template that is not there either:

    `index` would render `<no value>`, which looks like a key.
    """
    absent = f'{{{{ template "no field {field} in {path}" }}}}'
    value = f'{{{{ with index {data} "{field}" }}}}{{{{ . }}}}{{{{ else }}}}{absent}{{{{ end }}}}'
    return f'{{{{ with secret "{path}" }}}}{value}{{{{ end }}}}'


def _targets(settings: Settings) -> tuple[list[str], str]:
    """Files, and the folder that a Secret of that name would be."""
    found = [parts(reference) for reference in credentials.storage(settings)]
    return [key for _, key in found], found[0][0]


def _trust(settings: Settings) -> list[dict[str, Any]]:
    if not cluster_of(settings).ca_config_map:
        return []
    return [{"name": "trust", "mountPath": names.TRUST_FOLDER, "readOnly": True}]
