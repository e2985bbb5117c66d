"""Amounts as Kubernetes writes them: `500m`, `2Gi`, `1e3`."""

import re
from decimal import Decimal
from fractions import Fraction
from typing import Final

_FORM: Final = re.compile(
    r"([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+))(?:[eE]([+-]?[0-9]{1,3})|([numkMGTPE]|[KMGTPE]i)?)"
)
_UNITS: Final = {
    "": Fraction(1),
    **{unit: Fraction(1, 1000**power) for power, unit in enumerate("mun", start=1)},
    **{unit: Fraction(1000**power) for power, unit in enumerate("kMGTPE", start=1)},
    **{f"{unit}i": Fraction(1024**power) for power, unit in enumerate("KMGTPE", start=1)},
}
_MEBIBYTE: Final = 2**20


def parsed(quantity: str) -> Fraction:
    """The exact amount; ValueError for what the API server would not take.

    https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
    """
    found = _FORM.fullmatch(quantity)
    if found is None:
        raise ValueError("is not a quantity")
    number, exponent, unit = found.groups()
    return Fraction(number) * (Fraction(10) ** int(exponent) if exponent else _UNITS[unit or ""])


def told(amount: Fraction, resource: str) -> str:
    """For a person: memory and storage in Mi, all else as a plain number."""
    if resource.rpartition(".")[2] in {"memory", "storage", "ephemeral-storage"}:
        return f"{_short(amount / _MEBIBYTE, 6)}Mi"
    return _short(amount, 10)


def _short(amount: Fraction, digits: int) -> str:
    """Rounded for a person. A quantity may be more than a float holds: `1e999`."""
    if abs(amount) < 2**63:
        return f"{float(amount):.{digits}g}"
    return f"{(Decimal(amount.numerator) / amount.denominator).normalize():.{digits}g}"
