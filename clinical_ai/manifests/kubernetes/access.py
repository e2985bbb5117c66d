"""ServiceAccounts and rights: exactly the verbs in use. Kept by bootstrap, read by deploy/self.

deploy/self holds no write verb on anything in this module, so it can't give itself more.
"""

from collections.abc import Collection, Iterable, Iterator
from typing import Any, Final

from clinical_ai import names
from clinical_ai.manifests.kubernetes import credentials, exposure
from clinical_ai.manifests.kubernetes.metadata import Manifest, cluster_of, labels, made
from clinical_ai.secret_references import parts
from clinical_ai.settings import Settings
from clinical_ai.settings_kubernetes import Ingress

Rule = dict[str, Any]

# Server-side apply is `patch`, and `create` for what is not there yet.
_KEEP: Final = ("get", "list", "create", "patch", "delete")
_KEEP_ONE: Final = ("get", "create", "patch", "delete")  # read by name: nobody lists the kind
_WATCH: Final = ("get", "list", "watch")
LEVEL: Final = "pod-security.kubernetes.io"
# What deploy/self keeps where settings ask for it, one object a kind. Rights follow its inventory
# for no other kind: it writes that itself.
_AT_CHOICE: Final = {
    "networking.k8s.io": {"Ingress": "ingresses"},
    "gateway.networking.k8s.io": {"HTTPRoute": "httproutes"},
    "external-secrets.io": {"SecretStore": "secretstores", "ExternalSecret": "externalsecrets"},
}


def namespace(settings: Settings) -> Manifest:
    """The namespace, when bootstrap makes it: only pods of the restricted level run in it."""
    name = cluster_of(settings).namespace
    levels = {f"{LEVEL}/{mode}": "restricted" for mode in ("enforce", "warn", "audit")}
    own = labels(settings, "namespace", names.KEPT_BY_BOOTSTRAP) | levels
    del own["app"]  # of pods
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": own}}


def accounts(settings: Settings) -> list[Manifest]:
    """One ServiceAccount for each kind of pod; a token is mounted only where a pod asks for it."""
    secrets = credentials.external(settings)
    own = [secrets.service_account] if secrets else []
    return [
        made(
            "v1/ServiceAccount",
            name,
            settings,
            {"automountServiceAccountToken": False},
            owner=names.KEPT_BY_BOOTSTRAP,
        )
        for name in (*names.PLATFORM_NAMES, *own)
    ]


def rights(settings: Settings, standing: Collection[str] = ()) -> list[Manifest]:
    """Roles, each with its binding.

    `standing`: kinds of which deploy/self has an object, though these settings may want none: it
    prunes that, or puts it back should the change not come up, and needs its rights for both.
    """
    return [
        *_granted(settings, names.PLATFORM_WORKER, _platform_worker()),
        *_granted(settings, names.PLATFORM_JOB, _platform_job(settings, standing)),
    ]


def _platform_worker() -> list[Rule]:
    """What prefect-kubernetes does: a Job a run, watched with its pods, deleted on cancellation."""
    return [
        _rule("batch", ["jobs"], [*_WATCH, "create", "delete"]),
        _rule("", ["pods"], _WATCH),
        _rule("", ["pods/log"], ["get"]),
        _rule("", ["events"], ["create"]),  # its observer tells there what it could not do
    ]


def _platform_job(settings: Settings, standing: Collection[str]) -> list[Rule]:
    """deploy/self, verify and their like: the platform's own objects, and reading the rest."""
    return [
        _rule("", ["configmaps"], _KEEP_ONE),
        _rule("", ["services"], _KEEP),
        _rule("apps", ["deployments"], _KEEP),
        _rule("batch", ["jobs"], ["get", "list", "create", "delete"]),
        _rule("policy", ["poddisruptionbudgets"], _KEEP),
        _rule("networking.k8s.io", ["networkpolicies"], _KEEP),
        *_at_choice(settings, standing),
        _rule("coordination.k8s.io", ["leases"], ["get", "create", "patch"]),
        _rule("apps", ["replicasets"], ["list"]),
        _rule("", ["pods", "events"], ["list"]),
        _rule("discovery.k8s.io", ["endpointslices"], ["list"]),
        _rule("", ["namespaces"], ["get"], names_of=[cluster_of(settings).namespace]),
        _rule("", ["serviceaccounts"], ["get"]),
        _rule("rbac.authorization.k8s.io", ["roles", "rolebindings"], ["get"]),
        _rule("", ["pods/log"], ["get"]),
        *_read_secrets(settings),
    ]


def _at_choice(settings: Settings, standing: Collection[str]) -> Iterator[Rule]:
    """To keep what settings ask for, and what stands of what they asked for before."""
    chosen = [*exposure.exposure(settings), *credentials.external_secrets(settings)]
    kept = {each["kind"] for each in chosen} | set(standing)
    for group, plurals in _AT_CHOICE.items():
        if resources := [plural for kind, plural in plurals.items() if kind in kept]:
            yield _rule(group, resources, _KEEP_ONE)


def _read_secrets(settings: Settings) -> list[Rule]:
    """Those whose state no mount tells; the others are mounted.

    An annotation says that a Secret is in step with Vault. The Ingress's certificate is looked for:
    there is no verb for that alone, and whoever keeps Kubernetes Deployments could mount it anyway.
    """
    own = set()
    if credentials.external(settings):
        own |= {parts(reference)[0] for reference in credentials.storage(settings)}
    chosen = cluster_of(settings).exposure
    if isinstance(chosen, Ingress) and chosen.tls:
        own.add(chosen.tls_secret)
    return [_rule("", ["secrets"], ["get"], names_of=sorted(own))] if own else []


def _granted(settings: Settings, name: str, rules: list[Rule]) -> list[Manifest]:
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name}
    account = {
        "kind": "ServiceAccount",
        "name": name,
        "namespace": cluster_of(settings).namespace,
    }
    owner = names.KEPT_BY_BOOTSTRAP
    group = "rbac.authorization.k8s.io/v1"
    binding = {"roleRef": role, "subjects": [account]}
    return [
        made(f"{group}/Role", name, settings, {"rules": rules}, owner=owner),
        made(f"{group}/RoleBinding", name, settings, binding, owner=owner),
    ]


def _rule(
    group: str, resources: list[str], verbs: Iterable[str], *, names_of: list[str] | None = None
) -> Rule:
    rule: Rule = {"apiGroups": [group], "resources": resources, "verbs": list(verbs)}
    return rule | ({"resourceNames": names_of} if names_of else {})
