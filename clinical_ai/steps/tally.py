"""What a run met, in counts: never a cell, an object's name or an id."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from enum import StrEnum

from clinical_ai.ports_clinical import Kind

# The table of a row so broken that its table cannot be told.
UNREADABLE = "(unreadable)"


class Aside(StrEnum):
    """Why a row was set aside instead of loaded."""

    NO_KEY = "missing key"
    NOT_JSON = "not valid JSON"
    NOT_OBJECT = "not a JSON object"
    NOT_CSV = "not valid CSV"
    NOT_UTF8 = "not valid UTF-8"
    TOO_LARGE = "above the size limit"
    CELL_COUNT = "wrong number of cells"
    NOT_FHIR = "not a FHIR R4 resource type"
    WRONG_TYPE = "wrong type"
    DAMAGED = "object damaged: its rest was not read"


@dataclass
class ColumnCount:
    """How full a column is: rows and nulls of this run."""

    kind: Kind
    rows: int = 0
    nulls: int = 0


@dataclass
class Tally:
    """Counts of one run, by table. `parts`: objects or resource types, by what became of them."""

    read: Counter[str] = field(default_factory=Counter)
    aside: Counter[tuple[str, str]] = field(default_factory=Counter)
    nul_bytes: Counter[str] = field(default_factory=Counter)
    parts: Counter[str] = field(default_factory=Counter)
    columns: dict[str, dict[str, ColumnCount]] = field(default_factory=lambda: defaultdict(dict))
    size: int = 0
    position: int = 0

    def set_aside(self, table: str, reason: Aside, *, column: str = "", rows: int = 1) -> None:
        """Count rows that are not loaded; `column` names the one at fault."""
        if rows:
            self.aside[table, f"{reason} in {column}" if column else str(reason)] += rows

    def column(self, table: str, name: str, kind: Kind, *, rows: int, nulls: int) -> None:
        """Count one column of one page."""
        count = self.columns[table].setdefault(name, ColumnCount(kind))
        count.rows += rows
        count.nulls += nulls

    def tables(self) -> list[str]:
        """Every table that was met, also one of which no row was good."""
        return sorted(self.read.keys() | {table for table, _ in self.aside})
