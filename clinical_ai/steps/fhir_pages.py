"""FHIR resources gathered into pages, a page for each resource type."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from clinical_ai.ports_clinical import Kind, Page
from clinical_ai.steps.fhir_rows import KEY, Row, SetAsideError, parse
from clinical_ai.steps.paging import PAGE_BYTES, PAGE_ROWS, Column, fitted, make_page
from clinical_ai.steps.tally import UNREADABLE, Aside, Tally
from clinical_ai.steps.typed_columns import arrow_type


class FhirPages:
    """Takes resources as texts, in any mixture, and gives them back as pages of checked rows."""

    def __init__(self, tables: Mapping[str, Mapping[str, str]], tally: Tally) -> None:
        self._tables = tables
        self._tally = tally
        self._waiting: dict[str, list[Row]] = defaultdict(list)
        self._rows = 0
        self._size = 0

    def take(self, text: str) -> Row | None:
        """Keep one resource for a page; None when it was set aside."""
        try:
            row = parse(text)
        except SetAsideError as why:
            self.refuse(why.reason, why.table, why.column)
            return None
        self._tally.read[row.table] += 1
        self._tally.nul_bytes[row.table] += row.nul_bytes
        self._waiting[row.table].append(row)
        self._rows += 1
        self._size += len(text)
        return row

    def refuse(self, reason: Aside, table: str = UNREADABLE, column: str = "") -> None:
        """Count a resource that is not loaded."""
        self._tally.read[table] += 1
        self._tally.set_aside(table, reason, column=column)

    @property
    def full(self) -> bool:
        """Whether it is time to let the pages go."""
        return self._rows >= PAGE_ROWS or self._size >= PAGE_BYTES

    def pages(self) -> Iterator[Page]:
        """All that is waiting."""
        for table, rows in sorted(self._waiting.items()):
            page = self._page(table, rows)
            if page is not None:
                yield page
        self._waiting.clear()
        self._rows = self._size = 0

    def _page(self, table: str, rows: list[Row]) -> Page | None:
        kinds = rows[0].kinds
        present = {name for row in rows for name in row.cells}
        sql_types = self._tables.get(table, {})
        columns = {
            name: fitted(table, name, _column(rows, name, kind), sql_types)
            for name, kind in kinds.items()
            if name in present
        }
        size = sum(column.values.nbytes for column in columns.values())
        return make_page(table, KEY, columns, size, self._tally)


def each_page(texts: Iterable[str | Aside], pages: FhirPages) -> Iterator[Page]:
    """Pages as they fill up; what could not be read as a text comes as the reason why."""
    for text in texts:
        if isinstance(text, Aside):
            pages.refuse(text)
        else:
            pages.take(text)
        if pages.full:
            yield from pages.pages()


def _column(rows: list[Row], name: str, kind: Kind) -> Column:
    import pyarrow as pa

    cells: list[Any] = [row.cells.get(name) for row in rows]
    return Column(pa.array(cells, arrow_type(kind)), kind, checked=True)
