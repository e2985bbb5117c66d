"""Runs that do not run just now, brought there by the steps in which Prefect itself does it."""

from typing import Any

from clinical_ai.ports import PrefectApi


def sleeping_runs(api: PrefectApi, pool: str) -> dict[str, str]:
    """Ids by state: what a retry with a delay, and `pause_flow_run`, leave in a living process."""
    retrying, paused = _begun(api, pool), _begun(api, pool)
    set_state(api, retrying, type="FAILED")
    set_state(api, paused, **_pause("Paused", reschedule=False))
    return {"AwaitingRetry": retrying, "Paused": paused}


def runs_without_process(api: PrefectApi, pool: str) -> dict[str, str]:
    """Ids of runs that look like those, and wait for a worker or a person."""
    due, retried, suspended, resumed = (_begun(api, pool, begin=n > 0) for n in range(4))
    set_state(api, retried, type="CRASHED")
    set_state(api, retried, type="SCHEDULED", name="AwaitingRetry")
    for each in (suspended, resumed):
        set_state(api, each, **_pause("Suspended", reschedule=True))
    set_state(api, resumed, type="SCHEDULED", name="Resuming")
    return {"due": due, "to retry": retried, "suspended": suspended, "resumed": resumed}


def set_state(api: PrefectApi, run: str, **state: Any) -> None:
    """Propose a state, as the run itself does; Prefect may answer with another one."""
    api.post(f"/flow_runs/{run}/set_state", {"state": state})


def _begun(api: PrefectApi, pool: str, *, begin: bool = True) -> str:
    if api.get(f"/work_pools/{pool}") is None:
        api.post("/work_pools/", {"name": pool, "type": "process"})
    flow = api.post("/flows/", {"name": f"flow-in-{pool}"})["id"]
    body = {"name": "one", "flow_id": flow, "work_pool_name": pool, "entrypoint": "a:b"}
    path = f"/deployments/{api.post('/deployments/', body)['id']}/create_flow_run"
    policy = {"retries": 2, "retry_delay": 600}
    given = {"state": {"type": "SCHEDULED"}, "empirical_policy": policy}
    run = str(api.post(path, given)["id"])
    for state in ("PENDING", "RUNNING") if begin else ():
        set_state(api, run, type=state)
    return run


def _pause(name: str, *, reschedule: bool) -> dict[str, Any]:
    details = {"pause_reschedule": reschedule, "pause_key": "0"}
    details |= {"pause_timeout": "2099-01-01T00:00:00Z"}
    return {"type": "PAUSED", "name": name, "state_details": details}
