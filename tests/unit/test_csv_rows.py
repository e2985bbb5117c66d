"""CSV: every row is read whole, or counted."""

import csv
import gzip
import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from clinical_ai.steps.csv_rows import CsvFile
from clinical_ai.steps.tally import Aside, Tally
from clinical_ai.steps.text_lines import DamagedError, lines

LIMIT = 2000


def read(data: bytes, **options: Any) -> tuple[list[tuple[str, ...]], Tally]:
    tally = Tally()
    found = lines(io.BytesIO(data), 4 * LIMIT, **options)
    file = CsvFile(found, "t", tally, delimiter=",", limit=LIMIT)
    return [row for piece in file.pieces() for row in zip(*piece.columns, strict=True)], tally


_cells = some.text(some.characters(codec="utf-8", exclude_characters="\0\r"), max_size=8)


@given(some.lists(some.lists(_cells, min_size=2, max_size=2), max_size=8))
def test_what_was_written_is_read(rows: list[list[str]]) -> None:
    written = io.StringIO()
    csv.writer(written, lineterminator="\n", quoting=csv.QUOTE_ALL).writerows([["a", "b"], *rows])
    found, tally = read(written.getvalue().encode())
    assert found == [tuple(row) for row in rows]
    assert not tally.aside


@given(some.binary(max_size=300))
def test_whatever_comes_every_row_is_counted_once(data: bytes) -> None:
    found, tally = read(b"a,b\n" + data)
    assert tally.read["t"] == len(found) + sum(tally.aside.values())


@pytest.mark.parametrize(
    ("data", "rows", "reason"),
    [
        (b"a,b\n1\n2,3\n", [("2", "3")], Aside.CELL_COUNT),
        (b"a,b\n1,2,3\n2,3\n", [("2", "3")], Aside.CELL_COUNT),
        (b'a,b\n"1"x,2\n2,3\n', [("2", "3")], Aside.NOT_CSV),
        (b"a,b\n\xff,2\n2,3\n", [("2", "3")], Aside.NOT_UTF8),
        (b"a,b\n1," + b"x" * 3000 + b"\n2,3\n", [("2", "3")], Aside.TOO_LARGE),
        (b"a,b\n1," + b"x" * 9000 + b"\n2,3\n", [("2", "3")], Aside.TOO_LARGE),
        (b'a,b\n1,2\n3,"never closed\n4,5\n', [("1", "2")], Aside.NOT_CSV),
    ],
)
def test_a_broken_row_is_set_aside_and_says_why(
    data: bytes, rows: list[tuple[str, ...]], reason: Aside
) -> None:
    found, tally = read(data)
    assert found == rows
    assert dict(tally.aside) == {("t", str(reason)): 1}


def test_a_byte_order_mark_and_windows_line_ends_are_no_content() -> None:
    found, _ = read(b"\xef\xbb\xbfa,b\r\n1,2\r\n")
    assert found == [("1", "2")]


def test_nul_bytes_are_removed_and_counted() -> None:
    found, tally = read(b"a,b\n1\0,\0\0x\n")
    assert found == [("1", "x")]
    assert tally.nul_bytes["t"] == 3


def test_compressed_content_is_read_and_a_torn_one_is_damaged() -> None:
    data = gzip.compress(b"a,b\n" + b"1,2\n" * 1000)
    assert len(read(data, compressed=True)[0]) == 1000
    with pytest.raises(DamagedError):
        read(data[:-20], compressed=True)
    with pytest.raises(DamagedError):
        read(b"not gzip at all", compressed=True)
