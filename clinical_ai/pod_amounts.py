"""What a pod takes, as Kubernetes counts it for quotas and limit ranges. Pure.

https://kubernetes.io/docs/concepts/policy/resource-quotas/
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any, Final

from clinical_ai.ports_cluster import Object
from clinical_ai.quantities import parsed

Amounts = dict[str, Fraction]  # by resource: `requests.cpu`, `limits.memory`, `pods`

_ENDED: Final = frozenset({"Succeeded", "Failed"})
_ITSELF: Final[Amounts] = {"pods": Fraction(1), "count/pods": Fraction(1)}
_NOTHING: Final = Fraction(0)


def of_container(container: Mapping[str, Any]) -> Amounts:
    """Its requests and limits; where it has no request, its limit is one."""
    resources = container.get("resources", {})
    limits = resources.get("limits") or {}
    requests = limits | (resources.get("requests") or {})
    return {
        f"{kind}.{name}": parsed(quantity)
        for kind, quantities in (("requests", requests), ("limits", limits))
        for name, quantity in quantities.items()
    }


def of_pod(spec: Mapping[str, Any]) -> Amounts:
    """Its containers together, or what it begins with when that is more."""
    beside: Amounts = {}  # init containers that run on
    beginning: Amounts = {}
    for each in spec.get("initContainers", []):
        running = together([beside, of_container(each)])
        beginning = most([beginning, running])
        if each.get("restartPolicy") == "Always":
            beside = running
    working = together([beside, *map(of_container, spec["containers"])])
    return most([beginning, working]) | _ITSELF


def of_live_pod(pod: Object) -> Amounts:
    """One that has ended takes nothing any more, but for being an object."""
    if has_ended(pod):
        return {"count/pods": _ITSELF["count/pods"]}
    return of_pod(pod["spec"])


def has_ended(pod: Object) -> bool:
    """Well or not: no container of it runs any more."""
    return pod.get("status", {}).get("phase") in _ENDED


def together(parts: Iterable[Amounts]) -> Amounts:
    """The sum."""
    found: Amounts = {}
    for part in parts:
        for resource, amount in part.items():
            found[resource] = found.get(resource, _NOTHING) + amount
    return found


def most(parts: Iterable[Amounts]) -> Amounts:
    """Of each resource what the one takes that takes most of it."""
    found: Amounts = {}
    for part in parts:
        for resource, amount in part.items():
            found[resource] = max(found.get(resource, _NOTHING), amount)
    return found


def is_counted(quota: Object, spec: Mapping[str, Any]) -> bool:
    """Whether the quota counts such a pod: those of all its scopes, and without any every pod."""
    return all(_is_in(spec, *scope) for scope in _scopes(quota.get("spec", {})))


def _scopes(quota: Mapping[str, Any]) -> Iterator[tuple[str, str, Sequence[str]]]:
    """Name, operator and values."""
    for name in quota.get("scopes") or []:
        yield name, "Exists", ()
    for each in (quota.get("scopeSelector") or {}).get("matchExpressions", []):
        yield each["scopeName"], each["operator"], each.get("values") or ()


def _is_in(spec: Mapping[str, Any], scope: str, operator: str, values: Sequence[str]) -> bool:
    match scope:
        case "Terminating" | "NotTerminating":
            return ("activeDeadlineSeconds" in spec) is (scope == "Terminating")
        case "BestEffort" | "NotBestEffort":
            containers = (*spec["containers"], *spec.get("initContainers", []))
            return any(map(of_container, containers)) is (scope == "NotBestEffort")
        case "PriorityClass":
            return _has_priority(spec.get("priorityClassName"), operator, values)
        case _:  # of pods with an affinity across namespaces, or not of pods at all
            return False


def _has_priority(own: str | None, operator: str, values: Sequence[str]) -> bool:
    match operator:
        case "In":
            return own in values
        case "NotIn":
            return own not in values
        case "Exists":
            return own is not None
        case _:
            return own is None
