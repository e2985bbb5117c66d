"""JSON cut into pieces: nothing that is kept changes, and nothing else is let through."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as some

from clinical_ai.steps.json_text import UnfitError, elements, is_json, members, without_nul

_texts = some.text(some.characters(exclude_categories=["Cs"], exclude_characters="\0"))
_values = some.recursive(
    some.none()
    | some.booleans()
    | some.integers()
    | some.floats(allow_nan=False, allow_infinity=False)
    | _texts,
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(_texts, inner, max_size=3),
    max_leaves=10,
)


@given(some.dictionaries(_texts, _values), some.sampled_from([None, 2]), some.booleans())
def test_members_are_those_that_json_reads(
    value: dict[str, object], indent: int | None, ascii_only: bool
) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)
    found = {name: (decoded, json.loads(raw)) for name, decoded, raw in members(text)}
    assert found == {name: (inner, inner) for name, inner in value.items()}


@given(some.lists(_values))
def test_elements_are_those_that_json_reads(values: list[object]) -> None:
    assert [json.loads(each) for each in elements(json.dumps(values))] == values


@given(some.text(max_size=30))
def test_what_json_refuses_is_refused(text: str) -> None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        assert not is_json(text)
        with pytest.raises(UnfitError):
            list(members(text))
    else:
        if not isinstance(value, dict):
            with pytest.raises(UnfitError):
                list(members(text))


def test_a_decimal_keeps_its_digits() -> None:
    [(_, _, raw)] = members('{"value": {"dose": 1.50, "exact": 0.1000000000000000055511}}')
    assert raw == '{"dose": 1.50, "exact": 0.1000000000000000055511}'


@pytest.mark.parametrize(
    "text",
    [
        '{"a": NaN}',
        '{"a": -Infinity}',
        '{"a": 1e999}',
        '{"a": 1e-99999}',
        '{"a": "\\ud800"}',
        '{"\\udfff": 1}',
        '{"a": 1} trailing',
        '{"a": 1,}',
        '{"a" 1}',
        "{1: 2}",
        '{"a": "raw \n line end"}',
        '{"a": ' + "[" * 100_000 + "]" * 100_000 + "}",
        "",
        "{",
        '{"a',
    ],
)
def test_what_postgresql_cannot_keep_is_refused(text: str) -> None:
    with pytest.raises(UnfitError):
        list(members(text))


def test_a_large_exponent_that_fits_is_kept() -> None:
    [(_, value, raw)] = members('{"a": 1e-300}')
    assert (value, raw) == (1e-300, "1e-300")


@given(some.text(alphabet='\0\\u0a"', max_size=20))
def test_no_nul_is_left(text: str) -> None:
    clean, _ = without_nul(text)
    assert "\0" not in clean
    try:
        decoded = json.loads(f'"{clean}"', strict=False)
    except ValueError:
        return
    assert "\0" not in str(decoded)


@pytest.mark.parametrize(
    ("text", "clean", "removed"),
    [
        ('"a\0b"', '"ab"', 1),
        ('"a\\u0000\\u0000b"', '"ab"', 2),
        ('"a\\\\u0000b"', '"a\\\\u0000b"', 0),
        ('"a\\\\\\u0000b"', '"a\\\\b"', 1),
    ],
)
def test_nul_is_removed_and_counted(text: str, clean: str, removed: int) -> None:
    assert without_nul(text) == (clean, removed)
