"""What an API server refuses about an object, and in which words."""

import re
from base64 import b64decode
from binascii import Error
from typing import Any, Final

from tests.support.object_schema import faults, schema_of

Object = dict[str, Any]
Place = tuple[str, str, str, str]  # apiVersion, kind, namespace, name
_KEY: Final = re.compile(r"[-._a-zA-Z0-9]+")


class Refusal(Exception):  # noqa: N818 - an answer, not an accident
    """What the server answers instead: an HTTP code and a `Status`."""

    def __init__(self, code: int, reason: str, message: str, **details: Any) -> None:
        super().__init__(code, reason)
        self.code = code
        self.status = {
            "kind": "Status",
            "apiVersion": "v1",
            "status": "Failure",
            "message": message,
            "reason": reason,
            "details": details,
            "code": code,
        }


def check_fields(wanted: Object, place: Place, *, typed: bool) -> None:
    """Unknown fields and wrong types. `typed`: as server-side apply tells them, with code 500."""
    api_version, kind, namespace, name = place
    head = f'{kind} in version "{api_version}" cannot be handled as a {kind}: '
    for path, what in faults(schema_of(api_version, kind), wanted):
        if what == "required":
            continue
        if typed:
            where = f"{namespace}/{name}; {api_version}, Kind={kind}"
            told = "field not declared in schema"
            told = told if what == "unknown" else "expected string, got &value{}"
            head = f"failed to create typed patch object ({where}): "
            raise Refusal(500, "", f"{head}{path}: {told}")
        told = f'strict decoding error: unknown field "{path[1:]}"'
        into = f"json: cannot unmarshal string into Go struct field {kind}{path} of type int32"
        raise Refusal(400, "BadRequest", head + (told if what == "unknown" else into))
    if kind == "Secret" and not all(map(_is_base64, (wanted.get("data") or {}).values())):
        told = "illegal base64 data at input byte 1"
        if typed:
            raise Refusal(500, "", f"failed to convert new object: {told}")
        raise Refusal(400, "BadRequest", f"{head}{told}")


def check_values(place: Place, content: Object) -> None:
    """Missing fields and a few rules that values break."""
    causes = [
        _cause("Required", path[1:], "Required value")
        for path, what in faults(schema_of(*place[:2]), content)
        if what == "required"
    ]
    if place[1] in {"Secret", "ConfigMap"}:
        causes += [
            _cause(
                "Invalid", f"data[{key}]", f'Invalid value: "{key}": a valid config key must ...'
            )
            for key in content.get("data") or {}
            if not _KEY.fullmatch(key)
        ]
    if place[1] == "Deployment" and not causes:
        spec = content["spec"]
        labels = spec["template"]["metadata"]["labels"]
        if not spec["selector"]["matchLabels"].items() <= labels.items():
            told = "Invalid value: {}: `selector` does not match template `labels`"
            causes = [_cause("Invalid", "spec.template.metadata.labels", told)]
        causes += _env_causes(spec["template"]["spec"]["containers"])
    if causes:
        raise Refusal(422, "Invalid", f"{place[1]} is invalid", causes=causes)


def _env_causes(containers: list[Object]) -> list[dict[str, str]]:
    told = 'Invalid value: "": may not be specified when `value` is not empty'
    return [
        _cause("Invalid", f"spec.template.spec.containers[{i}].env[{j}].valueFrom", told)
        for i, container in enumerate(containers)
        for j, each in enumerate(container.get("env", []))
        if each.get("value") and "valueFrom" in each
    ]


def check_change(place: Place, before: Object, after: Object) -> None:
    """What can't change once it is there."""
    if before.get("immutable") and before.get("data") != after.get("data"):
        told = _cause("Forbidden", "data", "Forbidden: field is immutable when `immutable` is set")
        raise Refusal(422, "Invalid", f"{place[1]} is invalid", causes=[told])


def _cause(what: str, field: str, message: str) -> dict[str, str]:
    return {"reason": f"FieldValue{what}", "message": message, "field": field}


def _is_base64(value: object) -> bool:
    try:
        b64decode(str(value), validate=True)
    except Error:
        return False
    return True
