"""Names that every object store accepts for a bucket."""

import re
from typing import Final

from clinical_ai.errors import NeedsOperator

_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
BUCKET_RULE: Final = "use 3 to 63 lower-case letters, digits, dots and dashes"


def need_bucket_name(bucket: str) -> None:
    """NeedsOperator unless S3, too, would make a bucket of this name."""
    if not _BUCKET.fullmatch(bucket) or ".." in bucket:
        raise NeedsOperator(f"a bucket cannot be named {bucket!r:.80}", BUCKET_RULE)
