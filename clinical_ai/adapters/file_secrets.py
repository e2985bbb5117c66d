"""Secrets of one machine: `secret:NAME/KEY` is the file NAME/KEY of one folder."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import SecretStr

from clinical_ai.adapters.owned_tree import OwnedTree, explain, plain
from clinical_ai.adapters.secret_text import decoded, encoded
from clinical_ai.change import Change, Did
from clinical_ai.errors import NeedsOperator
from clinical_ai.secret_references import find_parts


class FileSecrets:
    """A SecretStore in `root`, which has to exist for writing; what root writes belongs to its
    owner. Files have mode 0600, folders 0700; a file that others can read is refused.
    """

    def __init__(self, root: Path) -> None:
        self._tree = OwnedTree(root)

    def find(self, reference: str) -> SecretStr | None:
        """The value without its last line end, or None when there is no such file."""
        parts = _parts(reference)
        with self._explained(reference):
            try:
                self._check_folder(parts[0])
                with self._tree.read(parts) as file:
                    self._check_private(os.fstat(file.fileno()), parts, "600", 0o077)
                    return SecretStr(self._text(file.read(), parts))
            except FileNotFoundError:
                return None

    def get(self, reference: str) -> SecretStr:
        """The value; NeedsOperator names the reference when it is absent."""
        found = self.find(reference)
        if found is None:
            path = self._path(_parts(reference))
            raise NeedsOperator(
                f"{reference} is not there", f"write the value into `{path}`, with mode 600"
            )
        return found

    def ensure(self, reference: str, value: SecretStr) -> Change:
        """The reference exists; a value that is there already is kept."""
        if self.find(reference) is not None:
            return Change(reference, Did.UNCHANGED)
        with self._explained(reference):
            try:
                self._tree.write(_parts(reference), encoded(reference, value), replace=False)
            except FileExistsError:
                return Change(reference, Did.UNCHANGED)
        return Change(reference, Did.CREATED)

    def put(self, reference: str, value: SecretStr) -> Change:
        """The reference holds this value."""
        data = encoded(reference, value)
        before = self.find(reference)
        if before == value:
            return Change(reference, Did.UNCHANGED)
        with self._explained(reference):
            self._tree.write(_parts(reference), data)
        return Change(reference, Did.CREATED if before is None else Did.UPDATED)

    def _path(self, parts: list[str]) -> Path:
        return self._tree.root.joinpath(*parts)

    def _check_folder(self, name: str) -> None:
        with self._tree.opened([name]) as at:
            self._check_private(os.fstat(at), [name], "700", 0o022)

    def _check_private(
        self, seen: os.stat_result, parts: list[str], mode: str, forbidden: int
    ) -> None:
        if stat.S_IMODE(seen.st_mode) & forbidden:
            path = self._path(parts)
            raise NeedsOperator(
                f"{path} is open to other users of this machine", f"run `chmod {mode} '{path}'`"
            )

    def _text(self, data: bytes, parts: list[str]) -> str:
        text = decoded(data)
        if text is None:
            path = self._path(parts)
            raise NeedsOperator(
                f"{path} is damaged: it is empty or holds no text",
                "put its value back from your backup, or remove the file if it has none to keep",
            )
        return text

    @contextmanager
    def _explained(self, reference: str) -> Iterator[None]:
        try:
            yield
        except OSError as met:
            raise explain(met, f"{reference} in {self._tree.root}") from None


def _parts(reference: str) -> list[str]:
    """NAME and KEY; what does not look like a reference may be a secret and is not repeated."""
    found = find_parts(reference)
    if found and plain(found[1]):
        return list(found)
    kind = reference.partition(":")[0]
    if kind == "vault":
        raise NeedsOperator(
            "one machine reads no vault: references",
            "use secret:NAME/KEY here, or file:PATH for bootstrap",
        )
    if kind in {"env", "file"}:
        raise NeedsOperator(
            f"{kind} references are read by bootstrap alone", "use secret:NAME/KEY here"
        )
    raise NeedsOperator("this is not a reference to a secret", "write secret:NAME/KEY")
