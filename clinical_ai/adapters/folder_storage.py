"""The object store of a machine without S3: buckets are folders of one folder."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from errno import ELOOP, ENOENT, ENOTDIR
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO

from clinical_ai.adapters.bucket_names import need_bucket_name
from clinical_ai.adapters.owned_tree import UNFINISHED, OwnedTree, explain, plain
from clinical_ai.change import Change, Did
from clinical_ai.errors import NeedsOperator, nearest
from clinical_ai.ports import StoredObject


class FolderStore:
    """An ObjectStore in `root`, which has to exist; what root writes belongs to its owner.

    An object's name comes from a source and may tell who a patient is: no error repeats it. Unlike
    in S3, a bucket cannot hold `a` and `a/b` at once.
    """

    def __init__(self, root: Path) -> None:
        self._tree = OwnedTree(root)

    def buckets(self) -> list[str]:
        """Names of all buckets, sorted; hidden folders and links are none."""
        with self._explained("storage"), self._tree.opened() as at, os.scandir(at) as entries:
            return sorted(
                entry.name
                for entry in entries
                if entry.is_dir(follow_symlinks=False) and not entry.name.startswith(".")
            )

    def ensure_bucket(self, bucket: str) -> Change:
        """The bucket exists, without what writers left in it that were killed an hour ago."""
        if bucket in self.buckets():
            with self._explained(_place(bucket)):
                self._tree.sweep([bucket], seconds=3600)
            return Change(_place(bucket), Did.UNCHANGED)
        need_bucket_name(bucket)
        with self._explained(_place(bucket)), self._tree.opened([bucket], existing=0):
            return Change(_place(bucket), Did.CREATED)

    def list(self, bucket: str, prefix: str = "") -> Iterator[StoredObject]:
        """Objects whose names start with `prefix`, in the order of S3: by their bytes."""
        self._need(bucket)
        with self._explained(_place(bucket)):
            found = _walk(self._tree, bucket, prefix)
            return iter(sorted(found, key=lambda seen: os.fsencode(seen.name)))

    def open(self, bucket: str, name: str) -> BinaryIO:
        """The object's bytes as a stream; the caller closes it."""
        self._need(bucket)
        with self._explained(_place(bucket)):
            try:
                return self._tree.read([bucket, *_parts(bucket, name)])
            except FileNotFoundError:
                raise NeedsOperator(
                    f"{_place(bucket)} has no object of that name",
                    "list the bucket; it may have been removed meanwhile",
                ) from None

    def put(self, bucket: str, name: str, data: bytes) -> None:
        """Write the whole object, or nothing of it."""
        self._need(bucket)
        with self._explained(_place(bucket)):
            self._tree.write([bucket, *_parts(bucket, name)], data, existing=1)

    def delete(self, bucket: str, name: str) -> None:
        """The object is gone; it may never have been there."""
        self._need(bucket)
        with self._explained(_place(bucket)), suppress(FileNotFoundError):
            self._tree.remove([bucket, *_parts(bucket, name)], existing=1)

    def _need(self, bucket: str) -> None:
        if bucket not in (known := self.buckets()):
            raise NeedsOperator(f"there is no bucket {bucket!r:.80}", nearest(bucket, known))

    @contextmanager
    def _explained(self, what: str) -> Iterator[None]:
        try:
            yield
        except OSError as met:  # its text and its chain hold the object's name
            raise explain(met, f"{what} in {self._tree.root}") from None


def _place(bucket: str) -> str:
    return f"bucket {bucket}"


def _parts(bucket: str, name: str) -> list[str]:
    parts = name.split("/")
    if not all(map(plain, parts)):
        raise NeedsOperator(
            f"{_place(bucket)}: an object's name is not a path below the bucket",
            "use names without a leading slash, without empty parts, '.', '..' and NUL",
        )
    return parts


def _walk(tree: OwnedTree, bucket: str, prefix: str) -> list[StoredObject]:
    """All objects of that prefix; only the folder that the prefix names is read."""
    folders = prefix.split("/")[:-1]
    if not all(map(plain, folders)):
        return []  # no object has such a name
    start = "".join(f"{folder}/" for folder in folders)
    try:
        with tree.opened([bucket, *folders]) as at:
            return [seen for seen in _files(at, start) if seen.name.startswith(prefix)]
    except OSError as met:
        if met.errno in {ENOENT, ENOTDIR, ELOOP}:  # a link, too, holds no objects
            return []
        raise


def _files(at: int, start: str) -> Iterator[StoredObject]:
    for folder, _, files, inside in os.fwalk(dir_fd=at, onerror=_unless_gone):
        below = start if folder == "." else f"{start}{folder.removeprefix('./')}/"
        for file in files:
            if file.startswith(UNFINISHED):
                continue
            with suppress(FileNotFoundError):  # removed since the folder was read
                seen = os.stat(file, dir_fd=inside, follow_symlinks=False)
                if stat.S_ISREG(seen.st_mode):
                    yield _object(below + file, seen)


def _unless_gone(met: OSError) -> None:
    """A folder that cannot be read is a fault; os.fwalk alone would pass it by."""
    if not isinstance(met, FileNotFoundError):
        raise met


def _object(name: str, seen: os.stat_result) -> StoredObject:
    """The etag is made of what a write changes: reading each object to list it costs too much.

    The time of change (ctime) cannot be set back, and a put makes a new inode: content of the same
    size and time of modification is told apart too. Equal content put again has a new etag.
    """
    trace = (seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns, seen.st_ino)
    return StoredObject(
        name,
        seen.st_size,
        datetime.fromtimestamp(seen.st_mtime, UTC),
        sha256(repr(trace).encode()).hexdigest()[:32],
    )
