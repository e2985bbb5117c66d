"""Fields of Vault's key-value secrets, for runs in a pod: `vault:MOUNT/PATH#FIELD`.

Whatever requests and hvac raise holds what was sent, a token with it, and often the answer. So ours
are raised outside the `except` block that met them, and answers are judged by their status alone.
"""

from collections.abc import Callable, Mapping
from functools import cached_property
from http import HTTPStatus
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from pydantic import SecretStr

from clinical_ai import names
from clinical_ai.adapters.secret_text import kept
from clinical_ai.change import Change
from clinical_ai.errors import NeedsOperator, PlatformError, Transient
from clinical_ai.secret_references import InVault, find_in_vault
from clinical_ai.settings_vault import VaultAccess

if TYPE_CHECKING:
    from hvac import Client
    from requests import Response

# A standby that is not caught up, and limits of rates; what is down or sealed answers 5xx.
_TRY_AGAIN: Final = {HTTPStatus.PRECONDITION_FAILED, HTTPStatus.TOO_MANY_REQUESTS}

# A standby hands requests on, or answers those that read.
_STANDBYS: Final = {"standbyok": "true", "perfstandbyok": "true"}
_UNREADY: Final[dict[int, str]] = {
    HTTPStatus.NOT_IMPLEMENTED: "not initialised",
    HTTPStatus.SERVICE_UNAVAILABLE: "sealed",
}


class VaultSecrets:
    """A SecretStore that can be read only, by the account of this pod.

    `token`: the file of its service account's token, which the kubelet renews. `ca_bundle`: whose
    certificates are trusted; without it, the public ones. `clock`: in seconds.
    """

    def __init__(
        self,
        access: VaultAccess,
        token: Path,
        *,
        ca_bundle: str | None = None,
        proxy: str | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._access = access
        self._token = token
        self._ca_bundle = ca_bundle
        self._proxy = proxy
        self._clock = clock
        self._until = 0.0  # when Vault's own token has run out

    def find(self, reference: str) -> SecretStr | None:
        """The value without its last line end, or None when there is no such secret or field."""
        place = self._place(reference)
        value = (self._read(place) or {}).get(place.field)
        if value is None:
            return None
        text = value if isinstance(value, str) else ""  # a number or a table is no credential
        return kept(reference, text.encode(errors="surrogatepass"))

    def get(self, reference: str) -> SecretStr:
        """The value; NeedsOperator names the reference when it is absent."""
        found = self.find(reference)
        if found is None:
            raise NeedsOperator(f"{reference} is not there", self._to_write(reference))
        return found

    def check_health(self) -> str:
        """Vault serves, which it tells without a login; NeedsOperator while it is sealed."""
        client = self._rootward
        answer = self._sent(lambda: client.adapter.get("/v1/sys/health", params=_STANDBYS))
        if answer.status_code != HTTPStatus.OK:
            raise self._unready(answer.status_code)
        if "sealed" not in self._table(answer):
            raise self._no_vault()
        return f"{self._access.vault_address} answers, unsealed"

    def ensure(self, reference: str, value: SecretStr) -> Change:  # noqa: ARG002
        """Refused: see `put`."""
        raise self._unwritable(reference)

    def put(self, reference: str, value: SecretStr) -> Change:  # noqa: ARG002
        """Refused: operators write what is in Vault."""
        raise self._unwritable(reference)

    def _place(self, reference: str) -> InVault:
        """What does not look like a reference may be a secret and is not repeated."""
        found = find_in_vault(reference, self._access.kv_mount)
        if found is None:
            raise NeedsOperator(
                "this is not a reference to a field of Vault", "write vault:MOUNT/PATH#FIELD"
            )
        return found

    def _unwritable(self, reference: str) -> NeedsOperator:
        return NeedsOperator(f"a pod can't write {reference}", self._to_write(reference))

    def _to_write(self, reference: str) -> str:
        place = self._place(reference)
        return (
            f"give the secret {place.path} in Vault's mount {place.mount} the field {place.field},"
            " with `vault kv put` or `vault kv patch`, or correct the reference; that mount has to"
            f" be of kv-version {self._access.kv_version}"
        )

    def _read(self, place: InVault) -> Mapping[str, Any] | None:
        """The fields of this secret, or None when it does not exist."""
        answer = self._ask(place)
        if answer.status_code == HTTPStatus.FORBIDDEN:
            self._until = 0.0  # the token may have been revoked, or may not be used as often
            answer = self._ask(place)
        if answer.status_code == HTTPStatus.NOT_FOUND:
            return None
        if answer.status_code != HTTPStatus.OK:
            raise self._refused(answer.status_code, place)
        return self._table(answer, "data", *(["data"] if self._versioned else []))

    def _ask(self, place: InVault) -> "Response":
        client = self._logged_in()
        kv = client.secrets.kv
        if self._versioned:
            return self._sent(
                lambda: kv.v2.read_secret_version(
                    place.path, mount_point=place.mount, raise_on_deleted_version=True
                )
            )
        return self._sent(lambda: kv.v1.read_secret(place.path, mount_point=place.mount))

    def _logged_in(self) -> "Client":
        """With a token of Vault that has not run out."""
        client, now = self._client, self._clock()
        if now < self._until:
            return client
        access, jwt = self._access, self._jwt()
        client.token = ""
        answer = self._sent(
            lambda: client.auth.kubernetes.login(
                access.role, jwt.get_secret_value(), use_token=False, mount_point=access.auth_mount
            )
        )
        if answer.status_code != HTTPStatus.OK:
            raise self._not_let_in(answer.status_code)
        auth = self._table(answer, "auth")
        token, seconds = auth.get("client_token"), auth.get("lease_duration")
        if not isinstance(token, str) or not isinstance(seconds, int):
            raise self._no_vault()
        client.token, self._until = token, now + seconds
        return client

    def _jwt(self) -> SecretStr:
        """Read anew at each login: the kubelet replaces it long before it runs out."""
        try:
            return SecretStr(self._token.read_text().strip())
        except OSError as met:
            raise NeedsOperator(
                f"this pod has no token for Vault: {self._token}: {met.strerror}",
                "run deploy/self: when a connection names vault: for the first time, that gives the"
                " clinical worker one, and no other pod",
            ) from None

    @cached_property
    def _client(self) -> "Client":
        return self._open(self._access)

    @property
    def _rootward(self) -> "Client":
        """For what only the root namespace answers."""
        return self._open(self._access.model_copy(update={"vault_namespace": None}))

    def _open(self, access: VaultAccess) -> "Client":
        from clinical_ai.adapters.vault_client import open_client

        return open_client(access, self._ca_bundle, self._proxy)

    def _sent(self, send: "Callable[[], Response]") -> "Response":
        """The answer. Raises Transient or NeedsOperator when there is none."""
        from requests import RequestException

        try:
            return send()
        except RequestException as met:
            untrusted = "certificate verify failed" in str(met).lower()
            fault = self._untrusted() if untrusted else self._silent(type(met).__name__)
        except OSError:  # before anything is sent
            fault = NeedsOperator(f"ca-bundle {self._ca_bundle} is not a file", "correct ca-bundle")
        raise fault

    def _table(self, answer: "Response", *keys: str) -> Mapping[str, Any]:
        """A table of an answer, which is JSON: that of the last key in that of the one before."""
        try:
            found = answer.json()
        except ValueError:  # which holds the answer
            found = None
        for key in keys:
            found = found.get(key) if isinstance(found, dict) else None
        if not isinstance(found, dict):
            raise self._no_vault()
        return found

    @property
    def _versioned(self) -> bool:
        return self._access.kv_version == "v2"

    @property
    def _named(self) -> str:
        """Vault, for a sentence."""
        space = self._access.vault_namespace
        where = f", namespace {space}" if space else ""
        return f"Vault at {self._access.vault_address}{where}"

    def _silent(self, why: str) -> PlatformError:
        return Transient(f"no answer from {self._named}: {why}")

    def _untrusted(self) -> PlatformError:
        return NeedsOperator(
            f"the certificate of {self._named} is not trusted",
            "name the authority that signed it in ca-bundle",
        )

    def _no_vault(self) -> PlatformError:
        return NeedsOperator(
            f"what answers as {self._named} is not Vault",
            "correct vault-address in kubernetes.aws-credentials",
        )

    def _unready(self, status: int) -> PlatformError:
        told = _UNREADY.get(status)
        return NeedsOperator(
            f"{self._named} answers HTTP {status}{f', as when {told}' if told else ''}",
            "have its administrator make it ready (`vault status`, `vault operator unseal`), or"
            " correct vault-address in kubernetes.aws-credentials",
        )

    def _not_let_in(self, status: int) -> PlatformError:
        if _may_heal(status):
            return self._busy(status)
        access = self._access
        return NeedsOperator(
            f"{self._named} does not let this pod in with the role {access.role} at"
            f" auth/{access.auth_mount}: HTTP {status}",
            f"bind the ServiceAccount {names.WORKER} of this namespace to that role, with the"
            f" audience {access.audience}: `vault read auth/{access.auth_mount}/role/{access.role}`"
            " shows it; Vault says the same while it can't ask the cluster's API",
        )

    def _refused(self, status: int, place: InVault) -> PlatformError:
        if _may_heal(status):
            return self._busy(status)
        path = f"{place.mount}/{'data/' if self._versioned else ''}{place.path}"
        if status == HTTPStatus.FORBIDDEN:
            return NeedsOperator(
                f"{self._named} does not let the role {self._access.role} read {path}",
                f"correct the reference, or kv-version, which is {self._access.kv_version}, or give"
                f' that role a policy with `path "{path}" {{ capabilities = ["read"] }}`',
            )
        return NeedsOperator(
            f"{self._named} refuses {path}: HTTP {status}",
            "correct the reference, vault-address or kv-version",
        )

    def _busy(self, status: int) -> PlatformError:
        sealed = status == HTTPStatus.SERVICE_UNAVAILABLE
        return Transient(f"{self._named} answers HTTP {status}{', as when sealed' * sealed}")


def _may_heal(status: int) -> bool:
    return status in _TRY_AGAIN or status >= HTTPStatus.INTERNAL_SERVER_ERROR
