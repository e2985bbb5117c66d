"""The Job that looks at the database and the storage from inside the cluster."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from clinical_ai import names
from clinical_ai.manifests.kubernetes import credentials, environment, pods, pools, vault_agent
from clinical_ai.manifests.kubernetes.metadata import Manifest, made
from clinical_ai.release import Release
from clinical_ai.secret_references import LONGEST, parts, told_apart
from clinical_ai.settings import Settings, dump

NO_STORAGE: Final = "--no-storage"
VAULT: Final = "--vault"
_SECONDS: Final = 300


@dataclass(frozen=True)
class StandIn:
    """What a check has in place of what only an installation makes.

    `lent`: references whose values are in the check's own Secret, of the Job's name. `storage` off:
    nobody has its credentials yet. `vault`: whether Vault serves is asked, as nobody logs in yet.
    """

    account: str = names.PLATFORM_JOB
    lent: frozenset[str] = frozenset()
    storage: bool = True
    vault: bool = False

    @property
    def arguments(self) -> list[str]:
        """Of the program in the pod."""
        return [*([] if self.storage else [NO_STORAGE]), *([VAULT] if self.vault else [])]


def pod_check(
    settings: Settings,
    release: Release,
    instead: StandIn = StandIn(),
    name: str = names.POD_CHECK,
) -> Manifest:
    """A pod like one of the platform's own runs, without rights in the cluster."""
    template = pods.template(settings, release, _work(settings, release, instead, name))
    template["spec"] |= {"restartPolicy": "Never", "serviceAccountName": instead.account}
    for each in template["spec"]["containers"][0]["env"]:
        # An operator's addition, which may name a password that only `up` makes.
        if chosen := each.get("valueFrom", {}).get("secretKeyRef"):
            chosen["optional"] = True
    body = {
        "backoffLimit": 0,
        "activeDeadlineSeconds": _SECONDS,
        "ttlSecondsAfterFinished": _SECONDS,
        "template": template,
    }
    return made("batch/v1/Job", name, settings, {"spec": body}, of=names.PLATFORM_JOB)


def reads(settings: Settings) -> list[str]:
    """References that the pod reads from Secrets, beside the key of blocks that are there."""
    return [names.DATABASE_URL, names.PREFECT_DATABASE_URL, *_of_storage(settings)]


def asks_vault(settings: Settings) -> bool:
    """Whether pods do, once there is a platform: for the storage, or for connections."""
    return bool(credentials.agent(settings) or credentials.asked_by_runs(settings))


def lent_secret(job: Manifest, values: Mapping[str, str]) -> Manifest:
    """The check's own Secret: it goes with the Job. `values`: in base64, by reference."""
    owner = {key: job[key] for key in ("apiVersion", "kind")}
    owner |= {key: job["metadata"][key] for key in ("name", "uid")}
    metadata = {
        "name": job["metadata"]["name"],
        "namespace": job["metadata"]["namespace"],
        # Not those of the platform's Secrets, which uninstall asks about.
        "labels": {"app": names.POD_CHECK},
        "ownerReferences": [owner],
    }
    data = {_lent_key(reference): value for reference, value in values.items()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data}


def _work(settings: Settings, release: Release, instead: StandIn, name: str) -> pods.Work:
    settings_text = json.dumps(dump(settings), sort_keys=True)  # references, never a secret
    settings_text = settings_text.replace("$", "\\u0024")  # or the kubelet replaces $(NAME)
    given = {names.SECRETS_VARIABLE: names.SECRETS_FOLDER, names.SETTINGS_VARIABLE: settings_text}
    container = {
        "name": "check",
        "command": ["python", "-m", "clinical_ai.pod_check"],
        **({"args": instead.arguments} if instead.arguments else {}),
        "env": [*environment.python(settings), *environment.plain(given)],
    }
    parts_of_pod = [_secrets(settings, instead, name)]
    if instead.storage:
        parts_of_pod.append(vault_agent.containers(settings, sidecar=False))
    return replace(
        pools.work(settings, release),
        container=container,
        parts=pods.joined(parts_of_pod),
        api_access=False,
        scratch="100Mi",
    )


def _of_storage(settings: Settings) -> list[str]:
    """Vault's agent renders them into the pod's memory, past all Secrets."""
    return [] if credentials.agent(settings) else credentials.storage(settings)


def _secrets(settings: Settings, instead: StandIn, name: str) -> pods.Parts:
    """A folder for each Secret; a file in it may come from the check's own."""
    wanted = reads(settings)
    if not instead.storage:
        wanted = [each for each in wanted if each not in _of_storage(settings)]
    sources: dict[str, list[dict[str, Any]]] = {}
    for each in wanted:
        secret, key = parts(each)
        lent = each in instead.lent
        item = {"key": _lent_key(each) if lent else key, "path": key}
        source = {"name": name if lent else secret, "items": [item]}
        sources.setdefault(secret, []).append({"secret": source})
    secret, key = parts(names.ENCRYPTION_KEY)
    known = {"name": secret, "items": [{"key": key, "path": key}], "optional": True}  # made by `up`
    sources.setdefault(secret, []).append({"secret": known})
    return pods.Parts(
        mounts=[
            {"name": f"secret-{number}", "mountPath": _folder(secret), "readOnly": True}
            for number, secret in enumerate(sources)
        ],
        volumes=[
            {"name": f"secret-{number}", "projected": {"defaultMode": 0o440, "sources": each}}
            for number, each in enumerate(sources.values())
        ],
    )


def _folder(secret: str) -> str:
    return f"{names.SECRETS_FOLDER}/{secret}"


def _lent_key(reference: str) -> str:
    """No Secret's name has an underscore, so two references never share a key."""
    key = "_".join(parts(reference))
    return key if len(key) <= LONGEST else told_apart(key, key, LONGEST)
