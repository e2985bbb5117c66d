"""Which Secrets the platform needs, how they come to be, and how pods read them.

Settings name Secrets by `secret:NAME/KEY`. Runs read them below one folder, as NAME/KEY, so that a
rotated value arrives without a restart and no permission to read Secrets is needed.
"""

import re
from collections.abc import Iterable
from typing import Any

from clinical_ai import names
from clinical_ai.manifests.kubernetes.metadata import Manifest, cluster_of, made
from clinical_ai.secret_references import LABEL, LONGEST_LABEL, parts, told_apart
from clinical_ai.settings import Production, Settings
from clinical_ai.settings_vault import ExternalSecrets, VaultAccess, VaultAgent


def known(settings: Settings) -> dict[str, set[str]]:
    """Keys by Secret that pods refer to; the values are made by bootstrap or by the operator."""
    references = [
        *(names.DATABASE_URL, names.PREFECT_DATABASE_URL, names.ENCRYPTION_KEY, names.API_AUTH),
        *storage(settings),
        *connections(settings),
        *_extra(settings),
    ]
    if agent(settings):
        references = [each for each in references if each not in storage(settings)]
    found: dict[str, set[str]] = {}
    for name, key in map(parts, references):
        found.setdefault(name, set()).add(key)
    return found


def storage(settings: Settings) -> list[str]:
    """References to the keys of the object store."""
    named = (
        [settings.aws_access_key_id, settings.aws_secret_access_key]
        if isinstance(settings, Production)
        else [settings.minio_access_key, settings.minio_secret_key]
    )
    return _secrets(named)


def connections(settings: Settings) -> list[str]:
    """References of connections, each once."""
    return _secrets(each.credentials for each in settings.connections.values())


def mounted(
    settings: Settings, *more: str, heals: bool = False
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Volumes and mounts of what runs read, and of `more` references.

    A connection's Secret may be absent: that is the fault of the runs that name it, not of all. So
    may, to runs that heal, the one that goes with its ExternalSecret: they have to start to make
    that anew.
    """
    kept = [] if agent(settings) else storage(settings)
    late = kept if heals and external(settings) else []
    needed = [names.DATABASE_URL, *more, *(each for each in kept if each not in late)]
    optional = [each for each in (*late, *connections(settings)) if each not in needed]
    required = {parts(each)[0] for each in needed}
    keys: dict[str, list[str]] = {}
    for name, key in map(parts, [*needed, *optional]):
        if key not in keys.setdefault(name, []):
            keys[name].append(key)
    volumes = [_volume(name, keys[name], optional=name not in required) for name in keys]
    return volumes, [
        {"name": _of(name), "mountPath": f"{names.SECRETS_FOLDER}/{name}", "readOnly": True}
        for name in keys
    ]


def agent(settings: Settings) -> VaultAgent | None:
    """The Vault Agent, when pods get the storage's credentials from it."""
    chosen = cluster_of(settings).vault
    return chosen if isinstance(chosen, VaultAgent) else None


def external(settings: Settings) -> ExternalSecrets | None:
    """External Secrets, when they keep the Secret of the storage's credentials."""
    chosen = cluster_of(settings).vault
    return chosen if isinstance(chosen, ExternalSecrets) else None


def asked_by_runs(settings: Settings) -> VaultAccess | None:
    """The Vault that runs ask for credentials of connections; None when no connection names it."""
    named = [each.credentials or "" for each in settings.connections.values()]
    return cluster_of(settings).vault if any(each.startswith("vault:") for each in named) else None


def external_secrets(settings: Settings) -> list[Manifest]:
    """SecretStore and ExternalSecret, or nothing."""
    chosen = external(settings)
    return [_store(settings, chosen), _aws_secret(settings, chosen)] if chosen else []


def _store(settings: Settings, chosen: ExternalSecrets) -> Manifest:
    account = {"name": chosen.service_account, "audiences": [chosen.audience]}
    vault: dict[str, Any] = {
        "server": chosen.vault_address,
        "path": chosen.kv_mount,
        "version": chosen.kv_version,
        "auth": {
            "kubernetes": {
                "mountPath": chosen.auth_mount,
                "role": chosen.role,
                "serviceAccountRef": account,
            }
        },
    }
    if chosen.vault_namespace:
        vault["namespace"] = chosen.vault_namespace
    trust = cluster_of(settings).ca_config_map
    if trust and settings.ca_bundle and settings.ca_bundle.startswith(f"{names.TRUST_FOLDER}/"):
        key = settings.ca_bundle.removeprefix(f"{names.TRUST_FOLDER}/")
        vault["caProvider"] = {"type": "ConfigMap", "name": trust, "key": key}
    body = {"spec": {"provider": {"vault": vault}}}
    return made("external-secrets.io/v1/SecretStore", names.VAULT, settings, body)


def _aws_secret(settings: Settings, chosen: ExternalSecrets) -> Manifest:
    fields = (chosen.access_key_id_field, chosen.secret_access_key_field)
    targets = [parts(reference) for reference in storage(settings)]
    name = targets[0][0]
    spec = {
        "refreshInterval": chosen.refresh_interval,
        "secretStoreRef": {"kind": "SecretStore", "name": names.VAULT},
        "target": {"name": name, "creationPolicy": "Owner", "deletionPolicy": "Retain"},
        "data": [
            {"secretKey": key, "remoteRef": {"key": chosen.secret_path, "property": field}}
            for (_, key), field in zip(targets, fields, strict=True)
        ],
    }
    return made("external-secrets.io/v1/ExternalSecret", name, settings, {"spec": spec})


def _extra(settings: Settings) -> list[str]:
    components = cluster_of(settings).components
    return _secrets(
        value
        for name in type(components).model_fields
        for value in getattr(components, name).environment.values()
    )


def _secrets(references: Iterable[str | None]) -> list[str]:
    """Those that a cluster can read, each once."""
    return list(dict.fromkeys(each for each in references if each and each[:7] == "secret:"))


def _volume(name: str, keys: list[str], *, optional: bool) -> dict[str, Any]:
    items = [{"key": key, "path": key} for key in keys]
    # 0440: owned by root, readable for the group that the pod's files belong to.
    source: dict[str, Any] = {"secretName": name, "defaultMode": 0o440}
    # An absent key of a Secret that has to exist stops the pod, an absent connection doesn't.
    source |= {"optional": True} if optional else {"items": items}
    return {"name": _of(name), "secret": source}


def _of(name: str) -> str:
    """The volume of that Secret: a label, while a Secret's name may be longer and have dots."""
    volume = f"secret-{name}"
    return volume if re.fullmatch(LABEL, volume) else told_apart(volume, name, LONGEST_LABEL)
