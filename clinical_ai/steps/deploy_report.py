"""What a run of deploy/self tells: pure, from the changes it made."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from clinical_ai.change import Change, Did
from clinical_ai.steps.verify import Result, not_shown, starts_no_run
from clinical_ai.steps.verify import sentence as verify_sentence


def proved(
    changes: Sequence[Change], proof: Sequence[Result], told: str, *, report_only: bool
) -> str:
    """The final message of a run whose checks passed."""
    missed = not_shown(proof)
    rest = f" Not shown, which the next run tries: {', '.join(missed)}." if missed else ""
    return f"{sentence(changes, report_only=report_only)}{rest} {told}".rstrip()


def together(done: Sequence[Change], seen: Sequence[Change]) -> list[Change]:
    """What was looked at last; what is as wanted by then, or gone, as it was `done` before."""
    before = {change.what: change for change in done}
    looked_at = [it if it.wrote else before.get(it.what, it) for it in seen]
    known = {it.what for it in seen}
    return [*looked_at, *(it for what, it in before.items() if what not in known)]


def sentence(changes: Sequence[Change], *, report_only: bool) -> str:
    """What a run did."""
    looked_at = sum(not change.leftover for change in changes)
    left = sum(change.did is Did.DRIFTED for change in changes)
    wrote = sum(change.wrote for change in changes)
    contested = sum(change.contested for change in changes)
    told = []
    if wrote:
        told.append(f"{wrote} of {looked_at} things {'differ' if report_only else 'changed'}.")
    if left:
        told.append(f"{left} differ and need bootstrap.")
    if contested:
        told.append(f"{contested} have fields that others set otherwise, which are left alone.")
    told = told or [f"As wanted: {looked_at} things looked at, nothing differs."]
    return " ".join([*told, *_leftovers(changes)])


def _leftovers(changes: Sequence[Change]) -> list[str]:
    """How many things nobody wants any more are gone, and how many are still there."""
    counts = {
        did: sum(change.did is did for change in changes) for did in (Did.TIDIED, Did.LEFT_OVER)
    }
    return [f"{did.capitalize()}: {count}." for did, count in counts.items() if count]


def rows(changes: Sequence[Change]) -> list[dict[str, Any]]:
    """One row a thing, changed ones first."""
    ordered = sorted(changes, key=lambda change: not _is_told(change))
    return [
        {"what": change.what, "result": str(change.did), "detail": _whole(change)}
        for change in ordered
    ]


def markdown(changes: Sequence[Change], told: str, *, report_only: bool, failed: str = "") -> str:
    """The report a person reads. `failed`: why there is nothing after these changes."""
    title = "Drift report" if report_only else "deploy/self"
    lines = [f"# {title}", "", sentence(changes, report_only=report_only), ""]
    if failed:
        lines += [f"Then it failed: {failed}", ""]
    if told:
        lines += [told, ""]
    shown = [change for change in changes if _is_told(change)]
    if shown:
        lines += ["| what | result | detail |", "| --- | --- | --- |"]
        lines += [f"| {c.what} | {c.did} | {_cell(_whole(c))} |" for c in shown]
    return "\n".join(lines) + "\n"


def _whole(change: Change) -> str:
    return "; ".join(change.details)


def _cell(text: str) -> str:
    """Of a table in Markdown, which a bar or a line end in a value would end."""
    return " ".join(text.split("\n")).replace("|", "\\|")


def _is_told(change: Change) -> bool:
    return change.differs or change.contested or change.leftover


def cause(error: object) -> str:
    """What is kept of an error: not the lines of a log."""
    return str(error).partition("; its last lines")[0]


def failed_entry(release: str, why: str, run: str) -> dict[str, Any]:
    """What the ledger keeps of a change that was taken back; not the lines of a log."""
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "release": release,
        "run": run,
        "failed": cause(why),
    }


def ledger_entry(
    release: str, changes: Sequence[Change], proof: Sequence[Result], run: str
) -> dict[str, Any]:
    """What the ledger keeps of it."""
    verified = {"verified": verify_sentence(proof)} if proof else {}
    if starts_no_run(proof):
        verified["failed"] = f"it starts no run: {verify_sentence(proof)}"
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "release": release,
        "run": run,
        "changes": [str(change) for change in changes if change.wrote],
        **verified,
    }


def is_news(entry: Mapping[str, Any], before: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a ledger learns of a change, or of an outcome that its last entry had not.

    Hourly runs that find all as it was would soon have pushed the history out of it.
    """
    return not before or bool(entry.get("changes")) or _outcome(entry) != _outcome(before[-1])


def _outcome(entry: Mapping[str, Any]) -> list[str]:
    """What was wanted and how it went; not how many checks passed, with canaries or without."""
    verified = str(entry.get("verified", "")).lstrip("0123456789")
    fields = ("release", "wanted", "failed", "healing")
    return [*(entry.get(field, "") for field in fields), verified]
