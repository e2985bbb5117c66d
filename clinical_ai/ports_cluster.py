"""What steps need from a Kubernetes API server: plain objects, applied under one field manager."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, Self

from clinical_ai.errors import NeedsOperator, Transient

Object = dict[str, Any]
Propagation = Literal["Background", "Foreground", "Orphan"]


@dataclass(frozen=True, order=True)
class Ref:
    """Where an object stands.

    `namespace` empty: that of the connection, or none when the kind has none.
    """

    api_version: str
    kind: str
    name: str
    namespace: str = ""

    @classmethod
    def of(cls, found: Mapping[str, Any]) -> Self:
        """Where this object says that it stands."""
        about = found["metadata"]
        return cls(found["apiVersion"], found["kind"], about["name"], about.get("namespace", ""))

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else self.short

    @property
    def short(self) -> str:
        """Without the namespace."""
        return f"{self.kind} {self.name}"


@dataclass(frozen=True)
class Permission:
    """One thing that an account may do; `name` empty: to every object of the resource."""

    verb: str
    resource: str  # plural, with subresource: `pods/log`
    group: str = ""
    name: str = ""
    namespace: str | None = ""  # empty: that of the connection; None: the whole cluster

    def __str__(self) -> str:
        return f"{self.verb} {self.resource}" + (f".{self.group}" if self.group else "")


@dataclass(frozen=True, order=True)
class FieldConflict:
    """A field that somebody else set to another value, as the API server writes its path."""

    field: str
    manager: str

    def __str__(self) -> str:
        return f"{self.field} belongs to {self.manager}"


class Conflicts(NeedsOperator):
    """Fields of an object belong to others; nothing of it was applied."""

    def __init__(self, ref: Ref, conflicts: Sequence[FieldConflict]) -> None:
        told = "; ".join(map(str, conflicts))
        super().__init__(
            f"{ref} has fields that others set to another value: {told}",
            "leave the field to them in settings, or have them give it up",
        )
        self.args = (ref, conflicts)
        self.ref = ref
        self.conflicts = tuple(conflicts)


class Invalid(NeedsOperator):
    """The object, as it would be, breaks a rule. `faults`: each field with the rule."""

    def __init__(self, what: str, faults: str) -> None:
        super().__init__(f"{what} is not valid: {faults}", "correct the field it names")
        self.args = (what, faults)
        self.faults = faults


class Forbidden(NeedsOperator):
    """The account lacks a right."""


class Changed(Transient):
    """Somebody changed or replaced the object after it was read; read it again."""


class NotServed(NeedsOperator):
    """The cluster does not know this kind of object."""

    def __init__(self, api_version: str, kind: str) -> None:
        super().__init__(
            f"the cluster serves no {kind} of {api_version}",
            f"install what brings it; see `kubectl api-resources --api-group="
            f"{group_of(api_version)}`",
        )
        self.args = (api_version, kind)


def in_namespace(remedy: str, namespace: str) -> str:
    """The remedy with its kubectl lines said for this namespace."""
    return remedy.replace("kubectl ", f"kubectl -n {namespace} ") if namespace else remedy


def group_of(api_version: str) -> str:
    """`apps` of `apps/v1`; empty for `v1`."""
    return api_version.rpartition("/")[0]


class Cluster(Protocol):
    """A Kubernetes API server, spoken to by one account with a namespace of its own.

    Raises Transient when it can't be reached, is busy or fails; NeedsOperator when it refuses, with
    the field, the permission or the rule it names. No error repeats a value of an object.
    """

    @property
    def namespace(self) -> str:
        """Where objects stand that name no namespace."""

    def find(self, ref: Ref) -> Object | None:
        """The object, or None when there is none."""

    def get(self, ref: Ref) -> Object:
        """The object; NeedsOperator when there is none."""

    def find_metadata(self, ref: Ref) -> Object | None:
        """The object without its content, or None when there is none: no value of a Secret."""

    def find_all(
        self,
        api_version: str,
        kind: str,
        *,
        labels: Mapping[str, str] | None = None,
        fields: Mapping[str, str] | None = None,
        namespace: str | None = "",
    ) -> list[Object]:
        """All objects of a kind with these labels and values of fields.

        `namespace` as of a Permission: empty is that of the connection, None the whole cluster.
        """

    def apply(self, wanted: Object, *, dry_run: bool = False, manager: str = "") -> Object:
        """The object has these fields, and they are ours. The whole object, as the server has it.

        `dry_run`: as the server would have it. `manager`: whose they are instead. Unknown fields
        are refused. Raises Conflicts.
        """

    def create(self, wanted: Object, *, dry_run: bool = False) -> Object | None:
        """The new object, or None when one of that name is there; it is left as it is.

        `dry_run`: as it would be. Whether it is valid by itself is looked at first, also when one
        is there.
        """

    def patch(self, ref: Ref, body: Object, *, subresource: str = "") -> Object:
        """Merge the body into the object, as `kubectl patch --type merge` does.

        A `metadata.resourceVersion` in the body must be the object's: Changed otherwise.
        """

    def delete(
        self,
        ref: Ref,
        *,
        uid: str,
        resource_version: str = "",
        propagation: Propagation = "Background",
    ) -> bool:
        """The object with this uid goes; False when it was gone. Raises Changed.

        Finalizers may keep it for a while. `Foreground`: it goes after what it owns.
        """

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
        """The last lines of a container; empty when it has not run.

        `previous`: those before its restart. `seconds`: none that is older than that.
        """

    def events(self, found: Object) -> list[Object]:
        """Events about this very object, the latest last."""

    def may(self, permission: Permission) -> bool:
        """Whether this account may do that."""

    def version(self) -> tuple[int, int]:
        """Major and minor version of the server."""

    def serves(self, api_version: str, kind: str) -> bool:
        """Whether the cluster knows this kind of object."""
