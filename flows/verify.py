"""verify/platform: every check of the guide, as a table with evidence."""

from typing import Any

from prefect import flow
from prefect.artifacts import create_table_artifact
from prefect.client.schemas.objects import State
from prefect.events import emit_event
from prefect.states import Completed, Failed

from clinical_ai import names
from clinical_ai.steps.verify import Result, as_rows, sentence
from clinical_ai.wiring_cluster import AnyPlatform, open_here
from flows.tasks import acting


@flow(name="verify")
def verify() -> State[Any]:
    """Check everything that the guide looks at; fail when one check does."""
    results = check(open_here())
    publish(results)
    passed = all(result.passed for result in results)
    message = sentence(results)
    return Completed(message=message) if passed else Failed(message=message)


@acting
def check(platform: AnyPlatform) -> list[Result]:
    """Every check, with its evidence."""
    return platform.verify()


@acting
def publish(results: list[Result]) -> None:
    """Leave the table as an artifact, and an event."""
    create_table_artifact(key="verify", table=as_rows(results), description=sentence(results))
    passed = all(result.passed for result in results)
    emit_event(
        f"{names.EVENT_PREFIX}.verify.{'passed' if passed else 'failed'}",
        resource={"prefect.resource.id": f"{names.EVENT_PREFIX}.platform"},
        payload={"failed": [result.check for result in results if not result.passed]},
    )
