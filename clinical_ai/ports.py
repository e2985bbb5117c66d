"""What steps need from outside. Adapters provide it; tests fake it here and nowhere else."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from pydantic import SecretStr

from clinical_ai.change import Change


class Database(Protocol):
    """One PostgreSQL database. Errors name a SQLSTATE and never a statement, row or value.

    Raises Transient when it cannot be reached, NeedsOperator when it refuses.
    """

    def query(self, sql: str, parameters: Sequence[object] = ()) -> list[dict[str, Any]]:
        """Rows as dictionaries by column name; `%s` marks a parameter."""

    def execute(self, sql: str, parameters: Sequence[object] = ()) -> int:
        """Run one statement in a transaction of its own; the number of rows touched."""

    def execute_all(self, statements: Sequence[tuple[str, Sequence[object]]]) -> None:
        """Run all statements in one transaction: all of them, or none."""

    def lock(self, name: str) -> AbstractContextManager[bool]:
        """Hold the advisory lock of that name; gives False at once when somebody else holds it."""


@dataclass(frozen=True)
class StoredObject:
    """One object of a bucket; `size` in bytes, `etag` changes when the content does."""

    name: str
    size: int
    modified: datetime
    etag: str


class ObjectStore(Protocol):
    """Buckets of named objects: S3, MinIO or, in development, a folder."""

    def buckets(self) -> list[str]:
        """Names of all buckets, sorted."""

    def ensure_bucket(self, bucket: str) -> Change:
        """The bucket exists."""

    def list(self, bucket: str, prefix: str = "") -> Iterator[StoredObject]:
        """Objects whose names start with `prefix`, by name; NeedsOperator if no such bucket."""

    def open(self, bucket: str, name: str) -> BinaryIO:
        """The object's bytes as a stream; the caller closes it. NeedsOperator if absent."""

    def put(self, bucket: str, name: str, data: bytes) -> None:
        """Write the whole object, or nothing of it."""

    def delete(self, bucket: str, name: str) -> None:
        """The object is gone; it may never have been there."""


class SecretStore(Protocol):
    """Values behind references (`secret:NAME/KEY`, ...)."""

    def find(self, reference: str) -> SecretStr | None:
        """The value, or None when there is no such secret or key."""

    def get(self, reference: str) -> SecretStr:
        """The value; NeedsOperator names the reference when it is absent."""

    def ensure(self, reference: str, value: SecretStr) -> Change:
        """The reference exists; a value that is there already is kept."""

    def put(self, reference: str, value: SecretStr) -> Change:
        """The reference holds this value."""


@dataclass(frozen=True)
class ProcessSpec:
    """One supervised process: what to start and with which environment.

    `secrets` maps variables to references, resolved when the process starts, so that no value is
    written into a configuration. `waits_for`: what must answer before it starts, `http://`
    addresses and variables that hold a database's address. `settles`: the work pool whose lost
    runs are settled first. `one_shot`: started on demand and not kept alive. `stop_seconds`: time
    to stop in order before it is killed.
    """

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)
    waits_for: tuple[str, ...] = ()
    settles: str | None = None
    stop_signal: str = "TERM"
    stop_seconds: int = 30
    one_shot: bool = False


@dataclass(frozen=True)
class ProcessStatus:
    """What a supervised process is doing."""

    name: str
    running: bool
    state: str
    pid: int | None = None
    since: datetime | None = None


class Runtime(Protocol):
    """Where the platform's processes run."""

    def processes(self) -> list[ProcessStatus]:
        """All supervised processes; empty when the supervisor itself is not running."""

    def plan(self, specs: Sequence[ProcessSpec]) -> list[Change]:
        """What `ensure` would do to the named processes; writes nothing."""

    def ensure(self, specs: Sequence[ProcessSpec]) -> list[Change]:
        """These processes run, each with its spec; a changed one is restarted, others stay."""

    def start(self, name: str) -> None:
        """Start a one-shot, or a process that was stopped."""

    def stop(self, name: str) -> None:
        """The process has ended; it may have been stopped before."""

    def stop_all(self) -> list[Change]:
        """Stop everything in the reverse order of starting, the supervisor last."""


class PrefectApi(Protocol):
    """Prefect's REST API, as answers decoded from JSON.

    Raises Transient when the server cannot be reached or answers 5xx, Locked when a slot is taken
    (423), NeedsOperator when it refuses (4xx), with the field it names and never the body that was
    sent.
    """

    def get(self, path: str) -> Any:
        """The answer, or None for 404."""

    def post(
        self, path: str, body: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None
    ) -> Any:
        """The answer; for `/filter` paths, one page."""

    def patch(self, path: str, body: Mapping[str, Any]) -> None:
        """Change what the body names."""

    def put(self, path: str, body: Mapping[str, Any]) -> None:
        """Replace what is there."""

    def delete(self, path: str) -> bool:
        """Whether there was something to delete."""

    def pages(self, path: str, body: Mapping[str, Any] | None = None) -> Iterator[dict[str, Any]]:
        """All rows of a `/filter` path, read page by page."""


class Images(Protocol):
    """Images here and in a registry. Raises Transient or NeedsOperator, told without a secret."""

    def find_digest(self, reference: str) -> str | None:
        """`sha256:...` of what the registry has under this reference; None when it has nothing."""

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
        """The image of the Dockerfile in the folder has this tag here."""

    def fetch(self, repository: str, digest: str, tag: str) -> None:
        """What the registry has under this digest has this tag here."""

    def push(self, repository: str, tag: str, others: Sequence[str] = ()) -> None:
        """What has this tag here is in the registry, under the other tags as well."""
