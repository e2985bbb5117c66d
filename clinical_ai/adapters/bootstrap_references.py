"""References that only bootstrap resolves: a variable of its environment, or a file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from pydantic import SecretStr

from clinical_ai.errors import NeedsOperator

_MOST_BYTES: Final = 65_536  # a key or a URL is shorter; a device never ends


def resolve(reference: str, environ: Mapping[str, str]) -> SecretStr:
    """The value behind `env:NAME` or `file:PATH`, without its last line end.

    Raises NeedsOperator, which names the variable or the file and never shows a value.
    """
    kind, _, place = reference.partition(":")
    match kind:
        case "env" if place:
            return _from_variable(place, environ)
        case "file" if place:
            return _from_file(Path(place))
        case "secret" | "vault":
            raise NeedsOperator(
                f"{kind} references are not read by bootstrap", "use env:NAME or file:PATH here"
            )
        case _:  # may be a secret pasted where a reference belongs
            raise NeedsOperator("this is not a reference", "write env:NAME or file:PATH")


def _from_variable(name: str, environ: Mapping[str, str]) -> SecretStr:
    value = environ.get(name)
    if not value:
        state = "not set" if value is None else "empty"
        raise NeedsOperator(
            f"the environment variable {name} is {state}", f"export {name} and run this again"
        )
    return SecretStr(value)


def _from_file(path: Path) -> SecretStr:
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
        text = data.decode().removesuffix("\n") if len(data) <= _MOST_BYTES else ""
    except OSError as met:
        raise NeedsOperator(
            f"{path} cannot be read: {met.strerror}", "name a file that this user may read"
        ) from None
    except ValueError:  # bytes that are no text, or a NUL in the path
        text = ""
    if not text or "\0" in text:
        raise NeedsOperator(
            f"{path} holds no secret: it is empty, too long or no text",
            "put the value into it, on one line",
        )
    return SecretStr(text)
