"""Names made from what a source calls things."""

from dlt.common.normalizers.naming.snake_case import NamingConvention
from hypothesis import given
from hypothesis import strategies as some

from clinical_ai.steps.column_names import columns, snake


@given(some.text())
def test_dlt_leaves_our_names_as_they_are(name: str) -> None:
    made = snake(name)
    if made:
        assert NamingConvention(63).normalize_identifier(made) == made
    assert len(made) <= 63


@given(some.lists(some.text(max_size=5), max_size=20))
def test_columns_are_told_apart(headers: list[str]) -> None:
    made = columns(headers)
    assert len(set(made)) == len(headers)
    assert all(made)


def test_names_read_well() -> None:
    assert [snake(name) for name in ("CarePlan", "birthDate", "BMI (kg/m2)", "Größe", "2nd")] == [
        "care_plan",
        "birth_date",
        "bmi_kg_m2",
        "gro_e",
        "n2nd",
    ]


def test_a_source_cannot_take_the_names_of_our_own_columns() -> None:
    assert columns(["_dlt_load_id", "_cai_position"]) == ["dlt_load_id", "cai_position"]
