"""Which path a kind of object has, asked of the API server once for each group and version."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from clinical_ai.errors import NeedsOperator
from clinical_ai.ports_cluster import NotServed, Ref


@dataclass(frozen=True)
class Kind:
    """A kind that the cluster serves; `plural` is its name in paths and permissions."""

    root: str
    plural: str
    namespaced: bool

    def collection(self, namespace: str | None) -> str:
        """The path of all its objects in a namespace; None: in the whole cluster."""
        inside = self.namespaced and namespace is not None
        within = f"/namespaces/{quote(namespace or '', safe='')}" if inside else ""
        return f"{self.root}{within}/{self.plural}"

    def path(self, name: str, namespace: str, subresource: str = "") -> str:
        """The path of one object; without a name it would be that of all."""
        if name in {"", ".", ".."}:
            raise NeedsOperator(f"{name!r} is no name for one of {self.plural}", "give it one")
        end = f"/{subresource}" if subresource else ""
        return f"{self.collection(namespace)}/{quote(name, safe='')}{end}"


class Kinds:
    """Kinds by apiVersion and name. `read` gives a discovery document, or None for 404."""

    def __init__(self, read: Callable[[str], Mapping[str, Any] | None]) -> None:
        self._read = read
        self._known: dict[str, dict[str, Kind]] = {}

    def find(self, api_version: str, kind: str) -> Kind | None:
        """The kind, or None when it is not served; asked anew then, for it may be soon."""
        if kind not in self._known.get(api_version, {}):
            self._known[api_version] = self._discover(api_version)
        return self._known[api_version].get(kind)

    def get(self, api_version: str, kind: str) -> Kind:
        """The kind, or NotServed."""
        found = self.find(api_version, kind)
        if found is None:
            raise NotServed(api_version, kind)
        return found

    def of(self, ref: Ref) -> Kind:
        """The kind of this object."""
        return self.get(ref.api_version, ref.kind)

    def _discover(self, api_version: str) -> dict[str, Kind]:
        root = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
        found = self._read(root)
        return {
            row["kind"]: Kind(root, row["name"], row["namespaced"])
            for row in (found or {}).get("resources", [])
            if "/" not in row["name"]
        }
