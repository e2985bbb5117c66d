"""Write the demonstration data again from the two packages it came from.

    python demonstration/make.py --fhir DIR --trial FILE

DIR is the unpacked npm package hl7.fhir.r4.examples 4.0.1; FILE is ACTG175.csv from the lifelines
0.30.3 wheel. The same input gives the same bytes: ORIGIN.md holds their SHA-256.
"""

import argparse
import json
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent

# Describe the standard, or test it, rather than care. Library is program text (1.6 MB of it), and
# a Bundle repeats resources that are here already.
NOT_CLINICAL = frozenset(
    {
        "Bundle",
        "CapabilityStatement",
        "CodeSystem",
        "CompartmentDefinition",
        "ConceptMap",
        "ExampleScenario",
        "GraphDefinition",
        "ImplementationGuide",
        "Library",
        "MessageDefinition",
        "NamingSystem",
        "OperationDefinition",
        "SearchParameter",
        "StructureDefinition",
        "StructureMap",
        "TerminologyCapabilities",
        "TestReport",
        "TestScript",
        "ValueSet",
    }
)
LONGEST_LINE = 100_000  # bytes; only inline images, a PDF and one very long list are longer

AS_WRITTEN = "\0"  # marks a decimal between reading and writing; no resource contains it


def main() -> None:
    """Write every file, and name each with its number of records."""
    arguments = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    arguments.add_argument("--fhir", type=Path, required=True, metavar="DIR")
    arguments.add_argument("--trial", type=Path, required=True, metavar="FILE")
    given = arguments.parse_args()
    for resource_type, lines in sorted(fhir_lines(given.fhir).items()):
        write(HERE / "fhir-r4" / f"{resource_type}.ndjson", b"".join(lines), len(lines))
    table = trial_table(given.trial)
    write(HERE / "trial" / "actg175.csv", table, table.count(b"\n") - 1)


def fhir_lines(package: Path) -> dict[str, list[bytes]]:
    """Give the NDJSON lines of each clinical resource type, in the order of `id`."""
    resources = (read_resource(path) for path in package.glob("*.json"))
    clinical = (found for found in resources if is_clinical(found))
    lines: dict[str, list[bytes]] = defaultdict(list)
    for resource in sorted(clinical, key=lambda found: str(found["id"])):
        line = as_line(resource)
        if len(line) <= LONGEST_LINE:
            lines[resource["resourceType"]].append(line)
    return lines


def is_clinical(resource: dict[str, Any]) -> bool:
    """Say whether this is a resource (a package manifest is none) about care."""
    return "resourceType" in resource and resource["resourceType"] not in NOT_CLINICAL


def read_resource(path: Path) -> dict[str, Any]:
    """Read one JSON file; decimals keep their digits, as FHIR counts 1.10 and 1.1 as different."""
    content: dict[str, Any] = json.loads(
        path.read_text("utf-8-sig"), parse_float=lambda digits: AS_WRITTEN + digits
    )
    return content


def as_line(resource: dict[str, Any]) -> bytes:
    """Write one resource as one line, without the narrative that repeats it as XHTML."""
    kept = {name: value for name, value in resource.items() if name != "text"}
    line = json.dumps(kept, ensure_ascii=False, separators=(",", ":"))
    return re.sub(r'"\\u0000([^"]+)"', r"\1", line).encode() + b"\n"


def trial_table(source: Path) -> bytes:
    """Give the table as it is, with a name for its first column, which had none."""
    unnamed, header_and_rows = source.read_bytes().split(b",", 1)
    if unnamed != b'""':
        raise SystemExit(f"{source.name}: the first column already has the name {unnamed.decode()}")
    return b'"enrolment_id",' + header_and_rows


def write(path: Path, content: bytes, records: int) -> None:
    """Write one file and say so in one line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    print(f"{path.relative_to(HERE)}: {records} records, {len(content)} bytes")


if __name__ == "__main__":
    main()
