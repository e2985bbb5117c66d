"""NetworkPolicies for our own pods: nothing in or out, then what each kind of pod needs.

They select our pods alone, by `app`: a namespace may hold others, whose traffic is theirs.
"""

from collections.abc import Sequence
from ipaddress import IPv4Network, ip_network
from typing import Any, Final

from clinical_ai import names
from clinical_ai.manifests.kubernetes import targets
from clinical_ai.manifests.kubernetes.metadata import Manifest, cluster_of, labels, made, selector
from clinical_ai.settings import Settings
from clinical_ai.settings_network import Peer, Target

Rule = dict[str, Any]

# A cloud's metadata service gives credentials to whoever asks: blocks that hold it leave it out.
_LINK_LOCAL: Final = IPv4Network("169.254.0.0/16")
_CALLERS: Final = (names.WORKER, names.PLATFORM_WORKER, names.PLATFORM_JOB)
_NAMESPACE: Final = "kubernetes.io/metadata.name"
_DENY: Final = f"{names.PRODUCT}-default-deny"


def policies(settings: Settings) -> list[Manifest]:
    """Default deny in both directions, then one policy for each kind of pod."""
    pods = {
        "matchExpressions": [{"key": "app", "operator": "In", "values": [*names.PLATFORM_NAMES]}]
    }
    return [
        _policy(settings, _DENY, pods, [], []),
        *(
            _policy(
                settings,
                name,
                {"matchLabels": selector(name)},
                _from(settings, name),
                _to(settings, name),
            )
            for name in names.PLATFORM_NAMES
        ),
    ]


def may_reach(settings: Settings, one: str, other: str, port: int) -> bool:
    """Whether pods named `one` may connect to this port of those named `other`, as these policies
    have it: one side has to let it out, the other in. A block of addresses may hold any pod.
    """
    out = [rule["to"] for rule in _to(settings, one) if _has(rule, port)]
    into = [rule["from"] for rule in _from(settings, other) if _has(rule, port)]
    return any(_may_hold(settings, peers, other) for peers in out) and any(
        _may_hold(settings, peers, one) for peers in into
    )


def _has(rule: Rule, port: int) -> bool:
    return any(each["port"] == port for each in rule["ports"])


def _may_hold(settings: Settings, peers: list[dict[str, Any]], name: str) -> bool:
    space, own = cluster_of(settings).namespace, labels(settings, name).items()
    for peer in peers:
        spaces = peer.get("namespaceSelector", {}).get("matchLabels", {})
        pods = peer.get("podSelector", {}).get("matchLabels", {})
        if "ipBlock" in peer or (spaces.get(_NAMESPACE, space) == space and pods.items() <= own):
            return True
    return False


def _from(settings: Settings, name: str) -> list[Rule]:
    """Who may connect to pods of this name."""
    match name:
        case names.SERVER:
            own = [{"podSelector": {"matchLabels": selector(each)}} for each in _CALLERS]
            return [
                {"from": own, "ports": _ports((names.API_PORT,))},
                *_clients(settings, "api", names.API_PORT),
            ]
        case names.WORKER | names.PLATFORM_WORKER:
            return _clients(settings, "health", names.HEALTH_PORT)
        case _:
            return []


def _to(settings: Settings, name: str) -> list[Rule]:
    """Whom pods of this name may connect to."""
    egress = cluster_of(settings).egress
    found: tuple[Target, ...] = ()
    match name:
        case names.SERVER | names.MIGRATION:
            found = targets.database(settings)
        case names.WORKER:
            own = (*targets.vault_of_runs(settings), *targets.sources(settings))
            found = (*_clinical(settings), *own)
        case names.PLATFORM_WORKER:
            found = egress.api_server
        case names.PLATFORM_JOB:
            found = (*_clinical(settings), *egress.api_server, *egress.registry)
    rules = [_rule(target) for target in targets.unique(found)]
    inside = [_inside(names.SERVER, names.API_PORT)] if name in _CALLERS else []
    dns = [_rule(each, protocols=("UDP", "TCP")) for each in egress.dns]
    return [*dns, *inside, *rules]


def _clinical(settings: Settings) -> tuple[Target, ...]:
    return (
        *targets.database(settings),
        *targets.storage(settings),
        *targets.proxy(settings),
        *targets.vault(settings),
    )


def _clients(settings: Settings, port_name: str, port: int) -> list[Rule]:
    return [
        {"from": _peers(client), "ports": _ports((port,))}
        for client in cluster_of(settings).clients.values()
        if port_name in client.ports
    ]


def _inside(name: str, port: int) -> Rule:
    return {"to": [{"podSelector": {"matchLabels": selector(name)}}], "ports": _ports((port,))}


def _rule(target: Target, protocols: Sequence[str] = ("TCP",)) -> Rule:
    ports = _ports(target.ports, protocols)
    return {"to": _peers(target), "ports": ports}


def _peers(peer: Peer) -> list[dict[str, Any]]:
    """Pods of the platform's own namespace, of others, and blocks of addresses."""
    found: dict[str, Any] = {}
    spaces = dict(peer.namespace_labels)
    if peer.namespace:
        spaces[_NAMESPACE] = peer.namespace
    if spaces:
        found["namespaceSelector"] = {"matchLabels": spaces}
    if peer.pod_labels:
        found["podSelector"] = {"matchLabels": dict(peer.pod_labels)}
    blocks = [{"ipBlock": _block(cidr)} for cidr in peer.cidrs]
    return [*([found] if found else []), *blocks]


def _block(cidr: str) -> dict[str, Any]:
    network = ip_network(cidr)
    holds = isinstance(network, IPv4Network) and network.supernet_of(_LINK_LOCAL)
    if holds and network != _LINK_LOCAL:
        return {"cidr": cidr, "except": [str(_LINK_LOCAL)]}
    return {"cidr": cidr}


def _ports(ports: Sequence[int], protocols: Sequence[str] = ("TCP",)) -> list[dict[str, Any]]:
    return [{"protocol": protocol, "port": port} for port in ports for protocol in protocols]


def _policy(
    settings: Settings,
    name: str,
    pods: dict[str, Any],
    ingress: list[Rule],
    egress: list[Rule],
) -> Manifest:
    body = {
        "podSelector": pods,
        "policyTypes": ["Ingress", "Egress"],
        "ingress": ingress,
        "egress": egress,
    }
    return made("networking.k8s.io/v1/NetworkPolicy", name, settings, {"spec": body})
