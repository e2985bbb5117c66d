"""What an API server's refusal means: try again, or who must do what. Never with a value."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from clinical_ai.errors import NeedsOperator, PlatformError, Transient
from clinical_ai.ports_cluster import Changed, Conflicts, FieldConflict, Forbidden, Invalid, Ref

_MANAGER: Final = re.compile(r'^conflict with "((?:[^"\\]|\\.)*)"')
_ACCOUNT: Final = re.compile(r'User "([^"]*)" cannot ')
_QUOTA: Final = re.compile(r"exceeded quota: (.*)$")
_SECURITY: Final = re.compile(r'violates PodSecurity "([^"]*)": (.*)$')
_NO_NAMESPACE: Final = re.compile(r'^namespaces "([^"]+)" not found')
_BEING_DELETED: Final = "because it is being terminated"
# A value follows these, as Go or JSON writes it, and then the rule that it breaks.
_VALUE_FOLLOWS: Final = re.compile(
    r"^(Invalid value|Unsupported value|Duplicate value|Not found|Too long|Too many)(: )"
)
_UNKNOWN: Final = re.compile(r'unknown field "([^"]+)"|(\.\S+): field not declared in schema')
_WRONG_TYPE: Final = re.compile(r"(\.[^\s:]+): expected ([\w ()]+?), got|(\.[^\s:]+): .*expected")
_INTO: Final = re.compile(r"into Go struct field ([\w.]+) of type (\S+)")
_DECODING: Final = "illegal base64 data"


@dataclass(frozen=True)
class Asked:
    """What was asked of the API server, for whoever reads the refusal."""

    verb: str
    resource: str
    what: str
    namespace: str = ""
    ref: Ref | None = None

    @property
    def can_i(self) -> str:
        """The command that shows whether one may."""
        where = f" -n {self.namespace}" if self.namespace else ""
        return f"`kubectl auth can-i {self.verb} {self.resource}{where}`"

    @property
    def place(self) -> str:
        """Where, for a sentence."""
        return f"in namespace {self.namespace}" if self.namespace else "in the whole cluster"


def refusal(code: int, status: Mapping[str, Any], asked: Asked) -> PlatformError:
    """The error for a `Status` that the API server answered with this HTTP code."""
    message = str(status.get("message", ""))
    if code == 401:
        return NeedsOperator(
            "the API server does not know these credentials", "log in to the cluster again"
        )
    if code == 403:
        return _forbidden(message, asked)
    if code == 404:
        return _absent(message, asked)
    if code == 409:
        return _conflict(status, asked)
    if code in {400, 422} or (code == 500 and _is_typing(message)):
        faults = _faults(status, message)
        if code == 422 and "immutable" not in faults:
            return Invalid(asked.what, faults)
        remedy = "correct the field it names"
        if "immutable" in faults:
            remedy = f"keep the field as it was, or delete {asked.what}: it is made anew then"
        return NeedsOperator(f"{asked.what} is not valid: {faults}", remedy)
    if code == 429 or code >= 500:
        return Transient(f"the API server answered {code} to {asked.verb} {asked.what}")
    return NeedsOperator(
        f"the API server refused to {asked.verb} {asked.what} ({code} {status.get('reason', '')})",
        "compare the server's version with what is supported",
    )


def _forbidden(message: str, asked: Asked) -> NeedsOperator:
    """Permission, quota, pod security, or the rule of an admission webhook or policy."""
    if account := _ACCOUNT.search(message):
        return Forbidden(
            f"{account[1]} may not {asked.verb} {asked.resource} {asked.place} ({asked.what})",
            f"see {asked.can_i} and grant it, or use another account",
        )
    if quota := _QUOTA.search(message):
        return NeedsOperator(
            f"{asked.what} exceeds the quota {quota[1]}",
            f"see `kubectl describe quota -n {asked.namespace}`; raise it or ask for less",
        )
    if security := _SECURITY.search(message):
        return NeedsOperator(
            f"pod security {security[1]} refuses {asked.what}: {security[2]}",
            f"see the labels of namespace {asked.namespace}: "
            f"`kubectl get namespace {asked.namespace} --show-labels`",
        )
    if _BEING_DELETED in message:
        return NeedsOperator(
            f"namespace {asked.namespace} is being deleted",
            f"wait until `kubectl get namespace {asked.namespace}` finds it no more",
        )
    return NeedsOperator(
        f"a rule of the cluster refuses {asked.what}: {_rule(message, asked)}",
        "see the rule with `kubectl get validatingwebhookconfigurations,"
        "validatingadmissionpolicies`",
    )


def _rule(message: str, asked: Asked) -> str:
    """A third party's text, which may repeat what it read of a Secret."""
    if asked.ref is not None and asked.ref.kind == "Secret":
        named = re.search(r'admission webhook "[^"]+"', message)
        return named[0] if named else "text withheld, it is about a Secret"
    return message.partition("is forbidden: ")[2] or message


def _absent(message: str, asked: Asked) -> NeedsOperator:
    if found := _NO_NAMESPACE.search(message):
        return NeedsOperator(
            f"namespace {found[1]} does not exist",
            f"make it: `kubectl create namespace {found[1]}`",
        )
    return NeedsOperator(f"{asked.what} does not exist", "run it again")


def _conflict(status: Mapping[str, Any], asked: Asked) -> PlatformError:
    causes = (status.get("details") or {}).get("causes") or []
    owned = [
        FieldConflict(str(cause.get("field", "")), manager[1])
        for cause in causes
        if cause.get("reason") == "FieldManagerConflict"
        and (manager := _MANAGER.search(str(cause.get("message", ""))))
    ]
    if owned and asked.ref is not None:
        return Conflicts(asked.ref, owned)
    return Changed(f"{asked.what} was changed or replaced by somebody else meanwhile")


def _is_typing(message: str) -> bool:
    """Server-side apply answers 500 to objects that it can't read; that will not heal."""
    return message.startswith(("failed to create typed", "failed to convert new object"))


def _faults(status: Mapping[str, Any], message: str) -> str:
    """Each field with the rule it breaks."""
    causes = (status.get("details") or {}).get("causes") or []
    told = [f"{cause.get('field', '?')}: {_without_value(cause)}" for cause in causes]
    unknown = [one or other for one, other in _UNKNOWN.findall(message)]
    told += [f"{field}: unknown field" for field in unknown]
    if not told:
        told = [f"{one or other}: wrong type" for one, _, other in _WRONG_TYPE.findall(message)]
        told += [f"{field}: must be of type {kind}" for field, kind in _INTO.findall(message)]
    if not told and _DECODING in message:
        told = ["data: a value is not base64"]
    return "; ".join(told) or "the server's text may repeat a value and is withheld"


def _without_value(cause: Mapping[str, Any]) -> str:
    """The rule alone: `Invalid value: "x": must be y` becomes `Invalid value, must be y`."""
    message = str(cause.get("message", ""))
    found = _VALUE_FOLLOWS.match(message)
    if not found:
        known = re.match(r"(Required value|Forbidden)\b.*", message, re.S)
        return known[0] if known else str(cause.get("reason", "refused"))
    rest = message[found.end() :]
    try:
        _, end = json.JSONDecoder().raw_decode(rest)
    except ValueError:
        return found[1]
    rule = rest[end:].removeprefix(": ")
    return f"{found[1]}, {rule}" if rule else found[1]
