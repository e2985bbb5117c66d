"""FHIR resources as rows: the standard decides the columns, the data never does."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from clinical_ai.ports_clinical import Kind
from clinical_ai.steps.fhir_rows import SetAsideError, kinds, parse, resource_types
from clinical_ai.steps.tally import UNREADABLE, Aside

DEMONSTRATION = Path(__file__).parents[2] / "demonstration" / "fhir-r4"
_anything = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats() | some.text(),
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(some.text(), inner, max_size=3),
    max_leaves=8,
)


def patient(**elements: Any) -> str:
    return json.dumps({"resourceType": "Patient", "id": "p1"} | elements)


def test_scalars_are_columns_and_the_rest_is_json_as_it_was_written() -> None:
    row = parse(
        '{"resourceType": "Patient", "id": "p1", "active": true, "birthDate": "1970-03",'
        ' "multipleBirthInteger": 2, "name": [ {"family": "Ch\\u00e4lmers"} ],'
        ' "_birthDate": {"extension": []}}'
    )
    assert row.table == "patient"
    assert row.cells == {
        "id": "p1",
        "active": True,
        "birth_date": "1970-03",
        "multiple_birth_integer": 2,
        "name": '[ {"family": "Ch\\u00e4lmers"} ]',
        "birth_date_extension": '{"extension": []}',
    }
    assert row.kinds["name"] is Kind.JSON


def test_an_element_that_the_standard_does_not_know_names_no_column() -> None:
    row = parse(patient(**{"Peter Chalmers": 1, "birthDate": "1970-01-01"}))
    assert json.loads(row.cells["other_elements"]) == {"Peter Chalmers": 1}
    assert set(row.cells) == {"id", "birth_date", "other_elements"}


def test_null_is_no_value() -> None:
    assert "gender" not in parse(patient(gender=None)).cells


@pytest.mark.parametrize(
    ("text", "table", "reason", "column"),
    [
        ("not json", UNREADABLE, Aside.NOT_JSON, ""),
        ('{"resourceType": "Patient"', UNREADABLE, Aside.NOT_JSON, ""),
        ("[1]", UNREADABLE, Aside.NOT_OBJECT, ""),
        ('"text"', UNREADABLE, Aside.NOT_OBJECT, ""),
        ("{}", UNREADABLE, Aside.NOT_FHIR, ""),
        ('{"resourceType": "Chalmers", "id": "x"}', UNREADABLE, Aside.NOT_FHIR, ""),
        ('{"resourceType": ["Patient"], "id": "x"}', UNREADABLE, Aside.NOT_FHIR, ""),
        ('{"resourceType": "Patient"}', "patient", Aside.NO_KEY, ""),
        (patient(id=""), "patient", Aside.NO_KEY, ""),
        (patient(id=None), "patient", Aside.NO_KEY, ""),
        (patient(id=7), "patient", Aside.WRONG_TYPE, "id"),
        (patient(birthDate=1970), "patient", Aside.WRONG_TYPE, "birth_date"),
        (patient(active="yes"), "patient", Aside.WRONG_TYPE, "active"),
        (patient(active=1), "patient", Aside.WRONG_TYPE, "active"),
        (patient(multipleBirthInteger=True), "patient", Aside.WRONG_TYPE, "multiple_birth_integer"),
        (patient(multipleBirthInteger=2.5), "patient", Aside.WRONG_TYPE, "multiple_birth_integer"),
        (
            patient(multipleBirthInteger=2**63),
            "patient",
            Aside.WRONG_TYPE,
            "multiple_birth_integer",
        ),
        (patient(name="Chalmers"), "patient", Aside.WRONG_TYPE, "name"),
    ],
)
def test_a_bad_resource_is_set_aside_and_says_why(
    text: str, table: str, reason: Aside, column: str
) -> None:
    with pytest.raises(SetAsideError) as why:
        parse(text)
    assert (why.value.table, why.value.reason, why.value.column) == (table, reason, column)


@pytest.mark.parametrize(
    ("number", "kept"), [("1.5", True), ("0.1", True), ("3.14159265358979323846", False)]
)
def test_a_decimal_that_a_double_would_change_is_set_aside(number: str, kept: bool) -> None:
    text = f'{{"resourceType": "ChargeItem", "id": "c", "factorOverride": {number}}}'
    if kept:
        assert parse(text).cells["factor_override"] == float(number)
    else:
        with pytest.raises(SetAsideError):
            parse(text)


@given(_anything, some.text(max_size=10))
def test_whatever_comes_is_a_row_or_set_aside_without_a_value(value: Any, key: str) -> None:
    for thing in (value, {"resourceType": "Patient", "id": "canary", key: value, "name": value}):
        told = ""
        try:
            row = parse(json.dumps(thing))
        except SetAsideError as why:
            told = str(why)
        else:
            assert set(row.cells) <= set(kinds("Patient"))
        assert "canary" not in told


def test_columns_of_a_type_are_told_apart() -> None:
    for elements in resource_types().values():
        columns = [element.column for element in elements.values()]
        assert len(columns) == len(set(columns))


def test_every_demonstration_resource_is_a_row() -> None:
    texts = [
        text for file in DEMONSTRATION.glob("*.ndjson") for text in file.read_text().splitlines()
    ]
    assert len({(row.table, row.cells["id"]) for row in map(parse, texts)}) == len(texts) > 600
