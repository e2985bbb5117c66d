"""CSV, read a piece at a time: cells as they stand, broken rows counted and left out."""

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from clinical_ai.steps.paging import PAGE_BYTES, PAGE_ROWS
from clinical_ai.steps.tally import Aside, Tally

# Stands for a line that was passed over. NUL is removed from all other lines.
_PASSED_OVER = "\0"


@dataclass(frozen=True)
class Piece:
    """Some rows of a file, turned into columns: one sequence of cells for each header."""

    columns: Sequence[tuple[str, ...]]
    size: int


class CsvFile:
    """The rows of one file for one table; `header` is known once the first piece was asked for."""

    def __init__(
        self, lines: Iterable[bytes | None], table: str, tally: Tally, *, delimiter: str, limit: int
    ) -> None:
        """`limit`: bytes of the largest cell, for the whole process (Python's csv keeps one)."""
        csv.field_size_limit(limit)
        self._lines = lines
        self._table = table
        self._tally = tally
        self._size = 0
        self._broken_text = False
        self._rows = csv.reader(self._decoded(), delimiter=delimiter, strict=True)
        try:
            self.header = next(self._rows, [])
        except csv.Error:
            self.header = []

    def pieces(self) -> Iterator[Piece]:
        """The good rows, a page's worth at a time."""
        rows: list[list[str]] = []
        for row in self._good():
            rows.append(row)
            if len(rows) >= PAGE_ROWS or self._size >= PAGE_BYTES:
                yield self._piece(rows)
                rows = []
        if rows:
            yield self._piece(rows)

    def _piece(self, rows: list[list[str]]) -> Piece:
        size, self._size = self._size, 0
        return Piece(list(zip(*rows, strict=True)), size)

    def _good(self) -> Iterator[list[str]]:
        """Rows with as many cells as the header has, of text that can be kept."""
        wanted = len(self.header)
        while True:
            try:
                row = next(self._rows)
            except StopIteration:
                return
            except csv.Error as met:
                # csv has one kind of error; "field larger than field limit" is told by its text.
                self._refused(Aside.TOO_LARGE if "limit" in str(met) else Aside.NOT_CSV)
                continue
            fault = self._fault(row) if self._broken_text else None
            if fault is None and len(row) == wanted:
                self._tally.read[self._table] += 1
                yield row
            elif row:
                self._refused(fault or Aside.CELL_COUNT)

    def _refused(self, reason: Aside) -> None:
        self._tally.read[self._table] += 1
        self._tally.set_aside(self._table, reason)

    def _fault(self, row: list[str]) -> Aside | None:
        """What is wrong with the text of a row; asked only after a broken line was met."""
        if any(_PASSED_OVER in cell for cell in row):
            return Aside.TOO_LARGE
        try:
            "".join(row).encode()
        except UnicodeEncodeError:
            return Aside.NOT_UTF8
        return None

    def _decoded(self) -> Iterator[str]:
        for line in self._lines:
            if line is None:
                self._broken_text = True
                yield _PASSED_OVER + "\n"
                continue
            self._size += len(line)
            self._tally.size += len(line)
            if b"\0" in line:
                self._tally.nul_bytes[self._table] += line.count(b"\0")
                line = line.replace(b"\0", b"")
            yield self._text(line) + "\n"

    def _text(self, line: bytes) -> str:
        try:
            return line.decode()
        except UnicodeDecodeError:
            self._broken_text = True
            return line.decode(errors="surrogateescape")
