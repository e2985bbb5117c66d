"""Lines of an object's bytes, in bounded memory whatever the object holds."""

import gzip
import io
import zlib
from collections.abc import Iterator
from typing import BinaryIO, Final, cast

_BOM: Final = b"\xef\xbb\xbf"
_BUFFER: Final = 1 << 20


class DamagedError(Exception):
    """The object ends, or breaks, in the middle of its compressed content."""


def lines(stream: BinaryIO, limit: int, *, compressed: bool = False) -> Iterator[bytes | None]:
    """Each line without its end; None for one of more than `limit` bytes, which is passed over.

    Raises DamagedError when compressed content breaks.
    """
    source = io.BufferedReader(cast(io.RawIOBase, stream), _BUFFER)
    reader = cast(BinaryIO, gzip.GzipFile(fileobj=source)) if compressed else source
    try:
        first = True
        while line := reader.readline(limit + 1):
            if len(line) > limit and not line.endswith(b"\n"):
                _pass_over(reader)
                yield None
            else:
                line = line.removeprefix(_BOM) if first else line
                yield line.removesuffix(b"\n").removesuffix(b"\r")
            first = False
    except (EOFError, gzip.BadGzipFile, zlib.error):
        raise DamagedError from None


def _pass_over(reader: BinaryIO) -> None:
    """Read on to the end of the line."""
    while (rest := reader.readline(_BUFFER)) and not rest.endswith(b"\n"):
        pass
