"""What could stop an installation in a cluster, found before anything is written."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from bootstrap.cluster import needs, room, taken
from bootstrap.cluster.exposure import check_exposure
from bootstrap.cluster.external_secrets import check_operator, check_store
from clinical_ai import names
from clinical_ai.adapters.cluster_secrets import ClusterSecrets, SecretsSeen
from clinical_ai.errors import ManyFaults, NeedsOperator, all_found
from clinical_ai.manifests.kubernetes import access, credentials
from clinical_ai.manifests.kubernetes.metadata import cluster_of
from clinical_ai.ports_cluster import Cluster, Permission, Ref, group_of, in_namespace
from clinical_ai.secret_lines import replacing
from clinical_ai.secret_references import parts
from clinical_ai.settings import Settings
from clinical_ai.steps.cluster.inventory import check_prune, kept_by_deploy, read_inventory
from clinical_ai.steps.cluster.needed_secrets import putting_key_back
from clinical_ai.steps.cluster.rights import find_standing
from clinical_ai.steps.cluster.scale import check_scale

_LEAST: Final = (1, 24)
_SHOWN: Final = (1, 25)
VARIABLES: Final = (  # that pods read as such, with a line end where there is one
    names.DATABASE_URL,
    names.PREFECT_DATABASE_URL,
    names.API_AUTH,
    names.ENCRYPTION_KEY,
)
_MADE: Final = {names.API_AUTH, names.ENCRYPTION_KEY}  # by bootstrap, when they are absent


def check(
    cluster: Cluster,
    settings: Settings,
    secrets: ClusterSecrets,
    kept: set[str],
    more: Iterable[Callable[[], str]] = (),
) -> list[str]:
    """What was looked at and found good; ManyFaults with all that is wrong, each with its remedy.

    `kept`: references to secrets that are about to exist. `more`: looks outside the cluster.
    """
    version = check_version(cluster)  # nothing else can be asked without an answer
    found = all_found([*_looks(cluster, settings, secrets, kept), *more])
    return [version, *(each for each in found if each)]


def _looks(
    cluster: Cluster, settings: Settings, secrets: ClusterSecrets, kept: set[str]
) -> Iterator[Callable[[], str]]:
    seen = secrets.at_once()
    yield lambda: check_served(cluster, settings)
    yield lambda: check_rights(cluster, settings)
    yield lambda: check_namespace(cluster)
    yield lambda: room.check_quota(cluster, settings)
    yield lambda: room.check_limits(cluster, settings)
    yield lambda: taken.check_names(cluster, settings)
    yield lambda: check_scaled(cluster)
    yield lambda: check_pruned(cluster, settings)
    yield lambda: check_secrets(cluster, settings, seen, kept)
    yield lambda: check_line_ends(cluster, seen)
    yield lambda: check_key(cluster, seen)
    yield lambda: check_volumes(cluster, settings)
    yield lambda: check_trust(cluster, settings)
    yield lambda: check_exposure(cluster, settings)
    yield lambda: check_operator(cluster, settings)
    yield lambda: check_store(cluster, settings)


def check_version(cluster: Cluster) -> str:
    """The API server answers, and is not older than what the objects are written for."""
    version = cluster.version()
    told = ".".join(map(str, version))
    if version < _LEAST:
        raise NeedsOperator(f"Kubernetes {told} is too old", "use 1.25 or newer")
    return f"Kubernetes {told}" + (" (not tested, objects need 1.25)" if version < _SHOWN else "")


def check_served(cluster: Cluster, settings: Settings) -> str:
    """The cluster knows each kind of object that the settings need."""
    kinds = {(each["apiVersion"], each["kind"]) for each in needs.objects(settings)}
    missing = sorted(kind for kind in kinds if not cluster.serves(*kind))
    if missing:
        raise ManyFaults(
            [
                NeedsOperator(
                    f"the cluster serves no {kind} of {version}",
                    f"install what brings {group_of(version)}, or choose otherwise in settings",
                )
                for version, kind in missing
            ]
        )
    return f"{len(kinds)} kinds of object served"


def check_rights(cluster: Cluster, settings: Settings) -> str:
    """Whoever runs this may do all that bootstrap and its roles need."""
    try:
        standing = find_standing(cluster, settings)
    except NeedsOperator:  # the inventory can't be read: `check_pruned` tells
        standing = frozenset()
    asked = list(dict.fromkeys(needs.permissions(settings, standing)))
    _need(cluster, asked)
    return f"{len(asked)} permissions"


def _need(cluster: Cluster, asked: Sequence[Permission]) -> None:
    faults = [
        NeedsOperator(
            f"you may not {each}",
            f"ask an administrator; see `kubectl auth can-i {each.verb} {each.resource}`",
        )
        for each in asked
        if not cluster.may(each)
    ]
    if faults:
        raise ManyFaults(faults)


def check_namespace(cluster: Cluster) -> str:
    """It is there and not going, or will be made by whoever may; with its level of pod security.

    No level is at fault: what is applied satisfies the strictest one.
    """
    found = cluster.find(Ref("v1", "Namespace", cluster.namespace))
    if found is None:
        _need(cluster, [Permission(it, "namespaces", namespace=None) for it in ("create", "patch")])
        return f"namespace {cluster.namespace} will be made, pod security restricted"
    if found.get("status", {}).get("phase") == "Terminating":
        raise NeedsOperator(
            f"namespace {cluster.namespace} is being deleted", "wait until it has gone"
        )
    labels = found["metadata"].get("labels") or {}
    level = labels.get(f"{access.LEVEL}/enforce", "of the cluster's default")
    return f"namespace {cluster.namespace}, pod security {level}"


def check_scaled(cluster: Cluster) -> str:
    """What this waits for has pods."""
    try:
        check_scale(cluster, (names.SERVER, names.PLATFORM_WORKER))
    except NeedsOperator as fault:
        remedy = in_namespace(fault.remedy, cluster.namespace)
        raise NeedsOperator(fault.problem, remedy) from None
    return ""


def check_pruned(cluster: Cluster, settings: Settings) -> str:
    """The deploy/self that follows will not refuse to prune what these settings want no more."""
    own = kept_by_deploy(cluster, settings)
    refs = [Ref.of(each) for each in needs.objects(settings)]
    check_prune(cluster, read_inventory(cluster, own), refs, own)
    return ""


def check_secrets(
    cluster: Cluster, settings: Settings, secrets: SecretsSeen, kept: set[str]
) -> str:
    """Each key that pods refer to is there, or about to be."""
    synced = credentials.external(settings)
    made = kept | _MADE | set(credentials.storage(settings) if synced else [])
    faults, absent = [], []
    wanted = credentials.known(settings)
    for name, keys in wanted.items():
        for key in sorted(keys):
            reference = f"secret:{name}/{key}"
            if reference in made:
                continue
            try:
                if secrets.find(reference) is None:
                    absent.append(reference)
            except NeedsOperator as fault:
                faults.append(fault)
    faults += _in_order(cluster, secrets.absences(absent))
    if faults:
        raise ManyFaults(faults)
    return f"{sum(map(len, wanted.values()))} secrets"


def _in_order(cluster: Cluster, absences: list[NeedsOperator]) -> list[NeedsOperator]:
    """The first remedy makes the namespace, too, when there is none for a Secret to be in."""
    if not absences or cluster.find(Ref("v1", "Namespace", cluster.namespace)) is not None:
        return absences
    first, *others = absences
    make = f"kubectl create namespace {cluster.namespace}"
    return [NeedsOperator(first.problem, f"{make}; then {first.remedy}"), *others]


def check_line_ends(cluster: Cluster, secrets: SecretsSeen) -> str:
    """None of what pods read as a variable has one: a database by such a name is not there."""
    faults = [
        NeedsOperator(
            f"{reference} ends with a line end",
            f"write it anew without one: {replacing(cluster.namespace, name, [key])}",
        )
        for reference in VARIABLES
        if secrets.ends_with_line(reference)
        for name, key in [parts(reference)]
    ]
    if faults:
        raise ManyFaults(faults)
    return ""


def check_key(cluster: Cluster, secrets: SecretsSeen) -> str:
    """The key of an installed platform is there: a new one would open none of its blocks."""
    if secrets.find(names.ENCRYPTION_KEY) is not None:
        return ""
    left = (Ref("v1", "ConfigMap", names.INVENTORY), Ref("apps/v1", "Deployment", names.SERVER))
    if any(cluster.find(each) is not None for each in left):
        secret, _ = parts(names.ENCRYPTION_KEY)
        there = cluster.find_metadata(Ref("v1", "Secret", secret)) is not None
        raise NeedsOperator(
            f"{names.ENCRYPTION_KEY} is gone, without which nobody opens the platform's blocks",
            f"{putting_key_back(cluster.namespace, there=there)}; when it is lost for good, "
            "`clinical-ai uninstall --database` and install anew: runs and blocks go",
        )
    return ""


def check_volumes(cluster: Cluster, settings: Settings) -> str:
    """What settings name of others exists: volume, certificates, Secrets to pull images."""
    chosen, pods = cluster_of(settings), needs.pods(settings).values()
    pulling = [each["name"] for pod in pods for each in pod.get("imagePullSecrets", [])]
    named = [
        ("PersistentVolumeClaim", chosen.lease_claim),
        ("ConfigMap", chosen.ca_config_map),
        *(("Secret", name) for name in dict.fromkeys(pulling)),
    ]
    faults = [
        NeedsOperator(f"there is no {kind} {name}", "make it, or leave it out of settings")
        for kind, name in named
        if name and cluster.find(Ref("v1", kind, name)) is None
    ]
    if faults:
        raise ManyFaults(faults)
    return ""


def check_trust(cluster: Cluster, settings: Settings) -> str:
    """Each CA bundle is in the ConfigMap that pods mount; one that is absent is told by itself."""
    name = cluster_of(settings).ca_config_map
    found = cluster.find(Ref("v1", "ConfigMap", name)) if name else None
    if found is None:
        return ""
    there = {*(found.get("data") or {}), *(found.get("binaryData") or {})}
    known = f", or name one of {', '.join(sorted(there))}" if there else ""
    faults = [
        NeedsOperator(
            f"{key} is {path}, and ConfigMap {name} has no key {file}",
            f"add it to that ConfigMap{known}",
        )
        for key, path in settings.ca_bundles.items()
        for file in [path.rpartition("/")[2]]
        if file not in there
    ]
    if faults:
        raise ManyFaults(faults)
    return ""
