"""How the storage is reached: prefect-aws objects made in memory from settings, never saved."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import SecretStr

from clinical_ai.errors import NeedsOperator
from clinical_ai.ports import SecretStore
from clinical_ai.settings import Development, Production

_FIRST_REGION = "us-east-1"


@dataclass(frozen=True)
class Access:
    """Address and keys; without an endpoint, AWS. `proxies` by scheme, `no_proxy` as curl's."""

    access_key: SecretStr
    secret_key: SecretStr
    region: str = _FIRST_REGION
    endpoint: str | None = None
    proxies: tuple[tuple[str, str], ...] = ()
    no_proxy: str = ""
    ca_bundle: str | None = None

    @property
    def place(self) -> str:
        """The address, for error texts."""
        return self.endpoint or f"AWS S3 ({self.region})"


def access_of(settings: Development | Production, secrets: SecretStore) -> Access:
    """The storage of these settings, with the keys behind their references."""
    proxies = {"http": settings.http_proxy, "https": settings.https_proxy}
    match settings:
        case Development():
            keys = settings.minio_access_key, settings.minio_secret_key
            endpoint, region = settings.minio_endpoint, _FIRST_REGION
        case Production():
            keys = settings.aws_access_key_id, settings.aws_secret_access_key
            endpoint, region = None, settings.aws_region
    return Access(
        secrets.get(keys[0]),
        secrets.get(keys[1]),
        region=region,
        endpoint=endpoint,
        proxies=tuple((scheme, proxy) for scheme, proxy in proxies.items() if proxy),
        no_proxy=settings.no_proxy or "",
        ca_bundle=settings.ca_bundle,
    )


def connect(access: Access) -> Any:
    """A boto3 S3 client; no request is made yet."""
    from prefect_aws import AwsCredentials, MinIOCredentials
    from prefect_aws.client_parameters import AwsClientParameters

    if access.ca_bundle and not Path(access.ca_bundle).is_file():
        raise NeedsOperator(f"ca-bundle {access.ca_bundle} is not a file", "correct ca-bundle")
    parameters = AwsClientParameters(
        endpoint_url=access.endpoint,
        verify_cert_path=Path(access.ca_bundle) if access.ca_bundle else None,
        config=_config(access),
    )
    if access.endpoint:
        return MinIOCredentials(
            minio_root_user=access.access_key.get_secret_value(),
            minio_root_password=access.secret_key,
            region_name=access.region,
            aws_client_parameters=parameters,
        ).get_s3_client()
    return AwsCredentials(
        aws_access_key_id=access.access_key.get_secret_value(),
        aws_secret_access_key=access.secret_key,
        region_name=access.region,
        aws_client_parameters=parameters,
    ).get_s3_client()


def _config(access: Access) -> dict[str, Any]:
    """Proxies are always given, also when there are none: the caller's own stay out of it."""
    config: dict[str, Any] = {
        "connect_timeout": 5,
        "read_timeout": 60,
        "retries": {"mode": "standard", "total_max_attempts": 2},
        "proxies": _proxies(access),
        "ignore_configured_endpoint_urls": True,
    }
    if access.endpoint:  # other stores than AWS know neither hosts by bucket nor new checksums
        config["s3"] = {"addressing_style": "path"}
        config["request_checksum_calculation"] = "when_required"
        config["response_checksum_validation"] = "when_required"
    return config


def _proxies(access: Access) -> dict[str, str]:
    host = urlsplit(access.endpoint or f"https://s3.{access.region}.amazonaws.com").hostname or ""
    return {} if _reached_directly(host, access.no_proxy) else dict(access.proxies)


def _reached_directly(host: str, no_proxy: str) -> bool:
    """Whether `no_proxy`, a list as curl reads it, names this host or a domain above it."""
    listed = [entry.strip().lower().lstrip("*").lstrip(".") for entry in no_proxy.split(",")]
    if "*" in no_proxy.replace(" ", "").split(","):
        return True
    return any(entry and (host == entry or host.endswith(f".{entry}")) for entry in listed)
