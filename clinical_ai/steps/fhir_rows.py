"""FHIR R4 resources as rows: one table a resource type, top-level scalars as columns.

Which elements exist and what they hold is the standard's, not the data's: `fhir_r4.json` lists them
(from FHIR 4.0's StructureDefinitions). So the first row cannot decide a column's type, and a
name found in data never becomes the name of a column: what the standard does not know is kept
together in `OTHERS`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from importlib.resources import files
from typing import Any, Final

from clinical_ai.ports_clinical import Kind
from clinical_ai.steps.column_names import snake
from clinical_ai.steps.json_text import UnfitError, is_json, members, without_nul
from clinical_ai.steps.tally import UNREADABLE, Aside

KEY: Final = ("id",)
OTHERS: Final = "other_elements"
_KINDS: Final = {
    "text": Kind.TEXT,
    "bigint": Kind.BIGINT,
    "double": Kind.DOUBLE,
    "boolean": Kind.BOOLEAN,
    "json": Kind.JSON,
}
_BIGGEST: Final = 2**63


@dataclass(frozen=True)
class Element:
    """A top-level element of a resource type: its column and what it holds."""

    column: str
    kind: Kind


@dataclass(frozen=True)
class Row:
    """A resource, ready for its table. `nul_bytes`: how many were removed."""

    table: str
    cells: Mapping[str, Any]
    kinds: Mapping[str, Kind]
    nul_bytes: int


class SetAsideError(Exception):
    """This resource is not loaded; it tells the table, the reason and the column alone."""

    def __init__(self, table: str, reason: Aside, column: str = "") -> None:
        super().__init__(table, reason, column)
        self.table, self.reason, self.column = table, reason, column


@cache
def resource_types() -> Mapping[str, Mapping[str, Element]]:
    """Every resource type of FHIR R4 with its top-level elements."""
    text = files(__package__).joinpath("fhir_r4.json").read_text()
    listed: dict[str, dict[str, str]] = json.loads(text)
    return {name: _elements(by_kind) for name, by_kind in listed.items()}


@cache
def kinds(resource_type: str) -> Mapping[str, Kind]:
    """What each column of the type's table holds, also of those that no row has filled yet."""
    elements = resource_types()[resource_type].values()
    return {element.column: element.kind for element in elements} | {OTHERS: Kind.JSON}


def table_of(resource_type: str) -> str:
    """The table's name."""
    return snake(resource_type)


def parse(text: str) -> Row:
    """The row of one resource. Raises SetAsideError."""
    text, removed = without_nul(text)
    resource_type, found = _opened(text)
    known = resource_types().get(resource_type)
    if known is None:
        raise SetAsideError(UNREADABLE, Aside.NOT_FHIR)
    table, cells = table_of(resource_type), {}
    others: dict[str, str] = {}
    for name, (value, raw) in found.items():
        element = known.get(name)
        if element is None:
            others[name] = raw
        elif value is not None:
            cells[element.column] = _cell(value, raw, element, table)
    if others:
        cells[OTHERS] = _object(others)
    if not cells.get("id"):
        raise SetAsideError(table, Aside.NO_KEY)
    return Row(table, cells, kinds(resource_type), removed)


def _object(members_raw: Mapping[str, str]) -> str:
    """An object of members that are JSON already."""
    inside = ",".join(f"{json.dumps(name)}:{raw}" for name, raw in members_raw.items())
    return f"{{{inside}}}"


def _opened(text: str) -> tuple[str, dict[str, tuple[Any, str]]]:
    """The resource type and the other members; of equal names the last, as JSON readers do."""
    try:
        found = {name: (value, raw) for name, value, raw in members(text)}
    except UnfitError:
        is_other = not text.lstrip().startswith("{") and is_json(text)
        raise SetAsideError(UNREADABLE, Aside.NOT_OBJECT if is_other else Aside.NOT_JSON) from None
    kind, _ = found.pop("resourceType", ("", ""))
    return (kind if isinstance(kind, str) else ""), found


def _cell(value: Any, raw: str, element: Element, table: str) -> Any:
    """What goes into the column. Raises SetAsideError when the value is of another type."""
    match element.kind:
        case Kind.JSON if isinstance(value, dict | list):
            return raw
        case Kind.TEXT if isinstance(value, str):
            return value
        case Kind.BOOLEAN if isinstance(value, bool):
            return value
        case Kind.BIGINT if type(value) is int and -_BIGGEST <= value < _BIGGEST:
            return value
        case Kind.DOUBLE if type(value) in {int, float} and _same_number(value, raw):
            return float(value)
        case _:
            raise SetAsideError(table, Aside.WRONG_TYPE, element.column)


def _same_number(value: float, raw: str) -> bool:
    """Whether a double holds exactly the number that was written."""
    return Decimal(repr(float(value))) == Decimal(raw)


def _elements(by_kind: Mapping[str, str]) -> dict[str, Element]:
    """By name in JSON; a primitive has a sibling `_name` for its id and extensions."""
    found: dict[str, Element] = {}
    for kind, listed in by_kind.items():
        for name in listed.split():
            found[name] = Element(snake(name), _KINDS[kind])
            if kind != "json":
                found[f"_{name}"] = Element(f"{snake(name)}_extension", Kind.JSON)
    return found
