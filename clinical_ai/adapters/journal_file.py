"""Journal, ledger and applied settings: small files of the state folder."""

import json
from collections.abc import Mapping
from typing import Any

from clinical_ai.adapters.files import unwritable, write_atomically
from clinical_ai.errors import NeedsOperator
from clinical_ai.plans import Journal, from_dict
from clinical_ai.settings import Development, Production, dump, parse
from clinical_ai.state_folder import StateFolder


class StateFiles:
    """What steps keep beside Prefect's database, which a restore would turn back."""

    def __init__(self, state: StateFolder, user: tuple[int, int] | None = None) -> None:
        self._state = state
        self._user = user

    def find_journal(self) -> Journal | None:
        """The last roll, or None when there never was one."""
        raw = self._read(self._state.journal)
        if raw is None:
            return None
        try:
            return from_dict(raw)
        except (KeyError, TypeError, ValueError):
            raise _damaged(str(self._state.journal)) from None

    def write_journal(self, journal: Journal) -> None:
        """The journal is on the disk when this returns."""
        write_atomically(self._state.journal, json.dumps(journal.to_dict(), indent=1), self._user)

    def find_applied(self) -> Development | Production | None:
        """The settings last applied, or None before the first time."""
        raw = self._read(self._state.applied)
        return None if raw is None else parse(raw, origin=str(self._state.applied))

    def write_applied(self, settings: Development | Production) -> None:
        """The next start uses these until the block can be read."""
        write_atomically(self._state.applied, json.dumps(dump(settings), indent=1), self._user)

    def ledger(self) -> list[dict[str, Any]]:
        """All entries, the oldest first; a line cut off by a crash is skipped."""
        if not self._state.ledger.exists():
            return []
        entries = []
        for line in self._state.ledger.read_text(errors="replace").splitlines():
            try:
                entries.append(json.loads(line))
            except ValueError:
                continue
        return entries

    def write_ledger(self, entry: Mapping[str, Any]) -> None:
        """One more entry at the end."""
        text = "".join(json.dumps(old) + "\n" for old in self.ledger())
        write_atomically(self._state.ledger, text + json.dumps(dict(entry)) + "\n", self._user)

    def _read(self, path: Any) -> dict[str, Any] | None:
        try:
            raw = json.loads(path.read_text())
        except FileNotFoundError:
            return None
        except OSError as error:
            raise unwritable(path, error) from error
        except ValueError:
            raise _damaged(str(path)) from None
        if not isinstance(raw, dict):
            raise _damaged(str(path))
        return raw


def _damaged(path: str) -> NeedsOperator:
    return NeedsOperator(f"{path} is damaged", "remove it and run `make up`; no data is in it")
