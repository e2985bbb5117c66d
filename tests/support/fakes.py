"""Fakes at the rim: what the outside world does, kept in memory.

Each passes the same contract suite as the adapters it stands for. There is no fake Database (see
tests/support/postgres.py).
"""

import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from hashlib import md5, sha256
from pathlib import Path
from typing import BinaryIO

from pydantic import SecretStr

from clinical_ai.adapters.bucket_names import need_bucket_name
from clinical_ai.change import Change, Did
from clinical_ai.errors import NeedsOperator
from clinical_ai.plans import Journal
from clinical_ai.ports import ProcessSpec, ProcessStatus, StoredObject


class MemoryStore:
    """An ObjectStore of dictionaries."""

    def __init__(self) -> None:
        self._buckets: dict[str, dict[str, tuple[bytes, datetime]]] = {}

    def buckets(self) -> list[str]:
        return sorted(self._buckets)

    def ensure_bucket(self, bucket: str) -> Change:
        need_bucket_name(bucket)
        did = Did.UNCHANGED if bucket in self._buckets else Did.CREATED
        self._buckets.setdefault(bucket, {})
        return Change(f"bucket {bucket}", did)

    def list(self, bucket: str, prefix: str = "") -> Iterator[StoredObject]:
        for name, (data, modified) in sorted(
            self._bucket(bucket).items(), key=lambda item: item[0].encode()
        ):
            if name.startswith(prefix):
                etag = md5(data, usedforsecurity=False).hexdigest()
                yield StoredObject(name, len(data), modified, etag)

    def open(self, bucket: str, name: str) -> BinaryIO:
        found = self._bucket(bucket).get(name)
        if found is None:
            raise NeedsOperator(f"bucket {bucket} has no object of that name", "list the bucket")
        return io.BytesIO(found[0])

    def put(self, bucket: str, name: str, data: bytes) -> None:
        if not name:
            raise NeedsOperator("an object needs a name", "give one")
        self._bucket(bucket)[name] = data, datetime.now(UTC)

    def delete(self, bucket: str, name: str) -> None:
        self._bucket(bucket).pop(name, None)

    def _bucket(self, bucket: str) -> dict[str, tuple[bytes, datetime]]:
        if bucket not in self._buckets:
            raise NeedsOperator(f"there is no bucket {bucket!r}", "make it")
        return self._buckets[bucket]


class MemorySecrets:
    """A SecretStore of one dictionary."""

    def __init__(self, values: dict[str, str] | None = None) -> None:
        self._values = {name: SecretStr(value) for name, value in (values or {}).items()}

    def find(self, reference: str) -> SecretStr | None:
        return self._values.get(_checked(reference))

    def get(self, reference: str) -> SecretStr:
        found = self.find(reference)
        if found is None:
            raise NeedsOperator(f"{reference} is not there", "put it there")
        return found

    def ensure(self, reference: str, value: SecretStr) -> Change:
        if self.find(reference) is not None:
            return Change(reference, Did.UNCHANGED)
        return self.put(reference, value)

    def put(self, reference: str, value: SecretStr) -> Change:
        text = value.get_secret_value()
        if not text or any(letter == "\0" or "\ud800" <= letter <= "\udfff" for letter in text):
            raise NeedsOperator(f"the value for {reference} is not text", "give another value")
        before = self.find(reference)
        self._values[reference] = value
        if before == value:
            return Change(reference, Did.UNCHANGED)
        return Change(reference, Did.CREATED if before is None else Did.UPDATED)


def _checked(reference: str) -> str:
    if not re.fullmatch(r"secret:[a-z0-9][a-z0-9.-]*/(?!\.{1,2}$)[A-Za-z0-9._-]+", reference):
        raise NeedsOperator("this is not a reference to a secret", "write secret:NAME/KEY")
    return reference


class MemoryImages:
    """Images of two dictionaries: digests by reference, `here` and in the `registry`.

    Each build gives another digest, as layers hold times. `on_push`: called before each tag.
    """

    def __init__(self) -> None:
        self.here: dict[str, str] = {}
        self.registry: dict[str, str] = {}
        self.builds = 0
        self.on_push: Callable[[str], None] = lambda _: None

    def find_digest(self, reference: str) -> str | None:
        return self.registry.get(reference)

    def build(
        self,
        folder: Path,
        repository: str,
        tag: str,
        *,
        labels: Mapping[str, str],
        arguments: Mapping[str, str],
        host_network: bool,
    ) -> None:
        self.builds += 1
        told = f"{self.builds} {labels} {arguments}"
        self.here[f"{repository}:{tag}"] = f"sha256:{sha256(told.encode()).hexdigest()}"

    def fetch(self, repository: str, digest: str, tag: str) -> None:
        rows = self.registry.items()
        if not any((name.rpartition(":")[0], it) == (repository, digest) for name, it in rows):
            raise NeedsOperator(f"the registry has no {repository}@{digest}", "push it")
        self.here[f"{repository}:{tag}"] = digest

    def push(self, repository: str, tag: str, others: Sequence[str] = ()) -> None:
        found = self.here.get(f"{repository}:{tag}")
        if found is None:
            raise NeedsOperator(f"there is no image {repository}:{tag} here", "build it")
        for each in (tag, *others):
            self.on_push(each)
            self.here[f"{repository}:{each}"] = self.registry[f"{repository}:{each}"] = found


class FakeRuntime:
    """A Runtime whose processes are rows of a dictionary: name to the spec they run with."""

    def __init__(self) -> None:
        self.running: dict[str, ProcessSpec] = {}
        self.started: list[str] = []
        self.restarts: list[str] = []

    def processes(self) -> list[ProcessStatus]:
        """All of them run."""
        now = datetime.now(UTC)
        return [
            ProcessStatus(name, running=True, state="running", pid=100 + number, since=now)
            for number, name in enumerate(self.running)
        ]

    def plan(self, specs: Sequence[ProcessSpec]) -> list[Change]:
        """What differs."""
        changes = []
        for spec in specs:
            found = self.running.get(spec.name)
            if found is None:
                changes.append(Change(spec.name, Did.CREATED))
            elif found != spec:
                changes.append(Change(spec.name, Did.UPDATED, "its spec changed"))
            else:
                changes.append(Change(spec.name, Did.UNCHANGED))
        return changes

    def ensure(self, specs: Sequence[ProcessSpec]) -> list[Change]:
        """All run with these specs; changed ones count as restarted."""
        plan = self.plan(specs)
        for spec, change in zip(specs, plan, strict=True):
            if change.did is Did.UPDATED:
                self.restarts.append(spec.name)
            self.running[spec.name] = spec
        return plan

    def start(self, name: str) -> None:
        """Remembered."""
        self.started.append(name)

    def stop(self, name: str) -> None:
        """Gone."""
        self.running.pop(name, None)

    def stop_all(self) -> list[Change]:
        """All gone."""
        stopped = [Change(name, Did.STOPPED) for name in self.running]
        self.running.clear()
        return stopped


class MemoryKeeper:
    """A journal in memory that outlives a crash of whoever writes it."""

    def __init__(self) -> None:
        self.journal: Journal | None = None

    def find_journal(self) -> Journal | None:
        """The last one."""
        return self.journal

    def write_journal(self, journal: Journal) -> None:
        """Kept."""
        self.journal = journal
