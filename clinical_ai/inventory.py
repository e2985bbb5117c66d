"""The list of objects that we applied: what it looks like, and what is no longer wanted. Pure."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from clinical_ai.errors import NeedsOperator
from clinical_ai.ports_cluster import Object, Ref


@dataclass(frozen=True)
class Inventory:
    """Objects in the order they were applied, each with its uid; empty when it is not known yet."""

    uids: Mapping[Ref, str]

    def with_wanted(self, wanted: Iterable[Ref]) -> Self:
        """Those as well; written before they are applied, so that a kill forgets none."""
        return type(self)({**self.uids, **{ref: self.uids.get(ref, "") for ref in wanted}})

    def with_uids(self, uids: Mapping[Ref, str]) -> Self:
        """The same objects, with these uids where they are known."""
        return type(self)({ref: uids.get(ref) or uid for ref, uid in self.uids.items()})

    def only(self, kept: Iterable[Ref]) -> Self:
        """Those of them that are kept."""
        stay = frozenset(kept)
        return type(self)({ref: uid for ref, uid in self.uids.items() if ref in stay})

    def unwanted(self, wanted: Iterable[Ref]) -> list[Ref]:
        """Those that are wanted no more, the last applied first."""
        stay = frozenset(wanted)
        return [ref for ref in reversed(list(self.uids)) if ref not in stay]


def as_rows(inventory: Inventory) -> str:
    """One line an object, as people read it with kubectl."""
    rows = [
        {
            "apiVersion": ref.api_version,
            "kind": ref.kind,
            "name": ref.name,
            "namespace": ref.namespace,
            "uid": uid,
        }
        for ref, uid in inventory.uids.items()
    ]
    return "[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n" if rows else "[]\n"


def from_rows(text: str, where: str) -> Inventory:
    """What `as_rows` wrote; NeedsOperator when somebody has changed it beyond recognition."""
    try:
        rows = json.loads(text)
        return Inventory(dict(_row(row) for row in rows))
    except (ValueError, TypeError, KeyError, AttributeError):
        raise NeedsOperator(
            f"{where} is no list of objects",
            "restore it, or delete it: the objects of today are listed anew, and what is wanted "
            "no more has to be deleted by hand",
        ) from None


def _row(row: Any) -> tuple[Ref, str]:
    fields = [str(row[name]) for name in ("apiVersion", "kind", "name", "namespace", "uid")]
    return Ref(*fields[:4]), fields[4]


def is_ours(found: Object, uid: str, labels: Mapping[str, str], manager: str) -> bool:
    """Whether this is the object that we applied, and still ours.

    Without a uid (a kill came before it was written down) our field manager has to own fields.
    """
    about = found["metadata"]
    if not labels.items() <= (about.get("labels") or {}).items():
        return False
    if uid:
        return bool(about["uid"] == uid)
    owners = about.get("managedFields") or []
    return any((it["manager"], it["operation"]) == (manager, "Apply") for it in owners)
