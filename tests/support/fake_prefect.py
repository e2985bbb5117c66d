"""Prefect's REST API in memory, as far as steps use it."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from threading import RLock
from typing import Any, Final
from urllib.parse import unquote
from uuid import uuid4

from dateutil.rrule import rrulestr

from clinical_ai.errors import Locked, NeedsOperator, Transient
from tests.support.object_schema import copied

_NEVER: Final = "1970-01-01T00:00:00+00:00"
_PAGE: Final = 200
_FINAL: Final = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
_OF_NO_TABLE: Final = ("/health", "/ready", "/admin/version")
_DAY: Final = timedelta(days=1)


class FakePrefect:
    """A PrefectApi in memory: the paths that steps use, with what the server adds to each.

    `down` makes it unreachable, `emptied` leaves it a database without a table. `on_schedule` is
    the scheduler: called with a deployment and each new active schedule of it. Every write gives a
    new `updated`.
    """

    def __init__(self) -> None:
        self.down = self.emptied = False
        self.pools: dict[str, dict[str, Any]] = {}
        self.queues: dict[tuple[str, str], dict[str, Any]] = {}
        self.workers: dict[tuple[str, str], dict[str, Any]] = {}
        self.flows: dict[str, dict[str, Any]] = {}
        self.deployments: dict[str, dict[str, Any]] = {}
        self.runs: dict[str, dict[str, Any]] = {}
        self.automations: dict[str, dict[str, Any]] = {}
        self.block_types: dict[str, dict[str, Any]] = {}
        self.block_schemas: dict[str, dict[str, Any]] = {}
        self.block_documents: dict[str, dict[str, Any]] = {}
        self.variables: dict[str, dict[str, Any]] = {}
        self.limits: dict[str, dict[str, Any]] = {}
        self.leases: dict[str, str] = {}
        self.artifacts: list[dict[str, Any]] = []
        self.logs: list[dict[str, Any]] = []
        self.acted: set[str] = set()  # automations
        self.on_schedule: Callable[[dict[str, Any], dict[str, Any]], None] | None = None
        self._clock = count(1)
        self._alone = RLock()

    def get(self, path: str) -> Any:
        """A copy of the thing, or None; as on the server, its schedules come in any order."""
        found = self._call("GET", path, None)
        if isinstance(found, dict) and "schedules" in found:
            found["schedules"].reverse()
        return found

    def post(
        self, path: str, body: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None
    ) -> Any:
        """A copy of the answer."""
        answer = self._call("POST", path, {} if body is None else body)
        if answer is _ABSENT:
            raise NeedsOperator(f"Prefect knows nothing at {path}", "look at the path")
        return answer

    def patch(self, path: str, body: Mapping[str, Any]) -> None:
        """Change what the body names."""
        self._change("PATCH", path, body)

    def put(self, path: str, body: Mapping[str, Any]) -> None:
        """Replace what is there."""
        self._change("PUT", path, body)

    def delete(self, path: str) -> bool:
        """Whether it was there."""
        return self._call("DELETE", path, None) is not None

    def pages(self, path: str, body: Mapping[str, Any] | None = None) -> Iterator[dict[str, Any]]:
        """All rows of a `/filter` path."""
        offset = 0
        while rows := self.post(path, {**(body or {}), "limit": _PAGE, "offset": offset}):
            yield from rows
            offset += _PAGE

    def _change(self, method: str, path: str, body: Mapping[str, Any]) -> None:
        if self._call(method, path, body) is None:
            raise NeedsOperator(f"{path} does not exist any more", "run it again")

    def _call(self, method: str, path: str, body: Any) -> Any:
        if self.down:
            raise Transient("no answer from Prefect")
        if self.emptied and path not in _OF_NO_TABLE:
            raise Transient(f"Prefect answered 503 to {method} {path}")
        for at, pattern, answer in _ROUTES:
            found = re.fullmatch(pattern, path)
            if at == method and found:
                with self._alone:  # one request after the other, as a transaction is
                    given = answer(self, copied(body), *found.groups())
                    return given if given is _ABSENT else copied(given)
        return _ABSENT if method == "POST" else None

    def _stamp(self, row: dict[str, Any], changes: Mapping[str, Any] = {}) -> dict[str, Any]:
        """The row, changed and written just now."""
        row.setdefault("id", str(uuid4()))
        row.update(changes)
        moment = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=next(self._clock))
        row["updated"] = moment.isoformat()
        return row

    # Work pools, their queues and workers.

    def _new_pool(self, body: dict[str, Any]) -> Any:
        name = _given(body, "name", str)
        _allowed(body, "concurrency_limit", int)
        if name in self.pools:
            raise _refusal(409, "A work pool with this name already exists.")
        empty = {"description": None, "concurrency_limit": None, "base_job_template": {}}
        self.pools[name] = self._stamp({**empty, "is_paused": False, **body})
        queue = {"name": "default", "is_paused": False, "priority": 1}
        self.queues[name, "default"] = self._stamp(queue)
        return self.pools[name]

    def _change_pool(self, body: dict[str, Any], name: str) -> Any:
        _allowed(body, "concurrency_limit", int)
        return self.pools.get(name) and self._stamp(self.pools[name], body)

    def _change_queue(self, body: dict[str, Any], pool: str, name: str) -> Any:
        queue = self.queues.get((pool, name))
        return queue and self._stamp(queue, body)

    def _heartbeat(self, body: dict[str, Any], pool: str) -> Any:
        row = {"name": body["name"], "status": "ONLINE", "last_heartbeat_time": _NEVER}
        self.workers[pool, body["name"]] = self._stamp(row)

    def _workers_of(self, body: dict[str, Any], pool: str) -> Any:
        if pool not in self.pools:
            return _ABSENT
        return _page([row for (of, _), row in self.workers.items() if of == pool], body)

    # Flows and deployments.

    def _flow(self, body: dict[str, Any]) -> Any:
        name = _given(body, "name", str)
        return self.flows.setdefault(name, self._stamp({"name": name}))

    def _new_deployment(self, body: dict[str, Any]) -> Any:
        flow = next((row for row in self.flows.values() if row["id"] == body["flow_id"]), None)
        if flow is None or body["work_pool_name"] not in self.pools:
            return _ABSENT
        known = self._named(None, flow["name"], body["name"])
        none = ("concurrency_limit", "global_concurrency_limit", "concurrency_options")
        row = known or {
            "flow_name": flow["name"],
            "flow_id": flow["id"],
            "paused": False,
            "parameters": {},
            "tags": [],
            **dict.fromkeys(none),
        }
        self._stamp(row, {"schedules": []})
        row.setdefault("created", row["updated"])
        self.deployments[row["id"]] = row
        return self._change_deployment(body, row["id"])

    def _change_deployment(self, body: dict[str, Any], found: str) -> Any:
        row = self.deployments.get(found)
        if row is None:
            return None
        if "concurrency_limit" in body:
            limit = body.pop("concurrency_limit")
            row["concurrency_limit"] = None
            row["global_concurrency_limit"] = None if limit is None else {"limit": limit}
        if options := body.get("concurrency_options"):
            body["concurrency_options"] = {"grace_period_seconds": None, **options}
        written = body.pop("schedules", None)
        self._stamp(row, body)
        self._drop_runs(found)
        if written is not None:
            self._write_schedules(row, written)
        return row

    def _drop_runs(self, deployment: str, *, late: bool = False) -> None:
        """As every write does on the server: scheduled runs to come, and late ones when told."""
        self.runs = {
            key: run
            for key, run in self.runs.items()
            if not (
                run["deployment_id"] == deployment
                and run["state_name"] == "Scheduled"
                and run["auto_scheduled"]
                and (late or datetime.fromisoformat(run["expected_start_time"]) > datetime.now(UTC))
            )
        }

    def _make_runs(self, body: dict[str, Any], found: str) -> Any:
        """As the scheduler does: each run once, by schedule and time."""
        row = self.deployments.get(found)
        if row is None:
            return _ABSENT
        start = datetime.fromisoformat(body["start_time"]) if body else datetime.now(UTC)
        end = datetime.fromisoformat(body["end_time"]) if body else start + timedelta(days=99)
        made = {run.get("idempotency_key") for run in self.runs.values()}
        for schedule in [schedule for schedule in row["schedules"] if schedule["active"]]:
            for at in _moments(schedule["schedule"], start, body.get("max_runs", 3)):
                if at > end:
                    break
                key = f"{schedule['id']} {at.isoformat()}"
                if key not in made:
                    self._schedule_run(row, at, key)
        return None

    def _schedule_run(self, row: dict[str, Any], at: datetime, key: str) -> None:
        body = {"state": {"type": "SCHEDULED", "state_details": {"scheduled_time": at.isoformat()}}}
        run = self._new_run(body, row["id"])
        run |= {"auto_scheduled": True, "idempotency_key": key}

    def _delete_deployment(self, _body: Any, found: str) -> Any:
        self._drop_runs(found)
        return self.deployments.pop(found, None)

    def _write_schedules(self, row: dict[str, Any], written: list[dict[str, Any]]) -> None:
        """As the server does: with slugs everywhere none is taken away, else the list replaces."""
        known = {schedule["slug"]: schedule for schedule in row["schedules"]}
        if not known or None in known:
            row["schedules"] = fresh = [self._stamp(_schedule(new)) for new in written]
        elif any(new.get("slug") is None for new in written):
            raise _refusal(422, "Please provide a slug for each schedule in your request")
        else:
            for new in written:
                if old := known.get(new.get("replaces") or new["slug"]):
                    change = {key: new[key] for key in new if key != "replaces"}
                    self._stamp(old, _schedule({**old, **change}))
            fresh = [
                self._stamp(_schedule(new))
                for new in written
                if new["slug"] not in known and new.get("replaces") not in known
            ]
            row["schedules"] += fresh
        for schedule in fresh:
            if self.on_schedule and schedule["active"]:
                self.on_schedule(row, schedule)

    def _add_schedules(self, body: list[dict[str, Any]], found: str) -> Any:
        row = self.deployments[found]
        row["schedules"] += [self._stamp(_schedule(new)) for new in body]
        return row["schedules"]

    def _change_schedule(self, body: dict[str, Any], found: str, schedule: str) -> Any:
        rows = self.deployments[found]["schedules"]
        self._drop_runs(found)
        return next((self._stamp(row, body) for row in rows if row["id"] == schedule), None)

    def _drop_schedule(self, _body: Any, found: str, schedule: str) -> Any:
        rows = self.deployments[found]["schedules"]
        gone = next((row for row in rows if row["id"] == schedule), None)
        self._drop_runs(found, late=True)
        self.deployments[found]["schedules"] = [row for row in rows if row is not gone]
        return gone

    def _named(self, _body: Any, flow: str, name: str) -> Any:
        for row in self.deployments.values():
            if (row["flow_name"], row["name"]) == (unquote(flow), unquote(name)):
                return row
        return None

    # Runs, their logs and artifacts.

    def _new_run(self, body: dict[str, Any], found: str) -> Any:
        deployment = self.deployments.get(found)
        if deployment is None:
            return _ABSENT
        _allowed(body, "parameters", dict)
        moment = body["state"].get("state_details", {}).get("scheduled_time", "")
        row = self._stamp(
            {
                "name": body.get("name") or f"run-{len(self.runs)}",
                "deployment_id": deployment["id"],
                "work_pool_name": deployment["work_pool_name"],
                "parameters": {**deployment["parameters"], **body.get("parameters", {})},
                "tags": body.get("tags", []),
                "labels": {"prefect.deployment.id": deployment["id"]},
                "start_time": None,
                "auto_scheduled": False,
                "run_count": 0,
                "empirical_policy": {
                    **dict.fromkeys(("retries", "retry_delay", "retry_type")),
                    **body.get("empirical_policy", {}),
                },
            }
        )
        row["expected_start_time"] = moment or row["updated"]
        self.runs[row["id"]] = row
        return self._enter(row, body["state"])

    def _enter(self, row: dict[str, Any], state: dict[str, Any]) -> dict[str, Any]:
        name = state.get("name") or state["type"].capitalize()
        details = {"pause_reschedule": False, **state.get("state_details", {})}
        told = {"type": state["type"], "name": name, "message": state.get("message")}
        told |= {"state_details": details}
        self._stamp(row, {"state": told, "state_type": told["type"], "state_name": name})
        if told["type"] in {"RUNNING", "COMPLETED"}:
            row["start_time"] = row["start_time"] or row["updated"]
        row["run_count"] += told["type"] == "RUNNING"
        return row

    def _set_state(self, body: dict[str, Any], run: str) -> Any:
        row = self.runs.get(run)
        if row is None:
            return _ABSENT
        state = body["state"] if body.get("force") else self._orchestrate(row, body["state"])
        return {"state": self._enter(row, state)["state"]}

    def _orchestrate(self, row: dict[str, Any], state: dict[str, Any]) -> dict[str, Any]:
        """Who may retry the run: its own process after a failure, any worker once it has ended."""
        policy, retries = row["empirical_policy"], row["empirical_policy"]["retries"]
        if (row["state_type"], state["type"]) == ("RUNNING", "FAILED"):
            again = retries is not None and row["run_count"] <= retries
            policy["retry_type"] = "in_process" if again else None
            return {**state, "type": "SCHEDULED", "name": "AwaitingRetry"} if again else state
        if row["state_type"] in _FINAL and state["type"] not in _FINAL:
            policy["retry_type"] = "reschedule" if state["type"] == "SCHEDULED" else None
        return state

    def _label(self, body: dict[str, Any], run: str) -> Any:
        row = self.runs.get(run)
        return row and self._stamp(row, {"labels": {**row["labels"], **body}})

    def _filter_runs(self, body: dict[str, Any]) -> Any:
        wanted = body.get("flow_runs", {})
        rows = list(self.runs.values())
        if ids := _any(wanted, "deployment_id"):
            rows = [row for row in rows if row["deployment_id"] in ids]
        if state := wanted.get("state"):
            rows = [row for row in rows if _is_in(row, state)]
        if tags := wanted.get("tags", {}).get("all_"):
            rows = [row for row in rows if set(tags) <= set(row["tags"])]
        if since := wanted.get("expected_start_time", {}).get("after_"):
            moment = datetime.fromisoformat(since)
            rows = [r for r in rows if datetime.fromisoformat(r["expected_start_time"]) >= moment]
        if until := wanted.get("start_time", {}).get("before_"):
            moment = datetime.fromisoformat(until)
            rows = [row for row in rows if _begun(row) <= moment]
        if wanted.get("start_time", {}).get("is_null_") is False:
            rows = [row for row in rows if row["start_time"]]
        if pools := _any(body.get("work_pools", {}), "name"):
            rows = [row for row in rows if row["work_pool_name"] in pools]
        field, _, way = body.get("sort", "ID_DESC").rpartition("_")
        key = field.lower()
        # A run that has not started counts by when it is due, in the order of starts too.
        rows.sort(key=lambda row: row[key] or row["expected_start_time"], reverse=way == "DESC")
        return _page(rows, body)

    def _filter_logs(self, body: dict[str, Any]) -> Any:
        ids = _any(body["logs"], "flow_run_id")
        rows = [row for row in self.logs if row["flow_run_id"] in ids]
        return _page(sorted(rows, key=lambda row: row["timestamp"]), body)

    def _new_artifact(self, body: dict[str, Any]) -> Any:
        row = self._stamp({"description": None, **body})
        self.artifacts.append(row)
        return row

    def _change_artifact(self, body: dict[str, Any], found: str) -> Any:
        return next((self._stamp(a, body) for a in self.artifacts if a["id"] == found), None)

    def _filter_artifacts(self, body: dict[str, Any]) -> Any:
        runs, keys = (_any(body["artifacts"], name) for name in ("flow_run_id", "key"))
        found = [a for a in self.artifacts if a["flow_run_id"] in runs and a["key"] in keys]
        return _page(reversed(found) if body.get("sort") == "CREATED_DESC" else found, body)

    # Automations and blocks.

    def ends(self, run: str) -> None:
        """What its automations do when this run ends: they open pools, which is an event."""
        for found, row in self.automations.items():
            if row["trigger"]["match"]["prefect.resource.id"] == f"prefect.flow-run.{run}":
                opened = {action["work_pool_id"] for action in row["actions"]}
                for pool in self.pools.values():
                    pool["is_paused"] &= pool["id"] not in opened
                self.acted.add(found)

    def _filter_events(self, body: dict[str, Any]) -> Any:
        """Of automations that acted; no other event is kept."""
        ids = [each.rpartition(".")[2] for each in body["filter"]["resource"]["id"]]
        kind = "prefect.automation.action.executed"
        return {"events": [{"event": kind} for found in ids if found in self.acted]}

    def _automation(self, body: dict[str, Any], found: str | None = None) -> Any:
        if found is not None and found not in self.automations:
            return None
        none = {"tags": [], "actions_on_trigger": [], "actions_on_resolve": []}
        there = self.automations.get(found or "", {"id": str(uuid4()), **none})
        row = self._stamp({**there, **body})
        self.automations[row["id"]] = row
        return row

    def _filter_automations(self, body: dict[str, Any]) -> Any:
        wanted = body.get("automations", {})
        names, ids = _any(wanted, "name"), _any(wanted, "id")
        rows = [row for row in self.automations.values() if not names or row["name"] in names]
        rows = [row for row in rows if not ids or row["id"] in ids]
        return _page(rows, body)

    def _drop_owned(self, _body: Any, owner: str) -> Any:
        kept = {k: a for k, a in self.automations.items() if a.get("owner_resource") != owner}
        self.automations = kept

    # Variables and concurrency limits.

    def _variable(self, body: dict[str, Any], name: str | None = None) -> Any:
        if name is not None and name not in self.variables:
            return None
        row = self.variables.setdefault(body["name"], {})
        return self._stamp(row, body)

    def _limit(self, body: dict[str, Any]) -> Any:
        return self.limits.setdefault(body["name"], self._stamp({"active_slots": 0, **body}))

    def _switch_automation(self, body: dict[str, Any], found: str) -> Any:
        return self._stamp(self.automations[found], body)

    def _limit_at(self, _body: Any, named: str) -> Any:
        """By name or by id, as the server finds it."""
        rows = self.limits.values()
        return next((row for row in rows if named in (row["name"], row["id"])), None)

    def _filter_limits(self, body: dict[str, Any]) -> Any:
        return _page(sorted(self.limits.values(), key=lambda row: row["name"]), body)

    def _change_limit(self, body: dict[str, Any], named: str) -> Any:
        found = self._limit_at(None, named)
        return found and self._stamp(found, body)

    def _take_slot(self, body: dict[str, Any]) -> Any:
        for name in body["names"]:
            if self.limits[name]["active_slots"] >= self.limits[name]["limit"]:
                raise Locked("somebody else holds it")
            self._stamp(self.limits[name])["active_slots"] += 1
        lease = str(uuid4())
        self.leases[lease] = body["names"][0]
        return {"lease_id": lease, "limits": []}

    def _renew(self, _body: Any, lease: str) -> Any:
        return _ABSENT if lease not in self.leases else None

    def _free_slot(self, body: dict[str, Any]) -> Any:
        name = self.leases.pop(body["lease_id"], None)
        if name:
            self._stamp(self.limits[name])["active_slots"] -= 1

    def _new_block_type(self, body: dict[str, Any]) -> Any:
        return self.block_types.setdefault(body["slug"], self._stamp(body))

    def _new_block_schema(self, body: dict[str, Any]) -> Any:
        """With Prefect's own checksum, as the server computes it."""
        from prefect.blocks.core import Block

        checksum = Block._calculate_schema_checksum(body["fields"])
        row = self._stamp({**body, "checksum": checksum})
        return self.block_schemas.setdefault(row["checksum"], row)

    def _new_document(self, body: dict[str, Any]) -> Any:
        _given(body, "name", str)
        slug = next(
            t["slug"] for t in self.block_types.values() if t["id"] == body["block_type_id"]
        )
        return self.block_documents.setdefault(f"{slug}/{body['name']}", self._stamp(body))

    def _document(self, _body: Any, slug: str, name: str) -> Any:
        return self.block_documents.get(f"{slug}/{name}")

    def _change_document(self, body: dict[str, Any], found: str) -> Any:
        rows = self.block_documents.values()
        row = next((row for row in rows if row["id"] == found), None)
        if row is None:
            return None
        merge = body.pop("merge_existing_data", True)
        body["data"] = {**(row["data"] if merge else {}), **body.get("data", {})}
        return self._stamp(row, body)

    def _drop_document(self, _body: Any, found: str) -> Any:
        name = next((k for k, row in self.block_documents.items() if row["id"] == found), "")
        return self.block_documents.pop(name, None)


_ABSENT: Final = object()
_Route = tuple[str, str, Callable[..., Any]]
_ROUTES: Final[tuple[_Route, ...]] = (
    ("GET", "/health", lambda _self, _body: True),
    ("GET", "/ready", lambda _self, _body: {"message": "OK"}),
    ("GET", "/admin/version", lambda _self, _body: "3.8.8"),
    ("GET", "/work_pools/([^/]+)", lambda self, _body, name: self.pools.get(name)),
    ("POST", "/work_pools/", FakePrefect._new_pool),
    ("POST", "/work_pools/filter", lambda self, body: _page(self.pools.values(), body)),
    ("PATCH", "/work_pools/([^/]+)", FakePrefect._change_pool),
    ("DELETE", "/work_pools/([^/]+)", lambda self, _body, name: self.pools.pop(name, None)),
    (
        "GET",
        "/work_pools/([^/]+)/queues/([^/]+)",
        lambda self, _body, pool, name: self.queues.get((pool, name)),
    ),
    ("PATCH", "/work_pools/([^/]+)/queues/([^/]+)", FakePrefect._change_queue),
    (
        "DELETE",
        "/work_pools/([^/]+)/queues/([^/]+)",
        lambda self, _body, pool, name: self.queues.pop((pool, name), None),
    ),
    ("POST", "/work_pools/([^/]+)/workers/heartbeat", FakePrefect._heartbeat),
    ("POST", "/work_pools/([^/]+)/workers/filter", FakePrefect._workers_of),
    (
        "DELETE",
        "/work_pools/([^/]+)/workers/([^/]+)",
        lambda self, _body, pool, name: self.workers.pop((pool, unquote(name)), None),
    ),
    ("POST", "/flows/", FakePrefect._flow),
    ("GET", "/deployments/name/([^/]+)/([^/]+)", FakePrefect._named),
    ("POST", "/deployments/", FakePrefect._new_deployment),
    ("POST", "/deployments/filter", lambda self, body: _page(self.deployments.values(), body)),
    ("PATCH", "/deployments/([^/]+)", FakePrefect._change_deployment),
    ("GET", "/deployments/([^/]+)", lambda self, _body, found: self.deployments.get(found)),
    ("DELETE", "/deployments/([^/]+)", FakePrefect._delete_deployment),
    ("POST", "/deployments/([^/]+)/schedule", FakePrefect._make_runs),
    ("POST", "/flows/filter", lambda self, body: _page(self.flows.values(), body)),
    ("POST", "/deployments/([^/]+)/schedules", FakePrefect._add_schedules),
    ("PATCH", "/deployments/([^/]+)/schedules/([^/]+)", FakePrefect._change_schedule),
    ("DELETE", "/deployments/([^/]+)/schedules/([^/]+)", FakePrefect._drop_schedule),
    ("POST", "/deployments/([^/]+)/create_flow_run", FakePrefect._new_run),
    ("GET", "/flow_runs/([^/]+)", lambda self, _body, run: self.runs.get(run)),
    ("POST", "/flow_runs/filter", FakePrefect._filter_runs),
    ("POST", "/flow_runs/([^/]+)/set_state", FakePrefect._set_state),
    ("PATCH", "/flow_runs/([^/]+)/labels", FakePrefect._label),
    ("POST", "/logs/", lambda self, body: self.logs.extend(body)),
    ("POST", "/logs/filter", FakePrefect._filter_logs),
    ("POST", "/artifacts/", FakePrefect._new_artifact),
    ("PATCH", "/artifacts/([^/]+)", FakePrefect._change_artifact),
    ("POST", "/artifacts/filter", FakePrefect._filter_artifacts),
    ("POST", "/automations/", FakePrefect._automation),
    ("POST", "/events/filter", FakePrefect._filter_events),
    ("POST", "/automations/filter", FakePrefect._filter_automations),
    ("DELETE", "/automations/owned-by/(.+)", FakePrefect._drop_owned),
    ("GET", "/variables/name/(.+)", lambda self, _body, name: self.variables.get(name)),
    ("POST", "/variables/", FakePrefect._variable),
    ("PATCH", "/variables/name/(.+)", FakePrefect._variable),
    ("POST", "/v2/concurrency_limits/", FakePrefect._limit),
    ("POST", "/v2/concurrency_limits/increment-with-lease", FakePrefect._take_slot),
    ("POST", "/v2/concurrency_limits/decrement-with-lease", FakePrefect._free_slot),
    ("POST", "/v2/concurrency_limits/leases/([^/]+)/renew", FakePrefect._renew),
    ("POST", "/v2/concurrency_limits/filter", FakePrefect._filter_limits),
    ("GET", "/v2/concurrency_limits/([^/]+)", FakePrefect._limit_at),
    ("PATCH", "/v2/concurrency_limits/([^/]+)", FakePrefect._change_limit),
    ("PUT", "/automations/([^/]+)", FakePrefect._automation),
    ("PATCH", "/automations/([^/]+)", FakePrefect._switch_automation),
    ("DELETE", "/automations/([^/]+)", lambda self, _body, it: self.automations.pop(it, None)),
    ("POST", "/block_types/", FakePrefect._new_block_type),
    ("GET", "/block_types/slug/([^/]+)", lambda self, _body, slug: self.block_types.get(slug)),
    ("POST", "/block_schemas/", FakePrefect._new_block_schema),
    (
        "GET",
        "/block_schemas/checksum/(.+)",
        lambda self, _body, checksum: self.block_schemas.get(checksum),
    ),
    ("GET", "/block_types/slug/([^/]+)/block_documents/name/([^/]+)", FakePrefect._document),
    ("POST", "/block_documents/", FakePrefect._new_document),
    ("PATCH", "/block_documents/([^/]+)", FakePrefect._change_document),
    ("DELETE", "/block_documents/([^/]+)", FakePrefect._drop_document),
)


def _page(rows: Iterable[dict[str, Any]], body: Mapping[str, Any]) -> list[dict[str, Any]]:
    limit, offset = body.get("limit", _PAGE), body.get("offset", 0)
    if limit > _PAGE:
        raise _refusal(422, "Invalid limit: must be less than or equal to 200.")
    return list(rows)[offset : offset + limit]


def _is_in(row: Mapping[str, Any], state: Mapping[str, Any]) -> bool:
    found = [row[f"state_{it}"] in state[it]["any_"] for it in ("type", "name") if it in state]
    return any(found) if state.get("operator") == "or_" else all(found)


def _begun(row: Mapping[str, Any]) -> datetime:
    """A run that has not started counts by when it is due, as on the server."""
    return datetime.fromisoformat(row["start_time"] or row["expected_start_time"])


def _any(wanted: Mapping[str, Any], name: str) -> list[Any]:
    found: list[Any] = wanted.get(name, {}).get("any_", [])
    return found


def _moments(schedule: Mapping[str, Any], start: datetime, count: int) -> list[datetime]:
    """The next times, as many as told; of cron, minute and hour are understood."""
    if "interval" in schedule:
        anchor, step = datetime(2026, 1, 1, tzinfo=UTC), timedelta(seconds=schedule["interval"])
        first = anchor + step * -((anchor - start) // step)
    elif "rrule" in schedule:
        rule = rrulestr(schedule["rrule"])
        found = rule.xafter(start.replace(tzinfo=None), count=count, inc=True)
        return [each.replace(tzinfo=UTC) for each in found]
    else:
        minute, hour = map(int, schedule["cron"].split()[:2])
        first, step = start.replace(hour=hour, minute=minute, second=0, microsecond=0), _DAY
        first += _DAY * (first < start)
    return [first + step * number for number in range(count)]


def _schedule(new: Mapping[str, Any]) -> dict[str, Any]:
    given = {"active": True, "parameters": {}, "slug": None, **new}
    timing = {"day_or": True, **new["schedule"]}
    if "DTSTART" not in timing.get("rrule", "DTSTART"):
        timing["rrule"] = f"DTSTART:{datetime.now(UTC):%Y%m%dT%H%M00}\n{timing['rrule']}"
    return {**given, "schedule": timing}


def _given(body: Mapping[str, Any], field: str, kind: type) -> Any:
    if field not in body:
        raise _refusal(422, f"body.{field}: Field required")
    _allowed(body, field, kind)
    return body[field]


def _allowed(body: Mapping[str, Any], field: str, kind: type) -> None:
    if not isinstance(body.get(field), kind | None):
        raise _refusal(422, f"body.{field}: Input should be a valid {kind.__name__}")


def _refusal(status: int, reason: str) -> NeedsOperator:
    return NeedsOperator(f"Prefect refused it ({status}): {reason}", "correct the field it names")
