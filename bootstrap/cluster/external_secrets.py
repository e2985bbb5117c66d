"""Whether External Secrets is about to keep our Secret, as far as whoever installs may see it."""

from typing import Final

from clinical_ai.errors import NeedsOperator
from clinical_ai.manifests.kubernetes import credentials
from clinical_ai.ports_cluster import Cluster, Forbidden, Object, Ref
from clinical_ai.secret_references import parts
from clinical_ai.settings import Settings
from clinical_ai.steps.cluster.synced import STORE, against_store

_NAME: Final = "external-secrets"  # its chart's; also the namespace of the chart's documentation
_LABELS: Final = {"app.kubernetes.io/name": _NAME}
_OPERATOR: Final = "External Secrets' operator"


def check_operator(cluster: Cluster, settings: Settings) -> str:
    """Its operator has a pod, when whoever runs this may see it and it goes by the chart's name.

    No fault where the Secret is there already: pods start with what it holds.
    """
    if credentials.external(settings) is None:
        return ""
    found, where = _look_for_operator(cluster)
    if not found:
        return f"{_OPERATOR} was not {where}"
    for each in found:
        if each.get("status", {}).get("availableReplicas"):
            return f"{_OPERATOR} runs in namespace {Ref.of(each).namespace}"
    ref = Ref.of(found[0])
    problem = f"{_OPERATOR} ({ref}) has no pod that is available"
    secret = Ref("v1", "Secret", parts(credentials.storage(settings)[0])[0])
    if cluster.find_metadata(secret) is not None:
        return f"{problem}; {secret.short} is there and stays as it is"
    raise NeedsOperator(
        problem,
        f"see `kubectl get pods -n {ref.namespace}` and"
        f" `kubectl describe deployment {ref.name} -n {ref.namespace}`: nobody else makes"
        f" {secret.short}",
    )


def _look_for_operator(cluster: Cluster) -> tuple[list[Object], str]:
    """Its Deployments by the chart's label, else by its name; and what to tell when none is found.

    Rights in one namespace are enough to install, and not to look into another.
    """
    kind = ("apps/v1", "Deployment")
    for space in (None, _NAME):
        try:
            found = cluster.find_all(*kind, labels=_LABELS, namespace=space) or cluster.find_all(
                *kind, fields={"metadata.name": _NAME}, namespace=space
            )
        except Forbidden:
            continue
        return found, "seen" if space is None else f"seen in namespace {space}"
    return [], "looked at: you may not list Deployments of its namespace"


def check_store(cluster: Cluster, settings: Settings) -> str:
    """What External Secrets last said against our SecretStore, when it is there.

    No fault: Vault may have been mended since, and the operator looks again when `up` asks it to.
    That waits for the Secret before anything is started, and fails with the same words.
    """
    for each in credentials.external_secrets(settings):
        ref = Ref.of(each)
        if ref.kind == STORE and cluster.serves(ref.api_version, ref.kind):
            told = against_store(cluster, ref)
            return f"{ref.short} was not ready when last looked at ({told})" if told else ""
    return ""
