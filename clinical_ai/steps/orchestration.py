"""Work pools and automations are as settings and release want them."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from clinical_ai.change import Change, Did
from clinical_ai.deployment_plan import is_field
from clinical_ai.errors import NeedsOperator, PlatformError
from clinical_ai.object_diff import places
from clinical_ai.ports import PrefectApi
from clinical_ai.waiting import persisting

log = logging.getLogger(__name__)

_MOST_SHOWN: Final = 5
_OUTAGE: Final = 60  # seconds without an answer: the server may just have been replaced
# PUT keeps them where it does not name them.
_NO_MORE: Final[Mapping[str, Any]] = {"actions_on_trigger": [], "actions_on_resolve": []}


def ensure_pools(
    api: PrefectApi, wanted: Sequence[Mapping[str, Any]], *, write: bool = True
) -> list[Change]:
    """Each pool exists with its limit and job template; whether it is paused is left alone.

    The template is this and no more: what somebody adds decides what runs may do, too.
    """
    return [_ensure_pool(api, pool, write=write) for pool in wanted]


def job_templates(api: PrefectApi, pools: Iterable[str]) -> dict[str, Any]:
    """What runs of each pool that exists are started from, by the pool's name."""
    found = {pool: api.get(f"/work_pools/{pool}") for pool in pools}
    return {pool: row["base_job_template"] for pool, row in found.items() if row}


def put_back_templates(api: PrefectApi, good: Mapping[str, Any]) -> list[str]:
    """Pools whose runs are again started from these; a fault is told and hides no other.

    A template that starts no run would start none of deploy/self either, which could mend it. So
    a request without an answer is repeated.
    """
    back: list[str] = []

    def put_back(pool: str) -> None:
        found = api.get(f"/work_pools/{pool}")
        if found is None or found["base_job_template"] == good[pool]:
            return
        api.patch(f"/work_pools/{pool}", {"base_job_template": good[pool]})
        log.warning("the job template of pool %s is put back as it was", pool)
        back.append(pool)

    for pool in good:
        try:
            persisting(f"the job template of {pool}", partial(put_back, pool), seconds=_OUTAGE)
        except PlatformError as error:
            log.error("the job template of pool %s is not put back: %s", pool, error)  # noqa: TRY400
    return back


def ensure_automation(api: PrefectApi, wanted: Mapping[str, Any], *, write: bool = True) -> Change:
    """The automation of that name exists once and says this and no more.

    Its name is not unique to the server: two who ensure it at the same moment make two.
    """
    what = f"automation {wanted['name']!r}"
    found = _find_automations(api, wanted["name"])
    if not found:
        if write:
            api.post("/automations/", wanted)
        return Change(what, Did.CREATED)
    kept, *others = found
    body = {**_NO_MORE, **wanted}
    different = [key for key, value in body.items() if not is_field(kept.get(key), value)]
    if write and different:
        api.put(f"/automations/{kept['id']}", body)
    for each in others if write else ():
        api.delete(f"/automations/{each['id']}")
    told = [*different, *([f"{len(others)} more of that name removed"] if others else [])]
    return Change(what, Did.UPDATED if told else Did.UNCHANGED, ", ".join(told))


def remove_automation(api: PrefectApi, name: str) -> None:
    """There is none of that name."""
    for each in _find_automations(api, name):
        api.delete(f"/automations/{each['id']}")


def has_acted(api: PrefectApi, name: str) -> bool:
    """Whether the automation of that name has done its action; asks Prefect's events."""
    ids = [f"prefect.automation.{each['id']}" for each in _find_automations(api, name)]
    done = {"event": {"name": ["prefect.automation.action.executed"]}, "resource": {"id": ids}}
    return bool(ids and api.post("/events/filter", {"filter": done, "limit": 1})["events"])


def _find_automations(api: PrefectApi, name: str) -> list[dict[str, Any]]:
    wanted = {"automations": {"name": {"any_": [name]}}}
    return list(api.post("/automations/filter", wanted))


def _ensure_pool(api: PrefectApi, wanted: Mapping[str, Any], *, write: bool) -> Change:
    name = wanted["name"]
    what = f"work pool {name}"
    found = api.get(f"/work_pools/{name}")
    if found is None:
        if write:
            api.post("/work_pools/", wanted)
        return Change(what, Did.CREATED)
    if found["type"] != wanted["type"]:
        raise NeedsOperator(
            f"work pool {name} is of type {found['type']}, the platform needs {wanted['type']}",
            f"rename or delete it (`prefect work-pool delete {name}`) and run this again",
        )
    different = {key: at for key, value in wanted.items() if (at := places(found.get(key), value))}
    if not different:
        return Change(what, Did.UNCHANGED)
    if write:
        api.patch(f"/work_pools/{name}", {key: wanted[key] for key in different})
    return Change(what, Did.UPDATED, _told(different))


def _told(different: Mapping[str, Sequence[str]]) -> str:
    """Which fields, without a value: somebody may have put a secret into a job template."""
    fields = [f"{key}{at}".removesuffix(".") for key, each in different.items() for at in each]
    more = len(fields) - _MOST_SHOWN
    return ", ".join(fields[:_MOST_SHOWN]) + (f", and {more} more fields" if more > 0 else "")


def find_workers(api: PrefectApi, pool: str) -> list[dict[str, Any]]:
    """Workers that ever served the pool, with `name`, `status` and `last_heartbeat_time`."""
    return list(api.pages(f"/work_pools/{pool}/workers/filter"))
