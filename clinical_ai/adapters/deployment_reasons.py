"""What an error of somebody else's is told as: without values, which may be secrets."""

from clinical_ai.secret_forms import without_secrets


def first_line(error: BaseException) -> str:
    """Type and first line of an error, shortened and without what looks like a secret."""
    told = without_secrets(str(error).strip().partition("\n")[0])
    return f"{type(error).__name__}: {told:.200}"


def reasons(error: BaseException, key: str) -> str:
    """Reasons without values: an exception's own text may repeat one."""
    from pydantic import ValidationError

    cause = error if isinstance(error, ValidationError) else error.__cause__
    if isinstance(cause, ValidationError):
        told = cause.errors(include_input=False, include_url=False)
        return "; ".join(
            f"{'.'.join(map(str, one['loc'])) or key}: {one['msg'].removeprefix('Value error, ')}"
            for one in told
        )
    if "Unknown schedule type" in str(error):
        return "it has no cron, interval or rrule"
    return first_line(error)
