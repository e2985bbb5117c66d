"""Where one machine's platform keeps what it owns."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from clinical_ai import names
from clinical_ai.errors import NeedsOperator


@dataclass(frozen=True)
class StateFolder:
    """Paths below one root; nothing is read or written here."""

    root: Path

    @property
    def instance(self) -> Path:
        """Ports and address of this platform, for everything that must find it."""
        return self.record / "instance.json"

    @property
    def record(self) -> Path:
        """What the platform remembers about itself, apart from its database."""
        return self.root / "record"

    @property
    def applied(self) -> Path:
        """The settings last applied, for starting before the block can be read."""
        return self.record / "applied.json"

    @property
    def lock(self) -> Path:
        """Held by whoever changes the platform."""
        return self.root / "run" / "change.lock"

    @property
    def run(self) -> Path:
        """Supervisor's socket and configuration, and the process specs."""
        return self.root / "run"

    @property
    def socket(self) -> Path:
        """Where the supervisor listens."""
        return self.run / "supervisor.sock"

    @property
    def supervisor(self) -> Path:
        """The supervisor's configuration."""
        return self.run / "supervisor.conf"

    @property
    def logs(self) -> Path:
        """One rotated file a process."""
        return self.root / "logs"

    @property
    def secrets(self) -> Path:
        """`secret:NAME/KEY` is the file NAME/KEY in here."""
        return self.root / "secrets"

    @property
    def storage(self) -> Path:
        """Buckets of the development storage."""
        return self.root / "storage"

    @property
    def postgres(self) -> Path:
        """PostgreSQL's programs, a folder a version."""
        return self.root / "postgres"

    @property
    def data(self) -> Path:
        """PostgreSQL's data."""
        return self.root / "data"

    @property
    def releases(self) -> Path:
        """Immutable releases, a folder a content hash."""
        return self.root / "releases"

    @property
    def prefect(self) -> Path:
        """PREFECT_HOME of the platform's own processes."""
        return self.root / "prefect"

    @property
    def scratch(self) -> Path:
        """Temporary files of flows; emptied when nothing runs."""
        return self.root / "scratch"

    @property
    def ledger(self) -> Path:
        """History of releases, a JSON object a line."""
        return self.record / "ledger.jsonl"

    @property
    def journal(self) -> Path:
        """What the last roll has done so far."""
        return self.record / "journal.json"

    def spec(self, process: str) -> Path:
        """What the launcher of that process reads."""
        return self.run / f"{process}.json"

    def log(self, process: str) -> Path:
        """The log of that process."""
        return self.logs / f"{process}.log"

    def owned(self) -> tuple[Path, ...]:
        """Folders that the service user writes to."""
        return (
            self.run,
            self.record,
            self.logs,
            self.secrets,
            self.storage,
            self.data,
            self.prefect,
            self.scratch,
        )


def process_order() -> tuple[str, ...]:
    """Processes in the order of starting."""
    return (names.POSTGRES, names.SERVER, names.PLATFORM_WORKER, names.WORKER)


def chosen_root(text: str) -> Path:
    """The state folder that somebody named, `~` and relative paths too."""
    try:
        return Path(text).expanduser().absolute()
    except RuntimeError:
        raise NeedsOperator(
            f"the state folder {text!r} begins with a user that this machine does not know",
            "correct STATE=folder",
        ) from None


def default_root(environ: Mapping[str, str], *, root: bool) -> Path:
    """The state folder when none is named: a system folder for root, else the user's data folder.

    `environ`: the caller's environment; CLINICAL_AI_STATE wins. Never the checkout.
    """
    if chosen := environ.get(names.STATE_VARIABLE):
        return chosen_root(chosen)
    if root:
        return Path("/var/lib") / names.PRODUCT
    base = environ.get("XDG_DATA_HOME") or Path(environ.get("HOME") or "/") / ".local" / "share"
    return Path(base) / names.PRODUCT
