"""The Kubernetes API over httpx: plain objects, server-side apply, no generated models.

Generated models drop fields they don't know, and none of the kept clients can ask for strict
validation with a dry run.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from clinical_ai.adapters.kubernetes_access import Access, load_access
from clinical_ai.adapters.kubernetes_answers import (
    Answer,
    decoded,
    is_absence,
    last_seen,
    read_pages,
    refused,
    status_of,
)
from clinical_ai.adapters.kubernetes_connection import Connection
from clinical_ai.adapters.kubernetes_errors import Asked
from clinical_ai.adapters.kubernetes_kinds import Kinds
from clinical_ai.errors import NeedsOperator, Transient
from clinical_ai.names import FIELD_MANAGER
from clinical_ai.ports_cluster import Object, Permission, Propagation, Ref

if TYPE_CHECKING:
    import httpx

_PAGE: Final = 500
_APPLY: Final = "application/apply-patch+yaml"
_MERGE: Final = "application/merge-patch+json"
_METADATA: Final = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
_MOST_LISTS: Final = 5  # of a list that grows old while it is read
_LOG_BYTES: Final = 1_000_000


class KubernetesApi:
    """The API server that `load` leads to; asked again when credentials have run out.

    `namespace` empty: that of the kubeconfig's context, or of this pod. `transport`: instead of the
    network.
    """

    def __init__(
        self,
        load: Callable[[], Access],
        *,
        namespace: str = "",
        manager: str = FIELD_MANAGER,
        timeout: float = 30,
        transport: "httpx.BaseTransport | None" = None,
    ) -> None:
        self._namespace = namespace
        self._manager = manager
        self._connection = Connection(load, timeout=timeout, transport=transport)
        self._kinds = Kinds(self._read)

    @property
    def namespace(self) -> str:
        """Where objects stand that name no namespace."""
        return self._namespace or self._connection.access.namespace

    def find(self, ref: Ref) -> Object | None:
        """The object, or None when there is none."""
        asked = self._asked("get", ref)
        return self._json("GET", self._path(ref), asked, absent=True)

    def get(self, ref: Ref) -> Object:
        """The object; NeedsOperator when there is none."""
        found = self.find(ref)
        if found is None:
            raise NeedsOperator(f"{ref} does not exist", f"see {self._asked('get', ref).can_i}")
        return found

    def find_metadata(self, ref: Ref) -> Object | None:
        """What stands about the object, or None when there is none; its content is not sent."""
        asked = self._asked("get", ref)
        answer = self._connection.send("GET", self._path(ref), accept=_METADATA)
        if is_absence(answer, asked):
            return None
        about = decoded(answer, asked)["metadata"]
        return {"apiVersion": ref.api_version, "kind": ref.kind, "metadata": about}

    def find_all(
        self,
        api_version: str,
        kind: str,
        *,
        labels: Mapping[str, str] | None = None,
        fields: Mapping[str, str] | None = None,
        namespace: str | None = "",
    ) -> list[Object]:
        """All objects of a kind with these labels and fields, read page by page."""
        known = self._kinds.get(api_version, kind)
        everywhere = namespace is None or not known.namespaced
        place = None if everywhere else (namespace or self.namespace)
        asked = Asked("list", known.plural, f"all {known.plural}", place or "")
        query = {
            "limit": str(_PAGE),
            "labelSelector": _pairs(labels),
            "fieldSelector": _pairs(fields),
        }
        query = {name: value for name, value in query.items() if value}
        path, about = known.collection(place), {"apiVersion": api_version, "kind": kind}
        for _ in range(_MOST_LISTS):
            found = read_pages(lambda more: self._connection.send("GET", path, query | more), asked)
            if found is not None:
                return [{**about, **each} for each in found]
        raise Transient(f"all {known.plural} change faster than they can be read")

    def apply(self, wanted: Object, *, dry_run: bool = False, manager: str = "") -> Object:
        """Server-side apply under our field manager, never by force."""
        ref, owner = Ref.of(wanted), manager or self._manager
        query = {"fieldManager": owner, "fieldValidation": "Strict", "force": "false"}
        if dry_run:
            query["dryRun"] = "All"
        asked = self._asked("patch", ref)
        return self._some("PATCH", self._path(ref), asked, query, wanted, _APPLY)

    def create(self, wanted: Object, *, dry_run: bool = False) -> Object | None:
        """The new object, or None when one of that name is there."""
        ref = Ref.of(wanted)
        kind, asked = self._kinds.of(ref), self._asked("create", ref)
        query = {"fieldManager": self._manager, "fieldValidation": "Strict"}
        if dry_run:
            query["dryRun"] = "All"
        answer = self._connection.send("POST", kind.collection(asked.namespace), query, wanted)
        if answer.status_code == 409 and status_of(answer).get("reason") == "AlreadyExists":
            return None
        return decoded(answer, asked)

    def patch(self, ref: Ref, body: Object, *, subresource: str = "") -> Object:
        """Merge the body into the object."""
        query = {"fieldManager": self._manager, "fieldValidation": "Strict"}
        asked = self._asked("patch", ref, subresource)
        return self._some("PATCH", self._path(ref, subresource), asked, query, body, _MERGE)

    def delete(
        self,
        ref: Ref,
        *,
        uid: str,
        resource_version: str = "",
        propagation: Propagation = "Background",
    ) -> bool:
        """The object with this uid goes; False when it was gone."""
        conditions = {"uid": uid, "resourceVersion": resource_version}
        body = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": propagation,
            "preconditions": {name: value for name, value in conditions.items() if value},
        }
        asked = self._asked("delete", ref)
        return self._json("DELETE", self._path(ref), asked, body=body, absent=True) is not None

    def logs(
        self,
        pod: str,
        *,
        container: str = "",
        tail: int = 100,
        previous: bool = False,
        seconds: int = 0,
        namespace: str = "",
    ) -> str:
        """The last lines of a container; empty when it has not run."""
        ref = Ref("v1", "Pod", pod, namespace)
        query = {"tailLines": str(tail), "limitBytes": str(_LOG_BYTES)}
        if container:
            query["container"] = container
        if previous:
            query["previous"] = "true"
        if seconds:
            query["sinceSeconds"] = str(seconds)
        asked = self._asked("get", ref, "log")
        answer = self._connection.send("GET", self._path(ref, "log"), query)
        if answer.status_code in {400, 404}:
            return ""  # it waits to start, or was never there before
        if answer.is_error:
            raise refused(answer, asked)
        return answer.text

    def events(self, found: Object) -> list[Object]:
        """Events about this very object, the latest last."""
        about = {"involvedObject.uid": found["metadata"]["uid"]}
        place = found["metadata"].get("namespace") or "default"
        rows = self.find_all("v1", "Event", fields=about, namespace=place)
        return sorted(rows, key=last_seen)

    def may(self, permission: Permission) -> bool:
        """Whether this account may do that."""
        resource, _, subresource = permission.resource.partition("/")
        place = permission.namespace
        wanted = {
            "verb": permission.verb,
            "group": permission.group,
            "resource": resource,
            "subresource": subresource,
            "name": permission.name,
            "namespace": self.namespace if place == "" else place or "",
        }
        answer = self.create(
            {
                "apiVersion": "authorization.k8s.io/v1",
                "kind": "SelfSubjectAccessReview",
                "metadata": {"name": ""},
                "spec": {"resourceAttributes": {k: v for k, v in wanted.items() if v}},
            }
        )
        return bool(answer and answer["status"]["allowed"])

    def version(self) -> tuple[int, int]:
        """Major and minor version of the server."""
        asked = Asked("get", "version", "the server's version")
        found = self._some("GET", "/version", asked)
        major, minor = (
            int("".join(digit for digit in found[part] if digit.isdigit()) or 0)
            for part in ("major", "minor")  # a cloud's minor may be `30+`
        )
        return major, minor

    def serves(self, api_version: str, kind: str) -> bool:
        """Whether the cluster knows this kind of object."""
        return self._kinds.find(api_version, kind) is not None

    def close(self) -> None:
        """Connections are given back; the next request opens new ones."""
        self._connection.close()

    def _asked(self, verb: str, ref: Ref, subresource: str = "") -> Asked:
        kind = self._kinds.of(ref)
        place = (ref.namespace or self.namespace) if kind.namespaced else ""
        resource = f"{kind.plural}/{subresource}" if subresource else kind.plural
        what = f"{ref.kind} {place}/{ref.name}" if place else ref.short
        return Asked(verb, resource, what, place, ref)

    def _path(self, ref: Ref, subresource: str = "") -> str:
        return self._kinds.of(ref).path(ref.name, ref.namespace or self.namespace, subresource)

    def _read(self, path: str) -> Answer | None:
        asked = Asked("get", path, "what the server serves")
        return self._json("GET", path, asked, absent=True)

    def _some(self, method: str, path: str, asked: Asked, *request: Any) -> Answer:
        return decoded(self._connection.send(method, path, *request), asked)

    def _json(
        self, method: str, path: str, asked: Asked, *, body: Object | None = None, absent: bool
    ) -> Answer | None:
        answer = self._connection.send(method, path, body=body)
        return None if absent and is_absence(answer, asked) else decoded(answer, asked)


def open_kubernetes(
    environ: Mapping[str, str], *, namespace: str = "", kubeconfig: str = "", context: str = ""
) -> KubernetesApi:
    """The cluster that kubectl would speak to; in a pod without a kubeconfig, the pod's own."""

    def load() -> Access:
        return load_access(environ, kubeconfig=kubeconfig, context=context)

    return KubernetesApi(load, namespace=namespace)


def _pairs(wanted: Mapping[str, str] | None) -> str:
    return ",".join(f"{name}={value}" for name, value in (wanted or {}).items())
