"""Requests to an API server, understood: which verb, of which object."""

import json
import re
from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Final

import httpx

from tests.support.fake_objects import Object, Place
from tests.support.fake_refusals import Refusal

SERVED: Final = {
    "v1": "Namespace/namespaces- ConfigMap/configmaps Secret/secrets Service/services Pod/pods "
    "ServiceAccount/serviceaccounts Event/events ResourceQuota/resourcequotas "
    "LimitRange/limitranges",
    "apps/v1": "Deployment/deployments ReplicaSet/replicasets StatefulSet/statefulsets",
    "batch/v1": "Job/jobs CronJob/cronjobs",
    "networking.k8s.io/v1": "Ingress/ingresses NetworkPolicy/networkpolicies "
    "IngressClass/ingressclasses-",
    "policy/v1": "PodDisruptionBudget/poddisruptionbudgets",
    "rbac.authorization.k8s.io/v1": "Role/roles RoleBinding/rolebindings ClusterRole/clusterroles- "
    "ClusterRoleBinding/clusterrolebindings-",
    "coordination.k8s.io/v1": "Lease/leases",
    "authorization.k8s.io/v1": "SelfSubjectAccessReview/selfsubjectaccessreviews-",
}
_PATH: Final = re.compile(
    r"/(?:api|apis)/(?P<version>v1|[^/]+/v[^/]+)(?:/namespaces/(?P<namespace>[^/]+)(?=/))?"
    r"/(?P<plural>[^/]+)(?:/(?P<name>[^/]+)(?:/(?P<subresource>[^/]+))?)?$"
)
_VERBS: Final = {"POST": "create", "PATCH": "patch", "DELETE": "delete", "PUT": "update"}


@dataclass(frozen=True)
class Served:
    """A kind that the server knows."""

    api_version: str
    kind: str
    plural: str
    namespaced: bool


@dataclass
class Request:
    """One request, as the server understood it."""

    verb: str
    served: Served
    namespace: str
    name: str
    subresource: str
    query: dict[str, str]
    body: Any
    content_type: str
    accept: str

    @property
    def place(self) -> Place:
        """Which object it is about."""
        return (self.served.api_version, self.served.kind, self.namespace, self.name)

    @property
    def dry_run(self) -> bool:
        """Whether nothing may be written."""
        return self.query.get("dryRun") == "All"

    def __str__(self) -> str:
        dry = " (dry run)" if self.dry_run else ""
        return f"{self.verb} {self.served.plural}/{self.name}{dry}"


def understood(request: httpx.Request, path: str, kinds: Sequence[Served]) -> Request:
    """What is asked; Refusal when there is no such kind."""
    absent = Refusal(404, "NotFound", "the server could not find the requested resource")
    found = _PATH.fullmatch(path)
    if not found:
        raise absent
    wanted = (found["version"], found["plural"])
    served = [it for it in kinds if (it.api_version, it.plural) == wanted]
    if not served:
        raise absent
    body = json.loads(request.content) if request.content else None
    return Request(
        verb=_VERBS.get(request.method) or ("get" if found["name"] else "list"),
        served=served[0],
        namespace=found["namespace"] or "",
        name=found["name"] or ((body or {}).get("metadata") or {}).get("name", ""),
        subresource=found["subresource"] or "",
        query=dict(request.url.params),
        body=body,
        content_type=request.headers.get("Content-Type", ""),
        accept=request.headers.get("Accept", ""),
    )


def matches(find: Callable[[str], Any], selector: str | None) -> bool:
    """Whether what `find` gives for each name is what the selector says."""
    pairs: Iterable[str] = (selector or "").split(",") if selector else ()
    return all(find(name) == value for name, _, value in (pair.partition("=") for pair in pairs))


def field_at(row: Object, path: str) -> Any:
    """As a field selector names it: `metadata.name`."""
    found: Any = row
    for part in path.split("."):
        found = (found or {}).get(part)
    return found


def merged(live: Any, body: Any) -> Any:
    """RFC 7396."""
    if not isinstance(body, dict):
        return deepcopy(body)
    whole = dict(deepcopy(live)) if isinstance(live, dict) else {}
    for name, value in body.items():
        if value is None:
            whole.pop(name, None)
        else:
            whole[name] = merged(whole.get(name), value)
    return whole
