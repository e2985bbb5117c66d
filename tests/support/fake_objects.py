"""The objects of an API server in memory, and what it does with each write."""

from collections.abc import Iterator, Mapping
from copy import copy
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from itertools import count
from typing import Any, Final
from uuid import uuid4

from tests.support.fake_refusals import Refusal, check_change, check_fields, check_values
from tests.support.object_fields import Path, as_fields, as_text, paths, put, remove, values
from tests.support.object_schema import copied, schema_of

Object = dict[str, Any]
Place = tuple[str, str, str, str]  # apiVersion, kind, namespace, name
_NOW: Final = "%Y-%m-%dT%H:%M:%SZ"
_NO_GENERATION: Final = frozenset(
    {"ConfigMap", "Secret", "Lease", "ServiceAccount", "Event", "Service", "Pod"}
)


@dataclass
class Stored:
    """An object and who owns its fields: by manager, operation and subresource."""

    content: Object
    owners: dict[tuple[str, str, str], set[Path]] = field(default_factory=dict)

    def shown(self) -> Object:
        """As the server answers."""
        shown: Object = copied(self.content)
        shown["metadata"]["managedFields"] = list(self._managed)
        return shown

    @cached_property
    def _managed(self) -> list[Object]:
        return [
            {
                "manager": manager,
                "operation": operation,
                "apiVersion": self.content["apiVersion"],
                "fieldsType": "FieldsV1",
                "fieldsV1": as_fields(owned),
                **({"subresource": subresource} if subresource else {}),
            }
            for (manager, operation, subresource), owned in self.owners.items()
            if owned
        ]


class Objects:
    """All objects; every write that changes one gives it a new resourceVersion."""

    def __init__(self) -> None:
        self.all: dict[Place, Stored] = {}
        self._versions = count(1000)

    def copy(self) -> "Objects":
        """Others, which begin as these are."""
        made = Objects()
        made.all = {
            place: Stored(copied(stored.content), dict(stored.owners))
            for place, stored in self.all.items()
        }
        made._versions = copy(self._versions)
        return made

    def apply(self, place: Place, wanted: Object, manager: str, *, dry_run: bool) -> Object:
        """Server-side apply without force."""
        schema, live = schema_of(*place[:2]), self.all.get(place)
        check_fields(wanted, place, typed=True)
        before = live or Stored(_bare(place))
        mine, owned = (manager, "Apply", ""), paths(schema, wanted)
        self._refuse_conflicts(schema, before, wanted, mine, owned)
        content = copied(before.content)
        told, was = values(schema, wanted), values(schema, content)
        for path in sorted(owned, key=len):
            value, there = told[path], was.get(path)
            if isinstance(path[-1], tuple) and path[-1][0] != "=":
                continue  # an item comes with its fields
            if there is None or (value not in ({}, []) and value != there):
                put(schema, content, path, value)  # an empty map takes nothing away
        others = [fields for who, fields in before.owners.items() if who != mine]
        for path in sorted(before.owners.get(mine, set()) - owned, key=len):
            if not any(it[: len(path)] == path for fields in (*others, owned) for it in fields):
                remove(schema, content, path)
        owners = {**before.owners, mine: owned}
        return self._store(place, live, Stored(content, owners), dry_run=dry_run)

    def _refuse_conflicts(
        self,
        schema: Object,
        before: Stored,
        wanted: Object,
        mine: tuple[str, str, str],
        owned: set[Path],
    ) -> None:
        told, was = values(schema, wanted), values(schema, before.content)
        causes = [
            {
                "reason": "FieldManagerConflict",
                "message": f'conflict with "{who[0]}" using {before.content["apiVersion"]}',
                "field": as_text(path),
            }
            for who, fields in before.owners.items()
            if who != mine
            for path in sorted(
                (
                    each
                    for each in fields & owned
                    if told[each] != was.get(each)
                    and not isinstance(each[-1], tuple)
                    and told[each] != {}
                ),
                key=repr,
            )
        ]
        if causes:
            message = f"Apply failed with {len(causes)} conflicts"
            raise Refusal(409, "Conflict", message, causes=causes)

    def write(
        self,
        place: Place,
        content: Object,
        manager: str,
        *,
        subresource: str = "",
        dry_run: bool = False,
    ) -> Object:
        """The object becomes this, as after POST, PUT, merge patch or `kubectl edit`."""
        schema, live = schema_of(*place[:2]), self.all.get(place)
        check_fields(content, place, typed=False)
        content = copied(content)
        fill_data(content)
        before = live or Stored(_bare(place))
        now, told = paths(schema, content), values(schema, content)
        was = values(schema, before.content)
        set_anew = {path for path in now if told[path] != was.get(path)}
        if subresource == "scale":  # as on a real server: what had no owner gets none
            set_anew &= set().union(*before.owners.values())
        owners = {who: (fields & now) - set_anew for who, fields in before.owners.items()}
        who = (manager, "Update", subresource)
        owners[who] = owners.get(who, set()) | set_anew
        return self._store(place, live, Stored(content, owners), dry_run=dry_run)

    def _store(self, place: Place, live: Stored | None, new: Stored, *, dry_run: bool) -> Object:
        check_values(place, new.content)
        about = new.content["metadata"]
        if live is None:
            about["uid"] = str(uuid4())
            about["creationTimestamp"] = datetime.now(UTC).strftime(_NOW)
            about.setdefault("generation", 1)
        set_defaults(new.content)
        if place[1] in _NO_GENERATION:
            about.pop("generation", None)
        if live is not None:
            check_change(place, live.content, new.content)
            about["resourceVersion"] = live.content["metadata"]["resourceVersion"]
            if _same(live, new):
                return live.shown()
            if live.content.get("spec") != new.content.get("spec") and "generation" in about:
                about["generation"] += 1
        if dry_run:
            return new.shown()
        about["resourceVersion"] = str(next(self._versions))
        self.all[place] = new
        self._finish(place)
        return new.shown()

    def delete(self, place: Place, conditions: Mapping[str, str], propagation: str) -> None:
        """It goes, or waits for its finalizers; what it owns goes too, unless orphaned."""
        about = self.all[place].content["metadata"]
        for name, wanted in conditions.items():
            if about[name] != wanted:
                told = f"the {name} in the precondition ({wanted}) does not match {about[name]}"
                raise Refusal(409, "Conflict", f"Precondition failed: {told}")
        if about.get("finalizers"):
            about.setdefault("deletionTimestamp", datetime.now(UTC).strftime(_NOW))
            about["resourceVersion"] = str(next(self._versions))
            return
        del self.all[place]
        if place[:2] == ("v1", "Namespace"):
            for inner in [it for it in self.all if it[2] == place[3]]:
                del self.all[inner]
        for owned in self._owned_by(about["uid"]) if propagation != "Orphan" else ():
            self.delete(owned, {}, propagation)

    def _owned_by(self, uid: str) -> list[Place]:
        return [
            place
            for place, stored in self.all.items()
            if any(it["uid"] == uid for it in stored.content["metadata"].get("ownerReferences", []))
        ]

    def _finish(self, place: Place) -> None:
        about = self.all[place].content["metadata"]
        if "deletionTimestamp" in about and not about.get("finalizers"):
            self.delete(place, {}, "Background")

    def select(self, api_version: str, kind: str, namespace: str) -> Iterator[Object]:
        """Objects of a kind in a namespace, by name; without one, in all of them."""
        for place in sorted(self.all):
            if place[:2] == (api_version, kind) and namespace in {"", place[2]}:
                yield self.all[place].shown()


def _bare(place: Place) -> Object:
    api_version, kind, namespace, name = place
    about = {"name": name, **({"namespace": namespace} if namespace else {})}
    return {"apiVersion": api_version, "kind": kind, "metadata": about}


def _same(live: Stored, new: Stored) -> bool:
    return live.content == new.content and {k: v for k, v in live.owners.items() if v} == {
        k: v for k, v in new.owners.items() if v
    }


def set_defaults(content: Object) -> None:
    """A few of the fields that the server fills in."""
    spec = content.get("spec", {})
    match content["kind"]:
        case "Deployment":
            spec.setdefault("replicas", 1)
            spec.setdefault("revisionHistoryLimit", 10)
            spec.setdefault("progressDeadlineSeconds", 600)
            _default_pod(spec.get("template", {}).get("spec", {}))
        case "Job":
            spec.setdefault("backoffLimit", 6)
            _default_pod(spec.get("template", {}).get("spec", {}))
        case "Service":
            spec.setdefault("type", "ClusterIP")
            for port in spec.get("ports", []):
                port.setdefault("protocol", "TCP")
                port.setdefault("targetPort", port["port"])
        case "Secret":
            fill_data(content)
            content.setdefault("type", "Opaque")


def fill_data(content: Object) -> None:
    """What stands in `stringData` is `data`: whoever wrote it, but for an apply, owns that."""
    from base64 import b64encode

    given = content.pop("stringData", {}) if content["kind"] == "Secret" else {}
    encoded = {name: b64encode(value.encode()).decode() for name, value in given.items()}
    if encoded:
        content["data"] = {**content.get("data", {}), **encoded}


def _default_pod(spec: Object) -> None:
    spec.setdefault("restartPolicy", "Always")
    spec.setdefault("terminationGracePeriodSeconds", 30)
    for container in (*spec.get("initContainers", []), *spec.get("containers", [])):
        container.setdefault("imagePullPolicy", "IfNotPresent")
        container.setdefault("terminationMessagePath", "/dev/termination-log")
        for port in container.get("ports", []):
            port.setdefault("protocol", "TCP")
