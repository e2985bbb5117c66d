"""Secrets that runs in a pod read: `secret:` as it is mounted, `vault:` from Vault itself."""

from collections.abc import Callable
from functools import cached_property

from pydantic import SecretStr

from clinical_ai.change import Change
from clinical_ai.ports import SecretStore


class PodSecrets:
    """A SecretStore of both. `open_vault` is called by the first `vault:` reference alone: the
    settings say where Vault is, and most runs need none.
    """

    def __init__(self, mounted: SecretStore, open_vault: Callable[[], SecretStore]) -> None:
        self._mounted = mounted
        self._open_vault = open_vault

    def find(self, reference: str) -> SecretStr | None:
        """The value, or None when it is not there."""
        return self._of(reference).find(reference)

    def get(self, reference: str) -> SecretStr:
        """The value; NeedsOperator names the reference when it is absent."""
        return self._of(reference).get(reference)

    def ensure(self, reference: str, value: SecretStr) -> Change:
        """Refused, as either does."""
        return self._of(reference).ensure(reference, value)

    def put(self, reference: str, value: SecretStr) -> Change:
        """Refused, as either does."""
        return self._of(reference).put(reference, value)

    @cached_property
    def _vault(self) -> SecretStore:
        return self._open_vault()

    def _of(self, reference: str) -> SecretStore:
        return self._vault if reference.startswith("vault:") else self._mounted
