"""The source `files`: NDJSON of FHIR resources, and CSV, in the storage."""

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import PurePosixPath
from typing import Final

from clinical_ai.ports import ObjectStore, StoredObject
from clinical_ai.ports_clinical import Known, Page
from clinical_ai.steps import marks
from clinical_ai.steps.catalog import Row
from clinical_ai.steps.column_names import snake
from clinical_ai.steps.csv_pages import CsvPages, Opening
from clinical_ai.steps.csv_rows import CsvFile
from clinical_ai.steps.fhir_pages import FhirPages, each_page
from clinical_ai.steps.row_options import FilesOptions
from clinical_ai.steps.tally import UNREADABLE, Aside, Tally
from clinical_ai.steps.text_lines import DamagedError, lines

_FORMATS: Final = {".ndjson": "fhir", ".jsonl": "fhir", ".csv": "csv"}
# What one line of CSV may hold, as a multiple of what one cell may.
_CELLS: Final = 4


class FilesSource:
    """Objects of one bucket below one prefix that are new, or changed since they were loaded."""

    def __init__(self, storage: ObjectStore, row: Row, options: FilesOptions, tally: Tally) -> None:
        self._storage = storage
        self._row = row
        self._options = options
        self._tally = tally
        self._bucket = str(row.bucket_name)
        self._table = options.table or table_of(row)
        # Other options read the same objects differently: what they loaded is loaded again.
        self._reading = marks.digest(options.model_dump_json())

    def pages(self, known: Known) -> Iterator[Page]:
        """Rows of new objects, the oldest object first, so that the newest of equal keys wins."""
        new = self._new(known.marks)
        csv = CsvPages(self._table, self._options, known.tables.get(self._table, {}), self._tally)
        fhir = FhirPages(known.tables, self._tally)
        for each in new:
            if self._format(each) == "csv":
                with suppress(DamagedError):  # told when its rows are read
                    csv.look_at(self._opening(each))
        done: dict[str, str] = {}
        for each in new:
            try:
                if self._format(each) == "csv":
                    yield from csv.pages(self._opening(each))
                else:
                    yield from each_page(self._texts(each), fhir)
                done[self._part(each)] = self._mark(each)
            except DamagedError:
                self._tally.set_aside(UNREADABLE, Aside.DAMAGED)
        yield from fhir.pages()
        if done:
            yield marks.page(self._row.name, done, self._tally)

    def _new(self, known: Mapping[str, str]) -> list[StoredObject]:
        found = list(self._storage.list(self._bucket, self._row.location or ""))
        fit = [each for each in found if self._format(each)]
        new = [each for each in fit if known.get(self._part(each)) != self._mark(each)]
        self._tally.parts["objects ignored (no known format)"] += len(found) - len(fit)
        self._tally.parts["objects loaded before"] += len(fit) - len(new)
        self._tally.parts["objects new or changed"] += len(new)
        return sorted(new, key=lambda each: (each.modified, each.name))

    def _format(self, each: StoredObject) -> str | None:
        """`fhir`, `csv` or None, by the object's name unless the options say it."""
        by_name = _FORMATS.get(PurePosixPath(each.name.removesuffix(".gz")).suffix.lower())
        wanted = self._options.format
        return by_name if by_name and wanted in {None, by_name} else None

    def _part(self, each: StoredObject) -> str:
        return marks.digest(self._bucket, each.name)

    def _mark(self, each: StoredObject) -> str:
        return f"{each.etag}:{self._reading}"

    def _opening(self, each: StoredObject) -> Opening:
        @contextmanager
        def opened(tally: Tally) -> Iterator[CsvFile]:
            limit = self._options.limit_bytes
            with closing(self._storage.open(self._bucket, each.name)) as stream:
                found = lines(stream, limit * _CELLS, compressed=_compressed(each))
                delimiter = self._options.delimiter
                yield CsvFile(found, self._table, tally, delimiter=delimiter, limit=limit)

        return opened

    def _texts(self, each: StoredObject) -> Iterator[str | Aside]:
        """Resources, one a line; empty lines are none."""
        with closing(self._storage.open(self._bucket, each.name)) as stream:
            found = lines(stream, self._options.limit_bytes, compressed=_compressed(each))
            for line in found:
                if line is None:
                    yield Aside.TOO_LARGE
                elif line.strip():
                    self._tally.size += len(line)
                    yield _text(line)


def table_of(row: Row) -> str:
    """Where CSV goes unless options.table says it: what the operator wrote, never an object's name.

    An object's name may tell who the patient is, and tables are named in logs and artifacts.
    """
    last = PurePosixPath((row.location or "").rstrip("/")).name
    stem = last.removesuffix(".gz").removesuffix(".csv")
    return snake(stem) or snake(row.name) or "rows"


def _compressed(each: StoredObject) -> bool:
    return each.name.endswith(".gz")


def _text(line: bytes) -> str | Aside:
    try:
        return line.decode()
    except UnicodeDecodeError:
        return Aside.NOT_UTF8
