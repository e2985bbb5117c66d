"""From a FHIR server to PostgreSQL, what changed since the last run and no more."""

import json
from pathlib import Path

import pytest
from pydantic import SecretStr

from clinical_ai.errors import NeedsOperator
from clinical_ai.settings import parse
from tests.support.connector import Bench
from tests.support.fhir_server import FhirTestServer

DEMONSTRATION = Path(__file__).parents[2] / "demonstration" / "fhir-r4"
TYPES = ["Patient", "Observation", "Encounter"]


def _changed(text: str, at: str) -> str:
    resource = json.loads(text)
    return json.dumps(resource | {"meta": {**resource.get("meta", {}), "lastUpdated": at}})


@pytest.fixture
def hospital(bench: Bench, fhir_server: FhirTestServer) -> FhirTestServer:
    """A server with the demonstration's data, and a row that reads it."""
    for kind in TYPES:
        texts = (DEMONSTRATION / f"{kind}.ndjson").read_text().splitlines()
        fhir_server.resources += [_changed(text, "2024-01-01T00:00:00Z") for text in texts]
    wiring = {"addresses": [fhir_server.base], "credentials": "secret:ehr/token"}
    bench.settings = parse({"connections": {"ehr": wiring}})
    bench.secrets.put("secret:ehr/token", SecretStr("token"))
    options = {"resource-types": TYPES, "page-size": 20}
    bench.source("ehr", "fhir-search", location=fhir_server.base, connection="ehr", options=options)
    return fhir_server


def test_all_is_loaded_once_and_then_what_changed(bench: Bench, hospital: FhirTestServer) -> None:
    first = bench.run("ehr")
    assert first.summary()["rows_loaded"] == len(hospital.resources)
    assert set(hospital.authorizations) == {"Bearer token"}
    assert bench.run("ehr").summary()["rows_read"] == 0

    hospital.resources[0] = _changed(hospital.resources[0], "2024-01-02T00:00:00+01:00")
    again = bench.run("ehr")
    assert (again.summary()["rows_read"], again.summary()["rows_loaded"]) == (1, 1)
    assert (
        len(bench.rows("patient"))
        == len((DEMONSTRATION / "Patient.ndjson").read_text().split("\n")) - 1
    )


def test_a_server_that_breaks_in_the_middle_leaves_nothing_half(
    bench: Bench, hospital: FhirTestServer
) -> None:
    hospital.next_base = "http://evil.example/fhir"
    with pytest.raises(NeedsOperator, match="links to another address"):
        bench.run("ehr")
    assert bench.schemas() == {"public"}
    hospital.next_base = None
    assert bench.run("ehr").summary()["rows_loaded"] == len(hospital.resources)


@pytest.mark.parametrize("connection", ["eher", "other"])
def test_a_row_reaches_only_what_its_connection_allows(
    bench: Bench, hospital: FhirTestServer, connection: str
) -> None:
    allowed = {"addresses": ["https://fhir.example/r4"]}
    ehr = {"addresses": [hospital.base]}
    bench.settings = parse({"connections": {"ehr": ehr, "other": allowed}})
    bench.database.execute("update cai_defined_sources set connection = %s", [connection])
    with pytest.raises(NeedsOperator) as refused:
        bench.run("ehr")
    wanted = "did you mean 'ehr'" if connection == "eher" else "not among the addresses"
    assert wanted in str(refused.value)
    assert hospital.asked == []
