"""The Ingress or HTTPRoute, as the cluster tells of it: runs may not ask it over the network."""

from collections.abc import Callable
from typing import Any, Final, assert_never

from clinical_ai import names
from clinical_ai.conditions import unmet
from clinical_ai.errors import NeedsOperator, TimedOut
from clinical_ai.manifests.kubernetes.metadata import cluster_of
from clinical_ai.ports_cluster import Cluster, Object, Ref
from clinical_ai.settings import Settings
from clinical_ai.settings_kubernetes import Gateway, Ingress
from clinical_ai.waiting import Sighting, wait_until

INGRESS: Final = Ref("networking.k8s.io/v1", "Ingress", names.SERVER)
ROUTE: Final = Ref("gateway.networking.k8s.io/v1", "HTTPRoute", names.SERVER)
_KEYS: Final = ("tls.crt", "tls.key")
_WANTED: Final = ("Accepted", "ResolvedRefs")
_PATIENCE: Final = 60.0  # for what a new object is answered: a certificate, a Gateway's yes


def check_exposure(cluster: Cluster, settings: Settings) -> str:
    """How the server is reached from outside; NeedsOperator when that is certain to fail."""
    match cluster_of(settings).exposure:
        case None:
            return "none in the settings: by a forwarded port"
        case Ingress() as chosen:
            return _check_ingress(cluster, chosen)
        case Gateway() as chosen:
            return _check_route(cluster, chosen)
        case unknown:
            assert_never(unknown)


def _check_ingress(cluster: Cluster, chosen: Ingress) -> str:
    found = _there(cluster, INGRESS)
    told = [f"Ingress for {chosen.host}, class {chosen.ingress_class}", _address(found)]
    if chosen.tls:
        remedy = f"make it of type kubernetes.io/tls; `kubectl describe ingress {names.SERVER}`"
        _await(lambda: _certificate(cluster, chosen.tls_secret), remedy)
        told.append(f"its certificate is in Secret {chosen.tls_secret}")
    return "; ".join(told)


def _address(found: Object) -> str:
    """Some controllers, such as one without a load balancer, never tell any."""
    places = found.get("status", {}).get("loadBalancer", {}).get("ingress") or []
    told = [each.get("hostname") or each.get("ip", "") for each in places]
    return f"at {', '.join(told)}" if told else "no address yet: its controller has told none"


def _certificate(cluster: Cluster, name: str) -> Sighting:
    found = cluster.find(Ref("v1", "Secret", name))
    if found is None:
        return Sighting(done=False, summary=f"Secret {name} of the Ingress is not there")
    lacks = [key for key in _KEYS if not (found.get("data") or {}).get(key)]
    return Sighting(not lacks, f"Secret {name} of the Ingress has no {', '.join(lacks)}")


def _check_route(cluster: Cluster, chosen: Gateway) -> str:
    remedy = f"`kubectl describe httproute {names.SERVER}`; ask whoever keeps the Gateway"
    seen = _await(lambda: _route_state(_there(cluster, ROUTE)), remedy)
    return f"HTTPRoute for {chosen.host}: {seen.summary}"


def _route_state(found: Object) -> Sighting:
    """Whether each Gateway that it names has taken it as it is now."""
    told = [_answer(found, parent) for parent in found["spec"]["parentRefs"]]
    wrong = [each.summary for each in told if not each.done]
    return Sighting(not wrong, "; ".join(wrong or [each.summary for each in told]))


def _answer(found: Object, parent: dict[str, Any]) -> Sighting:
    about, name = found["metadata"], f"Gateway {parent['name']}"
    answers = [
        unmet({"status": answer}, _WANTED, about["generation"])
        for answer in found.get("status", {}).get("parents") or []
        if _place(answer["parentRef"], about) == _place(parent, about)
    ]
    if not answers:
        return Sighting(done=False, summary=f"{name} has not answered")
    if not all(answers):
        return Sighting(done=True, summary=f"{name} has accepted it")
    return Sighting(done=False, summary=f"{name}: {', '.join(answers[0])}")


def _place(parent: dict[str, Any], about: dict[str, Any]) -> tuple[Any, ...]:
    """Controllers may write down what a reference leaves out."""
    space = parent.get("namespace", about["namespace"])
    return space, parent["name"], parent.get("sectionName"), parent.get("port")


def _there(cluster: Cluster, ref: Ref) -> Object:
    found = cluster.find(ref)
    if found is None:
        raise NeedsOperator(f"{ref.short} is not there", "run deploy/self, which makes it")
    return found


def _await(look: Callable[[], Sighting], remedy: str) -> Sighting:
    try:
        return wait_until("what the exposure needs", look, seconds=_PATIENCE)
    except TimedOut as error:
        raise NeedsOperator(str(error), remedy) from None
