"""run_connector_pipeline: what is new in one source, into one destination."""

from typing import Any

from prefect import flow
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.events import emit_event

from clinical_ai import names
from clinical_ai.steps import catalog, pipeline, run_report
from clinical_ai.steps.tally import Tally
from clinical_ai.wiring_cluster import open_here
from clinical_ai.wiring_connector import Parts, open_loader, open_source
from flows.tasks import acting


@acting
def get_row(platform: Parts, what: str, name: str) -> catalog.Row:
    """The row of that name, fit to be used."""
    return catalog.get_row(platform.database, platform.settings, what, name)


@acting
def move(platform: Parts, source: catalog.Row, destination: catalog.Row) -> pipeline.Outcome:
    """Load what is new."""
    tally, pair = Tally(), (source.name, destination.name)
    records = open_source(platform, source, tally)
    return pipeline.move(pair, records, tally, open_loader(platform, destination, pair))


@acting
def publish(outcome: pipeline.Outcome) -> None:
    """Leave the run's metadata and data quality as artifacts, and an event."""
    key = run_report.artifact_key(outcome.source, outcome.destination)
    create_markdown_artifact(run_report.metadata(outcome), key=key, description="What the run did")
    create_table_artifact(
        run_report.quality(outcome), key=f"{key}-quality", description="Data quality"
    )
    emit_event(
        f"{names.EVENT_PREFIX}.pipeline.finished",
        resource={"prefect.resource.id": f"{names.EVENT_PREFIX}.pipeline.{key}"},
        payload=outcome.summary(),
    )


@flow
def run_connector_pipeline(source: str, destination: str) -> dict[str, Any]:
    """Load what is new in a source into a destination; safe to run again.

    Both are names of rows, in cai_defined_sources and cai_defined_destinations.
    """
    platform = open_here()
    reading = get_row(platform, "source", source)
    writing = get_row(platform, "destination", destination)
    with pipeline.only_run(platform.database, source, destination):
        outcome = move(platform, reading, writing)
    publish(outcome)
    return outcome.summary()
