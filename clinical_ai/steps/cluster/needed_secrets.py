"""Secrets that pods need: whether they are there, with their keys. No value is asked for.

Looked at with a person's rights: of the encryption key no pod tells before the next server starts,
and no account of the platform may read Secrets.
"""

from collections.abc import Iterator, Mapping
from typing import Final

from clinical_ai import names
from clinical_ai.errors import ManyFaults, NeedsOperator
from clinical_ai.manifests.kubernetes import credentials
from clinical_ai.ports_cluster import Cluster, Forbidden, Object, Ref
from clinical_ai.secret_lines import absence, making, replacing
from clinical_ai.secret_references import parts
from clinical_ai.settings import Settings
from clinical_ai.steps.cluster.inventory import find_served
from clinical_ai.steps.cluster.synced import KIND, OPERATOR
from clinical_ai.steps.verify import NotShown

_WHOLE: Final = ""  # stands for a Secret of which no key is named
_DATA: Final = ("f:data", "f:stringData")
_KEY: Final = parts(names.ENCRYPTION_KEY)
_VARIABLE: Final = "PREFECT_SERVER_ENCRYPTION_KEY"


def absent_secrets(cluster: Cluster, settings: Settings | None) -> list[NeedsOperator]:
    """A fault for each that is not there or lacks a key, with the line that adds it.

    Needed is what the live pods of server and workers name, and what the settings do when they are
    known: their runs and migrations need that, too.
    """
    return _faults(cluster, _needed(cluster, settings))


def check_secrets(cluster: Cluster, settings: Settings | None) -> str:
    """How many there are; ManyFaults with all that is absent, NotShown when nobody may look."""
    try:
        needed = _needed(cluster, settings)
        faults = _faults(cluster, needed)
    except Forbidden as error:
        raise NotShown(f"not known: {error}") from error
    if faults:
        raise ManyFaults(faults)
    return f"{len(needed)} Secrets are there, with each key that is needed"


def putting_key_back(space: str, *, there: bool) -> str:
    """How the encryption key comes back: while a server runs, its pod is the backup that is left.

    `there`: the Secret is, and lacks the key.
    """
    line = (replacing if there else making)(space, _KEY[0], _KEY[1:]).replace("FILE", "/dev/stdin")
    read = f"kubectl exec deployment/{names.SERVER} -n {space} -- printenv {_VARIABLE}"
    return (
        "put it back from your backup, or from the server's pod while that still runs:"
        f" {read} | tr -d '\\n' | {line}"
    )


def _faults(cluster: Cluster, needed: Mapping[str, set[str]]) -> list[NeedsOperator]:
    faults = (_fault(cluster, *each) for each in sorted(needed.items()))
    return [each for each in faults if each is not None]


def _needed(cluster: Cluster, settings: Settings | None) -> dict[str, set[str]]:
    """Keys by Secret."""
    found = credentials.known(settings) if settings else {}
    for name in names.WORKLOADS:
        workload = cluster.find(Ref("apps/v1", "Deployment", name))
        for secret, key in _named(workload["spec"]["template"]["spec"] if workload else {}):
            found.setdefault(secret, set()).add(key)
    return found


def _named(pod: Object) -> Iterator[tuple[str, str]]:
    """What a pod does not start without."""
    for container in (*pod.get("initContainers", []), *pod.get("containers", [])):
        for variable in container.get("env", []):
            chosen = variable.get("valueFrom", {}).get("secretKeyRef")
            if chosen and not chosen.get("optional"):
                yield chosen["name"], chosen["key"]
    for volume in pod.get("volumes", []):
        source = volume.get("secret")
        if source and not source.get("optional"):
            yield source["secretName"], _WHOLE
            yield from ((source["secretName"], each["key"]) for each in source.get("items", []))
    for pull in pod.get("imagePullSecrets", []):
        yield pull["name"], _WHOLE


def _fault(cluster: Cluster, name: str, keys: set[str]) -> NeedsOperator | None:
    found, space = cluster.find_metadata(Ref("v1", "Secret", name)), cluster.namespace
    named = keys - {_WHOLE}
    lacking = sorted(named - _keys(found, named) if found else named)
    if found and not lacking:
        return None
    if (name, lacking) == (_KEY[0], [_KEY[1]]):
        return _without_key(space, there=found is not None)
    if find_served(cluster, Ref(OPERATOR, KIND, name)):
        problem = f"Secret {name}, which {KIND} {name} keeps, is not there or lacks a key"
        return NeedsOperator(problem, f"`kubectl describe externalsecret {name} -n {space}`")
    if not lacking:
        return NeedsOperator(f"Secret {name} is not there", f"make it anew in namespace {space}")
    return absence(space, name, lacking, there=found is not None)


def _keys(found: Object, otherwise: set[str]) -> set[str]:
    """Those that somebody has set, by the names of the fields; `otherwise` when nobody tells."""
    told = found["metadata"].get("managedFields") or []
    if not told:
        return otherwise
    fields = [each.get("fieldsV1", {}).get(data, {}) for each in told for data in _DATA]
    return {field.removeprefix("f:") for each in fields for field in each}


def _without_key(space: str, *, there: bool) -> NeedsOperator:
    return NeedsOperator(
        f"{names.ENCRYPTION_KEY} is not there, without which no server starts again and nobody"
        " opens the platform's blocks",
        putting_key_back(space, there=there),
    )
