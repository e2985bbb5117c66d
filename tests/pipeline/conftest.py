"""Fixtures of the connector pipeline."""

from tests.support.connector import bench
from tests.support.fhir_server import fhir_server

__all__ = ["bench", "fhir_server"]
