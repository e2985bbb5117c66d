"""What outlives a run of deploy/self, kept in the cluster: journal, ledger, the last good objects.

In ConfigMaps of their own rather than in Prefect's database, which a restore turns back. Nobody
else writes them, and no secret is in an object: pods refer to Secrets by name.
"""

import gzip
import json
import zlib
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from clinical_ai import names
from clinical_ai.errors import NeedsOperator
from clinical_ai.plans import Journal, from_dict
from clinical_ai.ports_cluster import Cluster, Object, Ref
from clinical_ai.steps.cluster.ensure import Guard, free

_ENTRIES: Final = 50
_MOST: Final = 500_000  # characters; a ConfigMap that holds twice as many is refused
_JOURNAL: Final = "journal.json"
_LEDGER: Final = "entries.json"
_OBJECTS: Final = "objects.json.gz"
_MARK: Final = "wanted"


@dataclass(frozen=True)
class Records:
    """A JournalKeeper, and more, over ConfigMaps of the namespace. `guard`: before each write."""

    cluster: Cluster
    guard: Guard = free

    def find_journal(self) -> Journal | None:
        """The last hold of pools, or None."""
        text = self._data(names.JOURNAL).get(_JOURNAL)
        if text is None:
            return None
        try:
            return from_dict(json.loads(text))
        except (KeyError, TypeError, ValueError):
            raise self.damaged(names.JOURNAL) from None

    def write_journal(self, journal: Journal) -> None:
        """The journal is safe when this returns."""
        self._write(names.JOURNAL, data={_JOURNAL: json.dumps(journal.to_dict(), sort_keys=True)})

    def read_ledger(self) -> list[dict[str, Any]]:
        """Entries, the oldest first."""
        return self._rows(self._data(names.LEDGER).get(_LEDGER, "[]"), names.LEDGER)

    def write_ledger(self, entry: Mapping[str, Any]) -> None:
        """The ledger ends with this entry; the oldest are forgotten, sooner where all are long.

        One that differs from the last in its moment alone is that one, whose answer was lost.
        """
        known = self.read_ledger()
        if known and {**known[-1], "at": ""} == {**entry, "at": ""}:
            return
        entries = [*known, dict(entry)][-_ENTRIES:]
        while len(text := json.dumps(entries, sort_keys=True)) > _MOST and len(entries) > 1:
            del entries[0]
        self._write(names.LEDGER, data={_LEDGER: text})

    def find_objects(self) -> list[Object]:
        """The objects that were last found good together; none before the first time."""
        found = self.cluster.find(_ref(names.GOOD_OBJECTS)) or {}
        packed = (found.get("binaryData") or {}).get(_OBJECTS)
        if packed is None:
            return []
        try:
            text = gzip.decompress(b64decode(packed))
        except (OSError, EOFError, ValueError, zlib.error):
            raise self.damaged(names.GOOD_OBJECTS) from None
        rows = self._rows(text, names.GOOD_OBJECTS)
        if not all(map(_is_named, rows)):
            raise self.damaged(names.GOOD_OBJECTS)
        return rows

    def find_mark(self) -> str:
        """Of all that was wanted when the objects were last found good; empty before."""
        return self._data(names.GOOD_OBJECTS).get(_MARK, "")

    def write_objects(self, objects: list[Object], mark: str = "") -> None:
        """These are good together; nothing is written when they were so before.

        `mark`: of all that was wanted with them, see `healing`.
        """
        if self.find_objects() == objects and self.find_mark() == mark:
            return
        text = json.dumps(objects, sort_keys=True).encode()
        packed = b64encode(gzip.compress(text, mtime=0)).decode()
        self._write(names.GOOD_OBJECTS, data={_MARK: mark}, binary={_OBJECTS: packed})

    def _rows(self, text: str | bytes, name: str) -> list[dict[str, Any]]:
        try:
            found = json.loads(text)
        except ValueError:
            found = None
        if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
            raise self.damaged(name)
        return found

    def damaged(self, name: str) -> NeedsOperator:
        """What is told of a record that is not as it was written."""
        remove = f"`kubectl delete configmap {name} -n {self.cluster.namespace}`"
        return NeedsOperator(
            f"ConfigMap {name} is damaged", f"look at it, then remove it: {remove}"
        )

    def _data(self, name: str) -> dict[str, str]:
        return (self.cluster.find(_ref(name)) or {}).get("data") or {}

    def _write(
        self, name: str, *, data: dict[str, str] | None = None, binary: dict[str, str] | None = None
    ) -> None:
        about = {"name": name, "labels": {"app.kubernetes.io/part-of": names.PRODUCT}}
        record: Object = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": about}
        record |= {key: it for key, it in (("data", data), ("binaryData", binary)) if it}
        self.guard()
        self.cluster.apply(record)


def _is_named(row: Mapping[str, Any]) -> bool:
    """Whether it tells which object it is, as all who read good objects take for granted."""
    about = row.get("metadata")
    name = about.get("name") if isinstance(about, dict) else None
    return all(isinstance(each, str) for each in (row.get("apiVersion"), row.get("kind"), name))


def _ref(name: str) -> Ref:
    return Ref("v1", "ConfigMap", name)
