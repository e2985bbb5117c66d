"""What S3 refuses, told without key material and without an object's name.

The texts of botocore repeat names and parameters; only the error's code is used.
"""

from typing import TYPE_CHECKING, Final

from clinical_ai.adapters.bucket_names import BUCKET_RULE
from clinical_ai.errors import NeedsOperator, PlatformError, Transient

if TYPE_CHECKING:
    from botocore.exceptions import BotoCoreError, ClientError

_TRANSIENT: Final = frozenset(
    {"SlowDown", "RequestTimeout", "InternalError", "ServiceUnavailable", "OperationAborted"}
    | {"Throttling", "ThrottlingException", "TooManyRequests"}
)
_KEYS: Final = "correct the access key and the secret key behind the settings' references"
_CLOCK: Final = "correct the clock of this machine"
_REMEDIES: Final = {
    "InvalidAccessKeyId": "the access key is unknown or was revoked: give the current one",
    "SignatureDoesNotMatch": "the secret key does not belong to the access key: give the pair anew",
    "InvalidToken": _KEYS,
    "ExpiredToken": _KEYS,
    "AccessDenied": "let the key's policy allow s3:ListBucket, s3:GetObject, s3:PutObject"
    " and s3:DeleteObject on this bucket, and s3:ListAllMyBuckets",
    "403": "let the key's policy allow s3:ListBucket on this bucket",
    "NoSuchBucket": "make the bucket, or correct its name",
    "404": "make the bucket, or correct its name",
    "NoSuchKey": "list the bucket; the object may have been removed meanwhile",
    "InvalidBucketName": BUCKET_RULE,
    "BucketAlreadyExists": "somebody else has a bucket of that name: choose another one",
    "IllegalLocationConstraintException": "correct aws-region",
    "AuthorizationHeaderMalformed": "correct aws-region",
    "PermanentRedirect": "correct aws-region, the bucket is in another one",
    "301": "correct aws-region, the bucket is in another one",
    "RequestTimeTooSkewed": _CLOCK,
    "RequestExpired": _CLOCK,
    "QuotaExceeded": "free some space in the storage, or raise its quota",
    "XMinioStorageFull": "free some space in the storage",
}


def refused(met: "ClientError", what: str) -> PlatformError:
    """The error that the storage answered; `what` was asked of it, without an object's name."""
    code = str(met.response.get("Error", {}).get("Code", "")) or "unknown"
    status = met.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    text = f"{what}: {code}" if code.isalnum() and not code.isdigit() else f"{what}: HTTP {status}"
    if code in _TRANSIENT or status >= 500 or status == 429:
        return Transient(text)
    return NeedsOperator(text, _REMEDIES.get(code, "look the code up in the storage's manual"))


def failed(met: "BotoCoreError", what: str) -> PlatformError:
    """The error of a request that got no answer, or was never sent."""
    from botocore import exceptions as of

    match met:
        case of.SSLError():
            return NeedsOperator(
                f"{what}: the certificate of the storage is not trusted",
                "name the authority that signed it in ca-bundle",
            )
        case of.ParamValidationError():
            return NeedsOperator(
                f"{what}: the name of the bucket or the object is not valid for S3",
                BUCKET_RULE,
            )
        case of.NoCredentialsError() | of.PartialCredentialsError():
            return NeedsOperator(f"{what}: the keys are missing", _KEYS)
        case of.ProfileNotFound():
            return NeedsOperator(f"{what}: AWS_PROFILE names no profile", "unset AWS_PROFILE")
        case of.ProxyConnectionError():
            return Transient(f"{what}: the proxy cannot be reached")
        case of.ConnectionError() | of.HTTPClientError() | of.IncompleteReadError():
            return Transient(f"{what}: no whole answer ({type(met).__name__})")
        case _:
            return NeedsOperator(
                f"{what}: the request could not be made ({type(met).__name__})",
                "check endpoint, region and bucket in the settings",
            )
