"""How a secret is kept: as text, and a last line end that an editor added is not part of it."""

from pydantic import SecretStr

from clinical_ai.errors import NeedsOperator
from clinical_ai.secret_references import find_parts


def encoded(reference: str, value: SecretStr) -> bytes:
    """What is kept, so that reading it without its last line end gives the value."""
    text = value.get_secret_value()
    try:
        data = text.encode()
    except UnicodeEncodeError:
        data = b""
    if not data or "\0" in text:
        raise NeedsOperator(
            f"the value for {reference} is empty or holds what is not text", "give another value"
        )
    return data + b"\n" if text.endswith("\n") else data


def decoded(data: bytes) -> str | None:
    """The value without its last line end; None when it is empty or holds no text."""
    try:
        text = data.decode().removesuffix("\n")
    except UnicodeDecodeError:
        return None
    return None if not text or "\0" in text else text


def kept(reference: str, data: bytes) -> SecretStr:
    """The value that a key of a Kubernetes Secret holds."""
    text = decoded(data)
    if text is None:
        raise NeedsOperator(f"{reference} is empty or holds no text", "give it its value again")
    return SecretStr(text)


def parts_of(reference: str) -> tuple[str, str]:
    """NAME and KEY; what does not look like a reference may be a secret and is not repeated."""
    found = find_parts(reference)
    if found is None:
        raise NeedsOperator(
            "this is not a reference to a Secret of the namespace", "write secret:NAME/KEY"
        )
    return found
