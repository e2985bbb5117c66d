"""Quantities are read exactly, whichever way Kubernetes writes them."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clinical_ai.quantities import parsed, told

# Each is the one before it, times a thousand or 1024.
DECIMAL = ("n", "u", "m", "", "k", "M", "G", "T", "P", "E")
BINARY = ("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei")

numbers = st.from_regex(r"\A[+-]?([0-9]{1,12}(\.[0-9]{0,9})?|\.[0-9]{1,9})\Z")


@given(numbers)
def test_a_plain_number_is_itself(text: str) -> None:
    assert parsed(text) == Fraction(text)


@given(numbers, st.integers(1, len(DECIMAL) - 1))
def test_each_decimal_unit_is_a_thousand_of_the_one_below(text: str, at: int) -> None:
    assert parsed(text + DECIMAL[at]) == 1000 * parsed(text + DECIMAL[at - 1])


@given(numbers, st.integers(1, len(BINARY) - 1))
def test_each_binary_unit_is_1024_of_the_one_below(text: str, at: int) -> None:
    assert parsed(text + BINARY[at]) == 1024 * parsed(text + BINARY[at - 1])


@given(numbers, st.integers(-18, 18), st.sampled_from("eE"))
def test_an_exponent_moves_the_point(text: str, power: int, letter: str) -> None:
    assert parsed(f"{text}{letter}{power}") * 10 ** (18 - power) == parsed(text) * 10**18


@given(st.text())
def test_no_text_is_taken_for_another_amount(text: str) -> None:
    try:
        parsed(text)
    except ValueError:
        return
    assert text.rstrip("numkMGTPEi").strip("+-.eE0123456789") == ""


@pytest.mark.parametrize(
    "same",
    [
        # Of Kubernetes' own documents.
        ("128974848", "128974848000m", "123Mi"),
        ("129e6", "129M", "129E+6"),
        ("0.5", "500m", ".5", "5e-1"),
        ("1E", "1e18", "1000P"),
    ],
)
def test_the_same_amount_may_be_written_in_several_ways(same: tuple[str, ...]) -> None:
    assert len({parsed(text) for text in same}) == 1


@pytest.mark.parametrize(
    "wrong", ["", "Mi", "1KiB", "1K", "1mi", "1 Gi", "1e", "1e5k", "--1", "1.2.3", ".", "\u0661"]
)
def test_what_is_no_quantity_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match="not a quantity"):
        parsed(wrong)


@pytest.mark.parametrize(
    ("amount", "resource", "text"),
    [
        ("2Gi", "requests.memory", "2048Mi"),
        ("1.5Gi", "memory", "1536Mi"),
        ("1250m", "limits.cpu", "1.25"),
        ("1k", "pods", "1000"),
        ("3", "count/jobs.batch", "3"),
        ("1Ei", "limits.memory", "1.09951e+12Mi"),
        ("1e999", "limits.cpu", "1e+999"),
    ],
)
def test_a_person_reads_mebibytes_and_plain_numbers(amount: str, resource: str, text: str) -> None:
    assert told(parsed(amount), resource) == text
