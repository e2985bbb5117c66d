"""Whether what the server is reached through is there: of others, and named by settings."""

from collections.abc import Iterator
from typing import Final

from clinical_ai.conditions import conditions_of, unmet
from clinical_ai.errors import ManyFaults, NeedsOperator
from clinical_ai.manifests.kubernetes.metadata import cluster_of
from clinical_ai.ports_cluster import Cluster, Object, Permission, Ref
from clinical_ai.settings import Settings
from clinical_ai.settings_kubernetes import Gateway, Ingress, Parent

_GROUP: Final = "gateway.networking.k8s.io"
_VERSION: Final = f"{_GROUP}/v1"
# That its controller takes it, and that it is set up to carry traffic.
_NEEDED: Final = ("Accepted", "Programmed")


def check_exposure(cluster: Cluster, settings: Settings) -> str:
    """The class or the Gateways are there, and somebody may reach the server through them."""
    chosen = cluster_of(settings)
    if chosen.exposure is None:
        return ""
    told = [f"host {chosen.exposure.host}"]
    faults: list[NeedsOperator] = []
    if isinstance(chosen.exposure, Ingress):
        faults += _of_class(cluster, chosen.exposure)
    elif cluster.serves(_VERSION, "HTTPRoute"):  # else it is a fault of its own
        seen = [each for each in chosen.exposure.parents if _may_look(cluster, each)]
        faults += [fault for each in seen for fault in _of_gateway(cluster, each)]
        told += _not_seen(chosen.exposure, seen)
    if not any("api" in each.ports for each in chosen.clients.values()):
        problem = "kubernetes.exposure is given, and no client may reach the server"
        remedy = "name the ingress controller below kubernetes.clients, with the port api"
        faults.append(NeedsOperator(problem, remedy))
    if faults:
        raise ManyFaults(faults)
    return ", ".join(told)


def _of_class(cluster: Cluster, chosen: Ingress) -> Iterator[NeedsOperator]:
    name = chosen.ingress_class
    if cluster.find(Ref("networking.k8s.io/v1", "IngressClass", name)) is None:
        remedy = "name one of `kubectl get ingressclass`"
        yield NeedsOperator(f"there is no ingress class {name}", remedy)


def _may_look(cluster: Cluster, parent: Parent) -> bool:
    """A Gateway is often in a namespace that is none of the operator's."""
    asked = Permission("get", "gateways", _GROUP, parent.name, parent.namespace or "")
    return cluster.may(asked)


def _not_seen(chosen: Gateway, seen: list[Parent]) -> list[str]:
    return [
        f"Gateway {each.name} not looked at (you may not get it)"
        for each in chosen.parents
        if each not in seen
    ]


def _of_gateway(cluster: Cluster, parent: Parent) -> Iterator[NeedsOperator]:
    """A fault when it is absent, not ready, or without the listener that settings name."""
    space = parent.namespace or cluster.namespace
    ref = Ref(_VERSION, "Gateway", parent.name, space)
    found = cluster.find(ref)
    if found is None:
        yield NeedsOperator(f"there is no {ref}", "name one of `kubectl get gateway -A`")
        return
    if against := _against(found):
        yield NeedsOperator(
            f"{ref} is not ready: {against}",
            f"see `kubectl describe gateway {parent.name} -n {space}` and its controller",
        )
    if not any(_is_named(each, parent) for each in found["spec"]["listeners"]):
        named = {"section-name": parent.section_name, "port": parent.port}
        told = ", ".join(f"{key} {value}" for key, value in named.items() if value is not None)
        known = ", ".join(f"{each['name']} ({each['port']})" for each in found["spec"]["listeners"])
        yield NeedsOperator(
            f"{ref} has no listener of {told}",
            f"correct kubernetes.exposure.parents; it has {known}",
        )


def _against(found: Object) -> str:
    """What is not as it has to be, in the words of its controller."""
    if not {each["type"] for each in conditions_of(found)} & set(_NEEDED):
        return "no controller has looked at it"
    return "; ".join(unmet(found, _NEEDED))


def _is_named(listener: Object, parent: Parent) -> bool:
    """What settings leave out fits all."""
    return parent.section_name in {None, listener["name"]} and parent.port in {
        None,
        listener["port"],
    }
