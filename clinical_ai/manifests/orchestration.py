"""What Prefect's server is told besides deployments: work pools and automations."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any, Final

from clinical_ai import names
from clinical_ai.manifests.processes import SILENCE_SECONDS, START_SECONDS, Place
from clinical_ai.settings import Development, Production

_RUN: Final = "prefect.flow-run"
_FINAL: Final = ("Completed", "Failed", "Cancelled", "Crashed")
_ENDINGS: Final = (*_FINAL, "Paused", "Suspended")
_BEGINS_OR_WAITS: Final = (
    *("Running", "Retrying", "Resuming", "Cancelling", "Scheduled", "Late"),
    *("AwaitingConcurrencySlot", "AwaitingRetry", "InfrastructurePending"),
)


def pools(
    settings: Development | Production, place: Place, template: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Both pools; `template` is the process worker's own base job template."""
    ours = job_template(template, place)
    return [
        {
            "name": names.POOL,
            "type": "process",
            "description": "Clinical runs.",
            "concurrency_limit": settings.worker_concurrency,
            "base_job_template": ours,
        },
        {
            "name": names.PLATFORM_POOL,
            "type": "process",
            "description": "Runs of the platform's own flows.",
            "concurrency_limit": settings.platform_concurrency,
            "base_job_template": ours,
        },
    ]


def job_template(template: Mapping[str, Any], place: Place) -> dict[str, Any]:
    """Runs start in the release's code, by its interpreter."""
    return process_template(template, place.code, _quoted(place.python))


def process_template(template: Mapping[str, Any], code: str, python: str) -> dict[str, Any]:
    """Runs start in this folder, by this interpreter.

    A given command also spares each run the workspace resolver, a second import of Prefect.
    """
    ours = deepcopy(dict(template))
    properties = ours["variables"]["properties"]
    properties["working_dir"]["default"] = code
    properties["command"]["default"] = f"{python} -m prefect.engine"
    return ours


def zombie_automation() -> dict[str, Any]:
    """A run whose heartbeats cease without an ending is Crashed: its process is gone.

    So is one of our pools that began and gave none, for a process can go before its first one is
    sent; in other places runs may begin that have no heartbeats. And so is one of our pools that a
    worker took and did not begin. A pod that is there may wait for a node: its run has said so.
    A heartbeat may arrive behind the end of a very short run; Prefect then refuses to crash it.
    """
    return {
        "name": names.ZOMBIE_AUTOMATION,
        "description": "Reports a run as Crashed when its heartbeat stops; frees its slots.",
        "enabled": True,
        "trigger": {
            "type": "compound",
            "require": "any",
            "within": None,
            "triggers": [
                _silence("heartbeat", SILENCE_SECONDS, {}),
                _silence("Running", SILENCE_SECONDS, _of_our_pools()),
                _silence("Pending", START_SECONDS, _of_our_pools(), _BEGINS_OR_WAITS),
            ],
        },
        "actions": [
            {
                "type": "change-flow-run-state",
                "state": "CRASHED",
                "name": "Crashed",
                "message": f"No heartbeat for {SILENCE_SECONDS} s, or no begin for "
                f"{START_SECONDS} s: its process is gone.",
            }
        ],
    }


def hold_automation(pools: Sequence[str], run: str) -> dict[str, Any]:
    """Pools of these ids, which this flow run holds, are open again once that run has ended.

    A run that is killed does not open it, and no later one begins in a pool that is held. The
    zombie automation reports it as Crashed first.
    """
    return {
        "name": names.HOLD_AUTOMATION,
        "description": "Opens a pool again when the run that holds it ends without doing so.",
        "enabled": True,
        "trigger": {
            "type": "event",
            "match": {"prefect.resource.id": f"{_RUN}.{run}"},
            "expect": [f"{_RUN}.{ending}" for ending in _FINAL],
            "posture": "Reactive",
            "threshold": 1,
            "within": 0,
        },
        "actions": [
            {"type": "resume-work-pool", "source": "selected", "work_pool_id": pool}
            for pool in pools
        ],
    }


def _of_our_pools() -> dict[str, Any]:
    pools = [names.POOL, names.PLATFORM_POOL]
    return {"prefect.resource.role": "work-pool", "prefect.resource.name": pools}


def _silence(
    since: str, seconds: int, related: dict[str, Any], more: tuple[str, ...] = ()
) -> dict[str, Any]:
    """No heartbeat, no ending and none of `more` for so long after this event of a run."""
    signs = dict.fromkeys((since, "heartbeat", *more, *_ENDINGS))
    return {
        "type": "event",
        "match": {"prefect.resource.id": f"{_RUN}.*"},
        "match_related": related,
        "after": [f"{_RUN}.{since}"],
        "expect": [f"{_RUN}.{sign}" for sign in signs],
        "for_each": ["prefect.resource.id"],
        "posture": "Proactive",
        "threshold": 1,
        "within": seconds,
    }


def _quoted(path: str) -> str:
    return f'"{path}"' if " " in path else path
