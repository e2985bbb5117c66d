"""Deployments of prefect.yaml: read first, write only what differs.

Every write to a deployment, an identical one too, drops its future scheduled runs; so an unchanged
deployment is not written, and a changed one only in the fields that changed.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from clinical_ai.change import Change, Did
from clinical_ai.ports import PrefectApi

_COMPARED: Final = (
    *("entrypoint", "path", "version", "description", "tags", "parameters"),
    *("parameter_openapi_schema", "enforce_parameter_schema", "pull_steps", "job_variables"),
    *("work_pool_name", "work_queue_name", "concurrency_options"),
)


def ensure_deployments(
    api: PrefectApi, wanted: Sequence[Mapping[str, Any]], *, write: bool = True
) -> list[Change]:
    """Each wanted deployment is registered as the release renders it."""
    return [_ensure_deployment(api, deployment, write=write) for deployment in wanted]


def _ensure_deployment(api: PrefectApi, wanted: Mapping[str, Any], *, write: bool) -> Change:
    full_name = f"{wanted['flow_name']}/{wanted['name']}"
    what = f"deployment {full_name}"
    found = api.get(f"/deployments/name/{full_name}")
    if found is None:
        if write:
            flow = api.post("/flows/", {"name": wanted["flow_name"]})
            body = {key: value for key, value in wanted.items() if key != "flow_name"}
            api.post("/deployments/", {**body, "flow_id": flow["id"]})
        return Change(what, Did.CREATED)
    patch = _patch(wanted, found)
    if not patch:
        return Change(what, Did.UNCHANGED)
    if write:
        api.patch(f"/deployments/{found['id']}", patch)
    return Change(what, Did.UPDATED, ", ".join(sorted(patch)))


def _patch(wanted: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    """The narrowest body that makes the found deployment the wanted one."""
    patch = {key: wanted[key] for key in _COMPARED if wanted[key] != found.get(key)}
    limit = (found.get("global_concurrency_limit") or {}).get("limit")
    if wanted["concurrency_limit"] != limit:
        patch["concurrency_limit"] = wanted["concurrency_limit"]
    elif "concurrency_options" in patch and _same_options(wanted, found):
        del patch["concurrency_options"]
    schedules = _schedules(wanted["schedules"], found["schedules"])
    if schedules is not None:
        patch["schedules"] = schedules
    return patch


def _same_options(wanted: Mapping[str, Any], found: Mapping[str, Any]) -> bool:
    ours, theirs = wanted["concurrency_options"] or {}, found.get("concurrency_options") or {}
    return all(theirs.get(key) == value for key, value in ours.items()) and bool(ours) == bool(
        theirs
    )


def _schedules(
    wanted: Sequence[Mapping[str, Any]], found: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]] | None:
    """Schedules to send, or None when all wanted ones are there.

    One that an operator switched off stays off unless the file says `active`; one that an operator
    added (a slug the file does not know) is sent along, since the list replaces all.
    """
    by_slug = {schedule.get("slug"): schedule for schedule in found}
    if all(_is_there(schedule, by_slug.get(schedule["slug"])) for schedule in wanted):
        return None
    ours = [
        {"active": by_slug.get(schedule["slug"], {}).get("active", True), **schedule}
        for schedule in wanted
    ]
    slugs = {schedule["slug"] for schedule in wanted}
    kept = [
        {key: schedule[key] for key in ("schedule", "active", "slug", "parameters")}
        for schedule in found
        if schedule.get("slug") not in slugs
    ]
    return [*ours, *kept]


def _is_there(wanted: Mapping[str, Any], found: Mapping[str, Any] | None) -> bool:
    if found is None:
        return False
    timing = all(found["schedule"].get(key) == value for key, value in wanted["schedule"].items())
    rest = all(found.get(key) == wanted[key] for key in ("active", "parameters") if key in wanted)
    return timing and rest
