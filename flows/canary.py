"""A run that proves the way from scheduler over pool and worker to a result."""

from prefect import flow
from prefect.artifacts import create_markdown_artifact

from clinical_ai.steps.canary import ARTIFACT_KEY


@flow(name="canary")
def canary(token: str = "") -> str:
    """Give back the token, in an artifact that whoever asked can read."""
    create_markdown_artifact(key=ARTIFACT_KEY, markdown=token, description="Token of this run.")
    return token
