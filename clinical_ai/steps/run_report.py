"""A connector run as tables for people and auditors: counts, names of tables, nothing of a cell."""

import re
from typing import Any

from clinical_ai.steps.pipeline import Outcome


def artifact_key(source: str, destination: str) -> str:
    """One series of artifacts for each pair; Prefect allows lower-case letters, digits, dashes."""
    return re.sub(r"[^a-z0-9]+", "-", f"{source}-to-{destination}".lower()).strip("-")


def metadata(outcome: Outcome) -> str:
    """The run in Markdown."""
    facts = {
        "source": outcome.source,
        "destination": outcome.destination,
        "seconds": f"{outcome.seconds:g}",
        "bytes read": f"{outcome.bytes_read:,}",
        "loads": ", ".join(outcome.load_ids) or "none: nothing was new",
        "schema changes": "; ".join(outcome.schema_changes) or "none",
        **{what: f"{count:,}" for what, count in outcome.parts.items()},
    }
    listed = [f"| {what} | {fact} |" for what, fact in facts.items()]
    tables = [
        f"| {each.table} | {each.read:,} | {each.loaded:,} | {each.duplicates:,}"
        f" | {sum(each.set_aside.values()):,} | {_reasons(each.set_aside)}"
        f" | {each.nul_bytes:,} |"
        for each in outcome.tables
    ]
    return "\n".join(
        [
            f"{_headline(outcome)}",
            "",
            "| run | |",
            "|---|---|",
            *listed,
            "",
            "| table | read | loaded | duplicates | set aside | why | NUL removed |",
            "|---|---|---|---|---|---|---|",
            *tables,
        ]
    )


def quality(outcome: Outcome) -> list[dict[str, Any]]:
    """A row for each column that came, and one for each reason why rows were set aside."""
    rows: list[dict[str, Any]] = [
        {
            "table": each.table,
            "column": each.column,
            "type": each.kind,
            "rows": each.rows,
            "nulls %": round(100 * each.nulls / each.rows, 1) if each.rows else 0.0,
            "finding": "",
        }
        for each in outcome.columns
    ]
    for table in outcome.tables:
        findings = dict(table.set_aside)
        findings |= {"duplicate key: the last one won": table.duplicates}
        findings |= {"NUL bytes removed": table.nul_bytes}
        rows += [
            {
                "table": table.table,
                "column": "",
                "type": "",
                "rows": count,
                "nulls %": "",
                "finding": finding,
            }
            for finding, count in findings.items()
            if count
        ]
    return rows


def _headline(outcome: Outcome) -> str:
    told = outcome.summary()
    line = f"{told['rows_loaded']:,} of {told['rows_read']:,} rows loaded"
    return f"{line}, **{outcome.set_aside:,} set aside**" if outcome.set_aside else line


def _reasons(set_aside: dict[str, int]) -> str:
    return "; ".join(f"{reason}: {rows:,}" for reason, rows in set_aside.items())
