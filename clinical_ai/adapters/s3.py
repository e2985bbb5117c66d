"""The object store that speaks S3: AWS, MinIO and others."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any, BinaryIO, Final

from clinical_ai.adapters.bucket_names import need_bucket_name
from clinical_ai.adapters.s3_access import Access, access_of, connect
from clinical_ai.adapters.s3_errors import failed, refused
from clinical_ai.change import Change, Did
from clinical_ai.errors import NeedsOperator
from clinical_ai.ports import ObjectStore, SecretStore, StoredObject
from clinical_ai.settings import Development, Production

_CHUNK: Final = 1 << 20


def open_s3(settings: Development | Production, secrets: SecretStore) -> ObjectStore:
    """The storage that the settings name, with the keys behind their references."""
    return S3Store(access_of(settings, secrets))


class S3Store:
    """An ObjectStore over S3; connects when it is first asked."""

    def __init__(self, access: Access) -> None:
        self._access = access

    @cached_property
    def _client(self) -> Any:
        with self._explained("storage"):
            return connect(self._access)

    def buckets(self) -> list[str]:
        """Names of all buckets that the key may list, sorted."""
        with self._explained("storage"):
            return sorted(one["Name"] for one in self._client.list_buckets()["Buckets"])

    def ensure_bucket(self, bucket: str) -> Change:
        """The bucket exists."""
        from botocore.exceptions import ClientError

        with self._explained(f"bucket {bucket!r:.80}"):
            try:
                self._client.head_bucket(Bucket=bucket)
            except ClientError as met:
                if met.response["Error"]["Code"] not in {"404", "NoSuchBucket"}:
                    raise
            else:
                return Change(f"bucket {bucket}", Did.UNCHANGED)
            need_bucket_name(bucket)
            self._client.create_bucket(Bucket=bucket, **_in_region(self._access.region))
            return Change(f"bucket {bucket}", Did.CREATED)

    def list(self, bucket: str, prefix: str = "") -> Iterator[StoredObject]:
        """Objects whose names start with `prefix`, by name, read page by page."""
        with self._explained(f"bucket {bucket!r:.80}"):
            pages = self._client.get_paginator("list_objects_v2")
            for page in pages.paginate(Bucket=bucket, Prefix=prefix):
                for one in page.get("Contents", ()):
                    yield StoredObject(
                        one["Key"], one["Size"], one["LastModified"], one["ETag"].strip('"')
                    )

    def open(self, bucket: str, name: str) -> BinaryIO:
        """The object's bytes as a stream that reads on as it is read; the caller closes it."""
        with self._explained(f"bucket {bucket!r:.80}"):
            body = self._client.get_object(Bucket=bucket, Key=_named(name))["Body"]
        return io.BufferedReader(_Body(body, bucket), _CHUNK)

    def put(self, bucket: str, name: str, data: bytes) -> None:
        """Write the whole object, or nothing of it."""
        with self._explained(f"bucket {bucket!r:.80}"):
            self._client.put_object(Bucket=bucket, Key=_named(name), Body=data)

    def delete(self, bucket: str, name: str) -> None:
        """The object is gone; it may never have been there."""
        with self._explained(f"bucket {bucket!r:.80}"):
            self._client.delete_object(Bucket=bucket, Key=_named(name))

    @contextmanager
    def _explained(self, what: str) -> Iterator[None]:
        with explained(f"{what} at {self._access.place}"):
            yield


class _Body(io.RawIOBase):
    """An answer's body as a raw stream, so that a buffer in front of it can give lines."""

    def __init__(self, body: Any, bucket: str) -> None:
        self._body = body
        self._what = f"reading from bucket {bucket!r:.80}"

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer; a body that ends too early is Transient, never a shorter object."""
        with explained(self._what):
            data: bytes = self._body.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        """Give the connection back."""
        self._body.close()
        super().close()


@contextmanager
def explained(what: str) -> Iterator[None]:
    """Foreign errors end here, unchained: their texts hold names of objects."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as met:
        raise refused(met, what) from None
    except BotoCoreError as met:
        raise failed(met, what) from None


def _named(name: str) -> str:
    if not name:
        raise NeedsOperator("an object needs a name", "give one that is not empty")
    return name


def _in_region(region: str) -> dict[str, Any]:
    """S3 refuses its first region as a place to be named."""
    if region == "us-east-1":
        return {}
    return {"CreateBucketConfiguration": {"LocationConstraint": region}}
