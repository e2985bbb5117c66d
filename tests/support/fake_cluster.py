"""A Kubernetes API server in memory, behind httpx, so that the adapter itself is exercised."""

import re
import ssl
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import unquote

import httpx

from clinical_ai.adapters.kubernetes_access import Access
from clinical_ai.adapters.kubernetes_api import KubernetesApi
from tests.support.fake_objects import Object, Objects, Stored, copied
from tests.support.fake_refusals import Refusal, check_fields, check_values
from tests.support.fake_requests import (
    SERVED,
    Request,
    Served,
    field_at,
    matches,
    merged,
    understood,
)

HOST: Final = "https://cluster.test:6443"
_TRUST: Final = ssl.create_default_context()


class FakeCluster(httpx.BaseTransport):
    """An API server. `down`: it can't be reached. `requests`: what was asked, in order.

    `first`: what it answers to the next requests instead, None for its own answer. `denied`: verb
    and plural that nobody may. `confined`: nobody may list across namespaces. `admit`: called with
    each object before it is stored, may raise Refusal. `logs`: by pod, container and whether of the
    run before.
    """

    def __init__(self, *namespaces: str) -> None:
        self.objects = Objects()
        self.served: list[Served] = []
        for version, kinds in SERVED.items():
            for each in kinds.split():
                kind, _, plural = each.partition("/")
                self.serve(version, kind, plural.rstrip("-"), namespaced=not plural.endswith("-"))
        self.down = False
        self.first: list[httpx.Response | None] = []
        self.denied: set[tuple[str, str]] = set()
        self.confined = False
        self.admit: Callable[[Object], None] = lambda _: None
        self.on_write: Callable[[Request], None] = lambda _: None
        self.logs: dict[tuple[str, str, bool], str] = {}
        self.requests: list[Request] = []
        self.opened = 0
        self.page_size = 500
        for name in ("default", *namespaces):
            self.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})

    def open(self, namespace: str = "default", **more: Any) -> KubernetesApi:
        """The adapter, connected to this server."""
        return KubernetesApi(self._access, namespace=namespace, transport=self, **more)

    def _access(self) -> Access:
        self.opened += 1
        return Access(HOST, _TRUST, "default", "a test", lambda: "Bearer test")

    def serve(self, api_version: str, kind: str, plural: str, *, namespaced: bool = True) -> None:
        """From now on the server knows this kind."""
        self.served.append(Served(api_version, kind, plural, namespaced))

    def put(self, content: Object, manager: str = "somebody", subresource: str = "") -> Object:
        """The object is there as given, as if `manager` had edited it."""
        about, served = content["metadata"], self._kind(content["apiVersion"], content["kind"])
        namespace = about.setdefault("namespace", "default") if served.namespaced else ""
        place = (served.api_version, served.kind, namespace, about["name"])
        live = self.objects.all.get(place)
        kept = {**live.content["metadata"]} if live else {}
        content = {**copied(content), "metadata": {**kept, **about}}
        return self.objects.write(place, content, manager, subresource=subresource)

    def look(self, kind: str, name: str) -> Object:
        """The object of that kind and name, wherever it stands."""
        [found] = [it for it in self.objects.all if (it[1], it[3]) == (kind, name)]
        return self.objects.all[found].shown()

    def edit(
        self, kind: str, name: str, manager: str, change: Callable[[Object], object]
    ) -> Object:
        """What somebody does by `kubectl edit`."""
        content = self.look(kind, name)
        del content["metadata"]["managedFields"]
        change(content)
        return self.put(content, manager)

    @property
    def writes(self) -> list[str]:
        """Requests that could change something."""
        reading = {"get", "list"}
        return [
            str(it)
            for it in self.requests
            if it.verb not in reading
            and not it.dry_run
            and it.served.kind != "SelfSubjectAccessReview"
        ]

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """The server's answer."""
        if self.down:
            raise httpx.ConnectError("refused")
        if self.first and (answer := self.first.pop(0)) is not None:
            return answer
        try:
            answer = self._answer(request)
        except Refusal as refusal:
            return httpx.Response(refusal.code, json=refusal.status)
        return answer if isinstance(answer, httpx.Response) else httpx.Response(200, json=answer)

    def _answer(self, request: httpx.Request) -> Any:
        path = unquote(request.url.path)
        if path == "/version":
            return {"major": "1", "minor": "34", "gitVersion": "v1.34.0"}
        if found := re.fullmatch(r"/(?:api|apis)/(v1|[^/]+/v[^/]+)", path):
            return self._discovery(found[1])
        asked = understood(request, path, self.served)
        self.requests.append(asked)
        self._authorize(asked)
        if asked.verb not in {"get", "list"} and not asked.dry_run:
            self.on_write(asked)
        route = _ROUTES.get((asked.verb, asked.subresource))
        if route is None:
            raise Refusal(405, "MethodNotAllowed", "the server does not allow this method")
        return route(self, asked)

    def _authorize(self, asked: Request) -> None:
        plural = f"{asked.served.plural}/{asked.subresource}".rstrip("/")
        across = asked.verb == "list" and asked.served.namespaced and not asked.namespace
        if (asked.verb, plural) in self.denied or (across and self.confined):
            where = (
                f' in the namespace "{asked.namespace}"'
                if asked.namespace
                else " at the cluster scope"
            )
            group = asked.served.api_version.rpartition("/")[0]
            raise Refusal(
                403,
                "Forbidden",
                f'{plural} "{asked.name}" is forbidden: User "a-test" cannot {asked.verb} resource '
                f'"{plural}" in API group "{group}"{where}',
            )

    def _kind(self, api_version: str, kind: str) -> Served:
        return next(it for it in self.served if (it.api_version, it.kind) == (api_version, kind))

    def _discovery(self, api_version: str) -> Any:
        rows = [it for it in self.served if it.api_version == api_version]
        if not rows:
            raise Refusal(404, "NotFound", "the server could not find the requested resource")
        listed = [{"name": it.plural, "kind": it.kind, "namespaced": it.namespaced} for it in rows]
        return {"kind": "APIResourceList", "groupVersion": api_version, "resources": listed}

    # Verbs.

    def _get(self, asked: Request) -> Any:
        shown = self._there(asked).shown()
        if "as=PartialObjectMetadata" not in asked.accept:
            return shown
        about = {"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata"}
        return {**about, "metadata": shown["metadata"]}

    def _there(self, asked: Request) -> Stored:
        found = self.objects.all.get(asked.place)
        if found is None:
            raise Refusal(404, "NotFound", f'{asked.served.plural} "{asked.name}" not found')
        return found

    def _list(self, asked: Request) -> Any:
        served = asked.served
        rows = [
            row
            for row in self.objects.select(served.api_version, served.kind, asked.namespace)
            if matches(row["metadata"].get("labels", {}).get, asked.query.get("labelSelector"))
            and matches(lambda path, row=row: field_at(row, path), asked.query.get("fieldSelector"))
        ]
        start = int(asked.query.get("continue", "0"))
        end = start + min(int(asked.query.get("limit", "500")), self.page_size)
        about = {"continue": str(end)} if end < len(rows) else {}
        for row in rows:
            del row["apiVersion"], row["kind"]
        return {"kind": f"{served.kind}List", "metadata": about, "items": rows[start:end]}

    def _create(self, asked: Request) -> Any:
        if asked.served.kind == "SelfSubjectAccessReview":
            return self._review(asked.body)
        self._need_namespace(asked)
        content = self._placed(asked)
        if asked.place in self.objects.all:
            check_fields(content, asked.place, typed=False)
            check_values(asked.place, content)
            raise Refusal(
                409, "AlreadyExists", f'{asked.served.plural} "{asked.name}" already exists'
            )
        self.admit(content)
        return self.objects.write(
            asked.place, content, asked.query["fieldManager"], dry_run=asked.dry_run
        )

    def _review(self, body: Any) -> Any:
        wanted = body["spec"]["resourceAttributes"]
        plural = "/".join(filter(None, (wanted["resource"], wanted.get("subresource"))))
        return {**body, "status": {"allowed": (wanted["verb"], plural) not in self.denied}}

    def _patch(self, asked: Request) -> Any:
        if asked.content_type.startswith("application/apply-patch"):
            self._need_namespace(asked)
            content = self._placed(asked)
            self.admit(content)
            manager = asked.query["fieldManager"]
            return self.objects.apply(asked.place, content, manager, dry_run=asked.dry_run)
        return self._merge(asked, asked.body)

    def _merge(self, asked: Request, body: Any, subresource: str = "") -> Any:
        live = self._there(asked).content
        wanted = (body.get("metadata") or {}).get("resourceVersion")
        if wanted not in {None, live["metadata"]["resourceVersion"]}:
            told = "the object has been modified; please apply your changes to the latest version"
            raise Refusal(409, "Conflict", f"Operation cannot be fulfilled: {told}")
        content = merged(live, body)
        manager = asked.query["fieldManager"]
        return self.objects.write(
            asked.place, content, manager, subresource=subresource, dry_run=asked.dry_run
        )

    def _scale(self, asked: Request) -> Any:
        body = {"spec": {"replicas": asked.body["spec"]["replicas"]}}
        return self._merge(asked, body, "scale")

    def _status(self, asked: Request) -> Any:
        return self._merge(asked, {"status": asked.body["status"]}, "status")

    def _delete(self, asked: Request) -> Any:
        self._there(asked)
        told = asked.body or {}
        self.objects.delete(
            asked.place, told.get("preconditions", {}), told.get("propagationPolicy", "Background")
        )
        return {"kind": "Status", "status": "Success"}

    def _log(self, asked: Request) -> Any:
        self._there(asked)
        key = (asked.name, asked.query.get("container", ""), asked.query.get("previous") == "true")
        if key not in self.logs:
            raise Refusal(400, "BadRequest", "container is waiting to start")
        lines = self.logs[key].splitlines(keepends=True)
        return httpx.Response(200, text="".join(lines[-int(asked.query["tailLines"]) :]))

    def _placed(self, asked: Request) -> Object:
        content = copied(asked.body)
        if asked.namespace:
            content["metadata"]["namespace"] = asked.namespace
        return dict(content)

    def _need_namespace(self, asked: Request) -> None:
        if asked.namespace and ("v1", "Namespace", "", asked.namespace) not in self.objects.all:
            raise Refusal(404, "NotFound", f'namespaces "{asked.namespace}" not found')


_ROUTES: Final[dict[tuple[str, str], Callable[[FakeCluster, Request], Any]]] = {
    ("get", ""): FakeCluster._get,
    ("list", ""): FakeCluster._list,
    ("create", ""): FakeCluster._create,
    ("patch", ""): FakeCluster._patch,
    ("patch", "scale"): FakeCluster._scale,
    ("patch", "status"): FakeCluster._status,
    ("delete", ""): FakeCluster._delete,
    ("get", "log"): FakeCluster._log,
}
