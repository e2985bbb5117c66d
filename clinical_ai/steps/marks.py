"""How far a source was read: kept beside the rows, committed with them, never ahead of them."""

from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Final

from clinical_ai.ports_clinical import POSITION, Kind, Page
from clinical_ai.steps.tally import Tally

# The loader reads them back by these names (`Loader.known`).
TABLE: Final = "_cai_marks"
KEY: Final = ("source", "part")


def digest(*texts: str) -> str:
    """A key that tells nothing of what it was made of, such as an object's name."""
    return sha256("\0".join(texts).encode(errors="surrogateescape")).hexdigest()[:32]


def page(source: str, marks: Mapping[str, str], tally: Tally) -> Page:
    """The marks as rows of a table of their own."""
    import pyarrow as pa

    parts = sorted(marks)
    places = range(tally.position, tally.position + len(parts))
    tally.position += len(parts)
    columns: dict[str, Any] = {
        "source": [source] * len(parts),
        "part": parts,
        "mark": [marks[part] for part in parts],
    }
    rows = pa.table({name: pa.array(cells, pa.large_string()) for name, cells in columns.items()})
    rows = rows.append_column(POSITION, pa.array(places, pa.int64()))
    kinds = dict.fromkeys(columns, Kind.TEXT) | {POSITION: Kind.BIGINT}
    return Page(TABLE, KEY, kinds, rows, rows.nbytes)
