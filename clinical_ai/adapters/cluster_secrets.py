"""Secrets of a namespace, for bootstrap: `secret:NAME/KEY` is a key of a Kubernetes Secret.

Pods read theirs as files (see `mounted_secrets`); only a person's rights reach this far.
"""

from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Mapping
from functools import cache

from pydantic import SecretStr

from clinical_ai import names
from clinical_ai.adapters.secret_text import encoded, kept, parts_of
from clinical_ai.change import Change, Did
from clinical_ai.errors import NeedsOperator
from clinical_ai.ports_cluster import Cluster, Object, Ref
from clinical_ai.secret_lines import FILES, absence, listed, replacing


class SecretsSeen:
    """What the Secrets of a namespace hold, as `read` finds them by their names."""

    def __init__(self, namespace: str, read: Callable[[str], Object | None]) -> None:
        self._namespace = namespace
        self._read = read

    def find(self, reference: str) -> SecretStr | None:
        """The value without its last line end, or None when there is no such Secret or key."""
        data = self._data(reference)
        return None if data is None else kept(reference, data)

    def ends_with_line(self, reference: str) -> bool:
        """Whether the value has a line end, which a file may have, and a pod's variable keeps."""
        return (self._data(reference) or b"").endswith(b"\n")

    def absences(self, references: Iterable[str]) -> list[NeedsOperator]:
        """A fault for each Secret that lacks some of these, with the kubectl line that adds all."""
        return [
            absence(self._namespace, name, keys, there=self._read(name) is not None)
            for name, keys in _by_secret(references).items()
        ]

    def kept_otherwise(self, given: Mapping[str, SecretStr]) -> list[str]:
        """A sentence for each Secret that holds another value than is given, and goes on to.

        With the kubectl line that replaces it, and no value.
        """
        other = [each for each in given if self.find(each) not in (None, given[each])]
        return [
            f"{listed(name, keys)} {'keeps' if len(keys) == 1 else 'keep'} what the Secret holds,"
            f" though another value is given; to replace it, {FILES}:"
            f" {replacing(self._namespace, name, keys)}"
            for name, keys in _by_secret(other).items()
        ]

    def _data(self, reference: str) -> bytes | None:
        name, key = parts_of(reference)
        data = ((self._read(name) or {}).get("data") or {}).get(key)
        return None if data is None else b64decode(data)


class ClusterSecrets(SecretsSeen):
    """A SecretStore in the cluster's namespace; keys that others put there are left alone."""

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster.namespace, lambda name: cluster.find(_ref(name)))
        self._cluster = cluster

    def at_once(self) -> SecretsSeen:
        """For one question about many references: each Secret is read once, when first asked for.

        What is written later is not in it, so it is not kept, and nothing is written by it.
        """
        return SecretsSeen(self._namespace, cache(self._read))

    def get(self, reference: str) -> SecretStr:
        """The value; NeedsOperator tells the kubectl line that adds it when it is absent."""
        found = self.find(reference)
        if found is None:
            [fault] = self.absences([reference])
            raise fault
        return found

    def ensure(self, reference: str, value: SecretStr) -> Change:
        """The reference exists; a value that is there already is kept.

        Also one that somebody else made at this moment: what they start next depends on it.
        """
        name, key = parts_of(reference)
        if self.find(reference) is not None:
            return Change(reference, Did.UNCHANGED)
        if self._make(name, {key: _in_base64(reference, value)}):
            return Change(reference, Did.CREATED)
        if self.find(reference) is not None:
            return Change(reference, Did.UNCHANGED)
        return self.put(reference, value)

    def put(self, reference: str, value: SecretStr) -> Change:
        """The reference holds this value."""
        name, key = parts_of(reference)
        data = {key: _in_base64(reference, value)}
        before = self.find(reference)
        if before == value:
            return Change(reference, Did.UNCHANGED)
        if not self._make(name, data):
            self._cluster.patch(_ref(name), {"data": data})
        return Change(reference, Did.CREATED if before is None else Did.UPDATED)

    def _make(self, name: str, data: dict[str, str]) -> bool:
        about = {"name": name, "labels": {"app.kubernetes.io/part-of": names.PRODUCT}}
        secret: Object = {"apiVersion": "v1", "kind": "Secret", "metadata": about, "data": data}
        return self._cluster.create(secret) is not None


def _by_secret(references: Iterable[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, key in map(parts_of, references):
        found.setdefault(name, []).append(key)
    return found


def _in_base64(reference: str, value: SecretStr) -> str:
    return b64encode(encoded(reference, value)).decode()


def _ref(name: str) -> Ref:
    return Ref("v1", "Secret", name)
