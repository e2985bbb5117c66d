"""The settings of one platform as a Prefect Block: the form an operator sees in the UI.

Every field is optional here, so that a stored document still loads when a release adds one; what a
combination means, and whether it is allowed, is decided by `clinical_ai.settings` alone.
"""

from typing import Any, Literal

from prefect.blocks.core import Block
from pydantic import Field

from clinical_ai import names
from clinical_ai.settings import Development, Production, parse


class ClinicalAiSettings(Block):
    """Settings of the platform; `deploy/self` applies an edit."""

    _block_type_name = "Clinical AI Settings"
    _block_type_slug = names.SETTINGS_BLOCK_TYPE
    _description = "Settings of the clinical-ai-prefect platform. Run deploy/self after an edit."

    storage_environment: Literal["development", "production"] = Field(
        default="development", description="production: AWS S3; development: MinIO or a folder."
    )
    prefect_api_url: str | None = Field(default=None, description="Ends in /api.")
    auth: Literal["basic", "none"] | None = Field(
        default=None, description="Password on the API; none only in development."
    )
    aws_region: str | None = Field(default=None, description="Production only.")
    aws_access_key_id: str | None = Field(
        default=None, description="Production only: a reference, such as secret:NAME/KEY."
    )
    aws_secret_access_key: str | None = Field(
        default=None, description="Production only: a reference, never the key itself."
    )
    minio_endpoint: str | None = Field(
        default=None, description="Development only; empty: a folder of the state folder."
    )
    minio_access_key: str | None = Field(
        default=None, description="Development only: a reference, such as secret:NAME/KEY."
    )
    minio_secret_key: str | None = Field(
        default=None, description="Development only: a reference, never the key itself."
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] | None = None
    worker_concurrency: int | None = Field(
        default=None, description="Runs at once in the pool default."
    )
    platform_concurrency: int | None = Field(
        default=None, description="Runs at once in the pool platform."
    )
    worker_query_seconds: int | None = Field(
        default=None, description="How often workers ask for runs."
    )
    drain_seconds: int | None = Field(
        default=None, description="How long a restart waits for running work."
    )
    http_proxy: str | None = Field(default=None, description="Without credentials.")
    https_proxy: str | None = Field(default=None, description="Without credentials.")
    no_proxy: str | None = Field(default=None, description="Hosts, separated by commas.")
    ca_bundle: str | None = Field(default=None, description="Path of a PEM file.")
    connections: dict[str, Any] | None = Field(
        default=None,
        description="Name to addresses, credentials (a reference) and ca-bundle.",
    )
    sources_columns: dict[str, str] | None = Field(
        default=None, description="Our column names to yours, for an existing table."
    )
    destinations_columns: dict[str, str] | None = Field(
        default=None, description="Our column names to yours, for an existing table."
    )
    kubernetes: dict[str, Any] | None = Field(
        default=None, description="Of a cluster; empty on one machine. References, no secret."
    )

    def to_settings(self) -> Development | Production:
        """The settings this block stands for; ManyFaults when it stands for none."""
        given = self.model_dump(include=set(type(self).model_fields), exclude_none=True)
        return parse(given, origin=f"block {names.SETTINGS_BLOCK_TYPE}/{names.SETTINGS_BLOCK}")
