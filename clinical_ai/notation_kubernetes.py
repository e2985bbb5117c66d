"""How names, quantities and addresses of a cluster are written in settings.

What a validator says stands as "problem; remedy", and never repeats what it was given.
"""

import re
from collections.abc import Callable
from ipaddress import ip_network
from typing import Annotated, Final

from pydantic import AfterValidator, Field

from clinical_ai.cron_lines import comes, is_cron
from clinical_ai.quantities import parsed
from clinical_ai.secret_forms import (
    has_the_form_of_one,
    is_address_with_password,
    names_a_secret,
)
from clinical_ai.secret_references import (
    LABEL,
    LONGEST,
    LONGEST_LABEL,
    NAME,
    NO_REFERENCE,
    VAULT_FIELD,
    VAULT_PATH,
    find_parts,
)
from clinical_ai.taken_variables import is_taken

_DOMAIN: Final = rf"{LABEL}(\.{LABEL})*"

_LONGEST_QUANTITY: Final = 32
_NOT_IN_IMAGE: Final = (
    "leave it out: arguments stay readable in the image, and one that needs a secret to be built"
    " is built elsewhere and named with --image"
)
_NOT_IN_OBJECT: Final = "leave it out: whoever may see the object reads its annotations"


def _like(pattern: str, problem: str, length: int = LONGEST) -> Callable[[str], str]:
    form = re.compile(pattern)

    def check(text: str) -> str:
        if len(text) > length or not form.fullmatch(text):
            raise ValueError(problem)
        return text

    return check


def _cidr(text: str) -> str:
    try:
        network = ip_network(text)
    except ValueError:
        network = None
    if network is None or "/" not in text:
        raise ValueError("is not a block of addresses; write it as 10.0.0.0/8, no host bits set")
    return str(network)


def _cron(text: str) -> str:
    fields = text.split()
    line = " ".join(fields)
    if len(fields) != 5 or not is_cron(line):
        raise ValueError('is not a schedule; write five fields, such as "17 * * * *"')
    if not comes(line):
        raise ValueError("never comes, as the 30th of February; name a day that there is")
    return line


def _quantity(text: str) -> str:
    """Of a resource: none is negative."""
    try:
        wrong = len(text) > _LONGEST_QUANTITY or parsed(text) < 0
    except ValueError:
        wrong = True
    if wrong:
        raise ValueError("is not a quantity; write 500m or 2Gi")
    return text


def _value(text: str) -> str:
    if text.startswith("secret:"):
        if not find_parts(text):
            raise ValueError(NO_REFERENCE)
    elif re.match(r"(env|file|vault):", text):
        raise ValueError("is a reference that pods can't read; write secret:NAME/KEY")
    else:
        _refuse_clear(text, "write secret:NAME/KEY")
    return text


def _refuse_clear(text: str, remedy: str) -> None:
    if has_the_form_of_one(text) or is_address_with_password(text):
        raise ValueError(f"looks like a secret in clear; {remedy}")
    if "\0" in text:
        raise ValueError("holds a character that no environment has; write text")


def _text_alone(remedy: str) -> Callable[[str], str]:
    """Where nobody resolves a reference: it would be passed on as it stands."""

    def check(text: str) -> str:
        if re.match(r"(env|file|secret|vault):", text):
            raise ValueError(f"is a reference, which nobody reads there; {remedy}")
        _refuse_clear(text, remedy)
        return text

    return check


def _environment(variables: dict[str, str]) -> dict[str, str]:
    for name, value in variables.items():
        _check_variable(name)
        if names_a_secret(name) and not value.startswith("secret:"):
            raise ValueError(f"gives {name} in clear; write secret:NAME/KEY")
    return variables


def _arguments(arguments: dict[str, str]) -> dict[str, str]:
    for name in arguments:
        _check_variable(name)
        if names_a_secret(name):
            raise ValueError(f"gives {name}; {_NOT_IN_IMAGE}")
    return arguments


def _check_variable(name: str) -> None:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise ValueError("names a variable with odd letters; write letters, digits and _")
    if is_taken(name):
        raise ValueError(f"names {name}, which the platform alone decides; leave it out")


def _given(text: str) -> str:
    if not re.match(r"(env|file):.", text) and not find_parts(text):
        raise ValueError("is not a reference; write env:NAME or file:PATH, for bootstrap to copy")
    return text


GivenReference = Annotated[str, AfterValidator(_given)]
Name = Annotated[
    str, AfterValidator(_like(NAME, "is not a name; write small letters, digits, - and ."))
]
Label = Annotated[
    str,
    AfterValidator(_like(LABEL, "is not a name; write small letters, digits and -", LONGEST_LABEL)),
]
Host = Annotated[
    str,
    AfterValidator(_like(_DOMAIN, "is not a host name; write it as prefect.example.org")),
]
WildcardHost = Annotated[
    str,
    AfterValidator(
        _like(rf"(\*\.)?{_DOMAIN}", "is not a host name; write it as prefect.example.org")
    ),
]
Registry = Annotated[
    str,
    AfterValidator(
        _like(
            r"[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[a-z0-9]+([._-]+[a-z0-9]+)*)*",
            "is not a registry; write HOST[:PORT][/PATH], without https:// and without the image",
        )
    ),
]
Image = Annotated[
    str,
    AfterValidator(
        _like(
            r"[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[a-z0-9]+([._-]+[a-z0-9]+)*)*"
            r"(:[\w][\w.-]{0,127})?(@sha256:[0-9a-f]{64})?",
            "is not an image; write it as registry.example.org/name:tag or with @sha256:DIGEST",
            512,
        )
    ),
]
LabelKey = Annotated[
    str,
    AfterValidator(
        _like(
            rf"({_DOMAIN}/)?[A-Za-z0-9]([A-Za-z0-9_.-]{{0,61}}[A-Za-z0-9])?",
            "is not the name of a label or an annotation; write it as example.org/name",
            317,
        )
    ),
]
LabelValue = Annotated[
    str,
    AfterValidator(
        _like(
            r"([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?",
            "is not the value of a label; write letters, digits, -, _ and .",
        )
    ),
]
Quantity = Annotated[str, AfterValidator(_quantity)]
Duration = Annotated[
    str,
    AfterValidator(
        _like(r"([0-9]+h)?([0-9]+m)?([0-9]+s)?(?<=[hms])", "is not a time; write 1h0m0s")
    ),
]
VaultPath = Annotated[
    str,
    AfterValidator(
        _like(VAULT_PATH, "is not a path in Vault; write it as name/name, without / at either end")
    ),
]
FieldName = Annotated[
    str, AfterValidator(_like(VAULT_FIELD, "is not a field; write letters, digits, _ and -"))
]
Cidr = Annotated[str, AfterValidator(_cidr)]
Cron = Annotated[str, AfterValidator(_cron)]
Port = Annotated[int, Field(strict=True, ge=1, le=65_535)]
Variables = Annotated[
    dict[str, Annotated[str, AfterValidator(_value)]], AfterValidator(_environment)
]
Arguments = Annotated[
    dict[str, Annotated[str, AfterValidator(_text_alone(_NOT_IN_IMAGE))]],
    AfterValidator(_arguments),
]
Labels = dict[LabelKey, LabelValue]
Annotations = dict[LabelKey, Annotated[str, AfterValidator(_text_alone(_NOT_IN_OBJECT))]]
