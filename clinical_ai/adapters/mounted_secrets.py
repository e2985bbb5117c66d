"""Secrets that the kubelet mounts into a pod: `secret:NAME/KEY` is the file NAME/KEY.

Read anew each time: the kubelet replaces files when a Secret changes. It does so through links of
its own, which is why the reader of one machine, who follows none, can't be used here.
"""

from pathlib import Path

from pydantic import SecretStr

from clinical_ai.adapters.secret_text import kept, parts_of
from clinical_ai.change import Change
from clinical_ai.errors import NeedsOperator


class MountedSecrets:
    """A SecretStore below `root` that can be read only: pods may not write Secrets."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def find(self, reference: str) -> SecretStr | None:
        """The value without its last line end, or None when no such key is mounted."""
        name, key = parts_of(reference)
        try:
            data = (self._root / name / key).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as met:
            raise NeedsOperator(
                f"{reference} can't be read in this pod: {met.strerror}",
                "look at the pod's volumes with `kubectl describe pod`",
            ) from None
        return kept(reference, data)

    def has_place_for(self, reference: str) -> bool:
        """Whether this pod mounts that Secret, be it there or not."""
        return (self._root / parts_of(reference)[0]).is_dir()

    def get(self, reference: str) -> SecretStr:
        """The value; NeedsOperator names the reference when it is absent."""
        found = self.find(reference)
        if found is None:
            name, key = parts_of(reference)
            raise NeedsOperator(
                f"{reference} is not there",
                f"add the key {key} to the Secret {name} of the namespace; a Secret that settings"
                " name for the first time is mounted by the next deploy/self",
            )
        return found

    def ensure(self, reference: str, value: SecretStr) -> Change:  # noqa: ARG002
        """Refused: see `put`."""
        raise _refused(reference)

    def put(self, reference: str, value: SecretStr) -> Change:  # noqa: ARG002
        """Refused: bootstrap and operators write Secrets."""
        raise _refused(reference)


def _refused(reference: str) -> NeedsOperator:
    name, key = parts_of(reference)
    return NeedsOperator(
        f"a pod can't write {reference}",
        f"run bootstrap, or add the key {key} to the Secret {name} with kubectl",
    )
