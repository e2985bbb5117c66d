"""CSV files as pages of one table, each column of a type that all of the first load fits."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Final

from clinical_ai.errors import NeedsOperator
from clinical_ai.ports_clinical import Kind, Page
from clinical_ai.steps.column_names import columns as named
from clinical_ai.steps.csv_rows import CsvFile, Piece
from clinical_ai.steps.paging import Column, fitted, make_page
from clinical_ai.steps.row_options import FilesOptions
from clinical_ai.steps.tally import Tally
from clinical_ai.steps.typed_columns import GUESSES, narrowed, texts

Opening = Callable[[Tally], AbstractContextManager[CsvFile]]


class CsvPages:
    """The files of one source. Columns that neither the options nor an existing table nor the key
    decides are decided by reading the new files once before they are loaded: a type guessed from
    the first rows would set the later ones aside.
    """

    def __init__(
        self, table: str, options: FilesOptions, sql_types: Mapping[str, str], tally: Tally
    ) -> None:
        self._table = table
        self._options = options
        self._sql_types = sql_types
        self._tally = tally
        self._nulls: Final = frozenset({"", *options.nulls})
        self._left: dict[str, list[Kind]] = {}
        self._filled: set[str] = set()

    def look_at(self, open_file: Opening) -> None:
        """Narrow down what the undecided columns of one file can be."""
        with open_file(Tally()) as file:
            columns = self._columns(file)
            undecided = [name for name in columns if not self._decided(name)]
            if not undecided:
                return
            for piece in file.pieces():
                for name, cells in zip(columns, piece.columns, strict=True):
                    if name in undecided:
                        self._narrow(name, cells)

    def pages(self, open_file: Opening) -> Iterator[Page]:
        """The rows of one file."""
        with open_file(self._tally) as file:
            columns = self._columns(file)
            for piece in file.pieces():
                page = self._page(columns, piece)
                if page is not None:
                    yield page

    def _page(self, names: list[str], piece: Piece) -> Page | None:
        columns = {
            name: fitted(self._table, name, self._column(name, cells), self._sql_types)
            for name, cells in zip(names, piece.columns, strict=True)
        }
        return make_page(self._table, self._options.key, columns, piece.size, self._tally)

    def _column(self, name: str, cells: tuple[str, ...]) -> Column:
        if name in self._sql_types and name not in self._options.columns:
            return Column(texts(cells, self._nulls), Kind.TEXT)  # `fitted` gives it its type
        return Column(texts(cells, self._nulls), self._kind(name))

    def _kind(self, name: str) -> Kind:
        declared = self._options.columns.get(name)
        if declared is not None:
            return declared
        left = self._left.get(name)
        return left[0] if left and name in self._filled else Kind.TEXT

    def _narrow(self, name: str, cells: tuple[str, ...]) -> None:
        column = texts(cells, self._nulls)
        if column.null_count < len(column):
            self._filled.add(name)
        self._left[name] = narrowed(self._left.get(name, list(GUESSES)), column)

    def _decided(self, name: str) -> bool:
        """Keys stay texts unless declared: a label of digits may carry a letter tomorrow."""
        known = {*self._options.columns, *self._sql_types, *self._options.key}
        return name in known or self._left.get(name) == []

    def _columns(self, file: CsvFile) -> list[str]:
        """Raises NeedsOperator without the file's names: without a header they would be cells."""
        found = named(file.header)
        if not self._options.key:
            raise NeedsOperator(
                f"rows of table {self._table} cannot be told apart: options.key is not set",
                'name the column that is unique, as in {"key": "patient_id"}',
            )
        for name in self._options.key:
            if name not in found:
                raise NeedsOperator(
                    f"a file for table {self._table} has no column {name}, which options.key names",
                    "check key (lower snake case) and delimiter, and that the files have a header",
                )
        return found
