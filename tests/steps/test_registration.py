"""Registering loses no scheduled run, is all or nothing, and touches nobody else's deployments."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import uuid4

import pytest

from clinical_ai import names
from clinical_ai.deployment_plan import SELF, Action, Step, Wanted
from clinical_ai.errors import ManyFaults, NeedsOperator, PlatformError, Transient
from clinical_ai.ports import PrefectApi
from clinical_ai.steps.deployment_writes import apply
from clinical_ai.steps.registration import ensure_deployments, read_plan, register
from clinical_ai.steps.registration_lease import registration_lease
from clinical_ai.steps.registration_report import as_json, lines, rows
from clinical_ai.steps.unresolved import find_unresolved
from tests.support.fake_prefect import FakePrefect

Row = dict[str, Any]
SCHEMA: Final[Row] = {"type": "object", "properties": {"n": {"type": "integer"}}}
DAILY: Final[Row] = {"slug": "daily", "schedule": {"cron": "0 5 * * *", "timezone": "UTC"}}
WEEKLY: Final[Row] = {"slug": "weekly", "schedule": {"interval": 604800.0, "timezone": "UTC"}}


class Site:
    """A server with a pool of its own, and an owner that no other test has."""

    def __init__(self, api: PrefectApi, mark: str = "") -> None:
        self.api = api
        self.mark = mark or uuid4().hex[:8]
        api.post("/work_pools/", {"name": self.pool, "type": "process"})

    @property
    def pool(self) -> str:
        return f"pool-{self.mark}"

    def wanted(self, name: str, **changes: Any) -> Wanted:
        body = {
            "name": name,
            "entrypoint": "flows/canary.py:canary",
            "path": None,
            "description": "first",
            "tags": [f"owner:{self.mark}"],
            "parameters": {"n": 1},
            "parameter_openapi_schema": SCHEMA,
            "enforce_parameter_schema": True,
            "pull_steps": [],
            "work_pool_name": self.pool,
            "work_queue_name": "default",
            "job_variables": {},
            "version": "1",
            "schedules": [DAILY, WEEKLY],
            **changes,
        }
        return Wanted(f"flow-{self.mark}/{name}", body, frozenset(body), place=f"f.yaml:{name}")

    def five(self, **changes: Any) -> list[Wanted]:
        return [self.wanted(name, **changes) for name in "abcde"]

    def register(self, wanted: list[Wanted], **more: Any) -> list[Step]:
        return register(self.api, wanted, "a test", wait=0, **more)

    def row(self, name: str) -> Row:
        found = self.api.get(f"/deployments/name/flow-{self.mark}/{name}")
        assert found is not None
        return dict(found)

    def there(self) -> list[str]:
        rows = self.api.pages("/deployments/filter")
        return sorted(row["name"] for row in rows if f"owner:{self.mark}" in row["tags"])

    def schedule(self, name: str, body: Row | None = None) -> None:
        """What the scheduler does now and then; the tests' server has none."""
        self.api.post(f"/deployments/{self.row(name)['id']}/schedule", body)

    def due(self, name: str) -> list[str]:
        """When its scheduled runs are due, in order; one that stands twice is told twice."""
        wanted = {"deployment_id": {"any_": [self.row(name)["id"]]}}
        wanted["state"] = {"type": {"any_": ["SCHEDULED"]}}
        rows = self.api.pages("/flow_runs/filter", {"flow_runs": wanted})
        return sorted(row["expected_start_time"].replace("Z", "+00:00") for row in rows)


@pytest.fixture
def site(api: PrefectApi) -> Iterator[Site]:
    made = Site(api)
    yield made
    for name in made.there():
        api.delete(f"/deployments/{made.row(name)['id']}")


def comparable(row: Row) -> Row:
    """A row without what the server counts."""
    counted = {"updated", "status", "last_polled", "labels", "updated_by"}
    row = {key: value for key, value in row.items() if key not in counted}
    timing = ("slug", "schedule", "active", "parameters")
    row["schedules"] = sorted(
        ({key: each[key] for key in timing} for each in row["schedules"]),
        key=lambda each: str(each["slug"]),
    )
    if limit := row.get("global_concurrency_limit"):
        row["global_concurrency_limit"] = limit["limit"]
    return row


def test_scheduled_runs_of_a_changed_deployment_are_there_again_at_the_same_times(
    site: Site,
) -> None:
    site.register([site.wanted("a")])
    site.schedule("a")
    before = site.due("a")
    assert len(before) >= 6
    steps = site.register([site.wanted("a", description="second")])
    assert [(step.action, set(step.fields)) for step in steps] == [(Action.UPDATE, {"description"})]
    assert site.row("a")["description"] == "second"
    assert site.due("a") == before
    site.schedule("a")
    assert site.due("a") == before, "and the scheduler adds none"


def test_a_late_run_stays(site: Site) -> None:
    site.register([site.wanted("a", schedules=[WEEKLY])])
    past = datetime.now(UTC) - timedelta(days=8)
    window = {"start_time": past.isoformat(), "end_time": datetime.now(UTC).isoformat()}
    site.schedule("a", {**window, "min_runs": 1, "max_runs": 1})
    site.schedule("a")
    before = site.due("a")
    assert datetime.fromisoformat(before[0]) < datetime.now(UTC)
    site.register([site.wanted("a", schedules=[WEEKLY], description="second")])
    assert site.due("a") == before


def test_an_unchanged_deployment_is_not_touched(site: Site) -> None:
    site.register([site.wanted("a")])
    site.schedule("a")
    before, due = site.row("a"), site.due("a")
    assert [step.action for step in site.register([site.wanted("a")])] == [Action.UNCHANGED]
    assert (site.row("a"), site.due("a")) == (before, due)


@pytest.mark.parametrize("rule", ["FREQ=MINUTELY;INTERVAL=7", "RRULE:FREQ=HOURLY", "FREQ=DAILY"])
def test_a_rule_without_a_start_keeps_the_one_that_the_server_gave_it(
    site: Site, rule: str
) -> None:
    often = {"slug": "often", "schedule": {"rrule": rule, "timezone": "Europe/Berlin"}}
    site.register([site.wanted("a", schedules=[often])])
    site.schedule("a")
    before, due = site.row("a"), site.due("a")
    assert len(due) >= 3
    assert before["schedules"][0]["schedule"]["rrule"].startswith("DTSTART:")
    again = site.wanted("a", schedules=[often])
    assert [step.action for step in site.register([again])] == [Action.UNCHANGED]
    site.register([site.wanted("a", schedules=[often], description="second")])
    assert (site.row("a")["schedules"], site.due("a")) == (before["schedules"], due)


def test_a_rule_that_tells_its_start_or_changes_is_written(site: Site) -> None:
    def often(rule: str) -> list[Row]:
        return [{"slug": "often", "schedule": {"rrule": rule, "timezone": "UTC"}}]

    rules = ("FREQ=DAILY", "FREQ=WEEKLY", "DTSTART:20260101T030000\nFREQ=WEEKLY")
    for rule in rules:
        wanted = site.wanted("a", schedules=often(rule))
        assert site.register([wanted])[0].writes, rule
        assert site.row("a")["schedules"][0]["schedule"]["rrule"].endswith(rule)
        assert not read_plan(site.api, [wanted])[0].writes


def test_a_plan_tells_fields_and_runs_and_writes_nothing(site: Site) -> None:
    site.register([site.wanted("a")])
    site.schedule("a")
    before = site.row("a")
    (step,) = read_plan(
        site.api, [site.wanted("a", parameters={"n": 2}, tags=[f"owner:{site.mark}", "x"])]
    )
    assert step.fields["parameters"] == ({"n": 1}, {"n": 2})
    assert set(step.fields) == {"parameters", "tags"}
    assert step.found is not None
    assert len(step.found.runs.future) == len(site.due("a"))
    assert site.row("a") == before


def test_what_the_file_does_not_name_stays_as_the_operator_set_it(site: Site) -> None:
    wanted = site.wanted("a")
    site.register([wanted])
    edits = {"description": "by hand", "paused": True, "parameters": {"n": 7}, "version": "9"}
    site.api.patch(f"/deployments/{site.row('a')['id']}", edits)
    silent = replace(wanted, named=frozenset({"tags", "schedules"}))
    assert [step.action for step in site.register([silent])] == [Action.UNCHANGED]
    changed = replace(silent, body={**silent.body, "entrypoint": "flows/deploy.py:deploy"})
    site.register([changed])
    row = site.row("a")
    assert row["entrypoint"] == "flows/deploy.py:deploy"
    assert {key: row[key] for key in edits} == edits


def test_when_the_third_of_five_fails_the_others_are_as_before(site: Site) -> None:
    more = {"job_variables": {"env": {"A": "b"}}, "concurrency_limit": 3}
    site.register(site.five(concurrency_options={"collision_strategy": "CANCEL_NEW"}, **more)[:2])
    for name in "ab":
        site.schedule(name)
    before = {name: (comparable(site.row(name)), site.due(name)) for name in "ab"}
    schedules = [DAILY, {**WEEKLY, "parameters": {"n": 5}}, {**DAILY, "slug": "third"}]
    new = site.five(description="second", schedules=schedules, concurrency_limit=None)
    new[2] = site.wanted("c", work_pool_name=f"no-such-{site.mark}")
    with pytest.raises(NeedsOperator):
        site.register(new)
    assert site.there() == ["a", "b"]
    assert {name: (comparable(site.row(name)), site.due(name)) for name in "ab"} == before


MANY: Final = 60  # more than are read and written one by one


def many() -> tuple[Site, list[str]]:
    """A server of its own on which that many are registered and scheduled, and their names."""
    site = Site(FakePrefect())
    names_of = [f"n{number:02}" for number in range(MANY)]
    site.register([site.wanted(name) for name in names_of])
    for name in names_of:
        site.schedule(name)
    return site, names_of


def test_of_many_that_are_written_together_all_are_undone_when_one_fails() -> None:
    site, names_of = many()
    before = {name: (comparable(site.row(name)), site.due(name)) for name in names_of}
    new = [site.wanted(name, description="second") for name in names_of]
    mortal = Mortal(site.api, 44, after=True, error=Transient("gone"))
    with pytest.raises(Transient):
        register(mortal, new, "a test", wait=0)  # type: ignore[arg-type]
    assert mortal.writes > 2 * 40, "about forty were written, and taken back"
    assert {name: (comparable(site.row(name)), site.due(name)) for name in names_of} == before


def test_an_edit_while_many_are_written_is_found_and_all_is_undone() -> None:
    site, names_of = many()
    new = [site.wanted(name, description="second") for name in names_of]
    busy = Busy(site.api, lambda: site.api.patch(f"/deployments/{site.row('n59')['id']}", EDIT))
    with pytest.raises(NeedsOperator, match="n59 was changed by somebody"):
        register(busy, new, "a test", wait=0)
    assert {site.row(name)["description"] for name in names_of[:-1]} == {"first"}
    assert (site.row("n59")["description"], site.row("n59")["version"]) == ("first", "9")


def test_many_changes_are_read_by_page_and_scheduled_when_runs_are_missing() -> None:
    site, names_of = many()
    before = {name: site.due(name) for name in names_of}
    counting = Busy(site.api, lambda: None)
    register(counting, [site.wanted(n, description="second") for n in names_of], "a test", wait=0)
    assert {name: site.due(name) for name in names_of} == before
    asked = [path for _, path in counting.asked]
    assert sum(path == "/deployments/filter" for path in asked) <= 25
    assert sum(path.endswith("/schedule") for path in asked) == MANY
    assert len(asked) < 3 * MANY


EDIT: Final[Row] = {"version": "9"}


class Busy:
    """A server on which somebody does something at the first write to a deployment."""

    def __init__(self, api: PrefectApi, somebody: Callable[[], object]) -> None:
        self._api, self._somebody = api, somebody
        self.asked: list[tuple[str, str]] = []
        self._begun = False

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._api, name)

        def call(path: str, *words: Any) -> Any:
            first = path.startswith("/deployments/") and not self._begun
            self.asked.append((name, path))
            if first and name == "patch":
                self._begun = True
                self._somebody()
            return found(path, *words)

        return call


def test_a_failure_takes_a_changed_field_back_without_new_schedules(site: Site) -> None:
    site.register([site.wanted("a")])
    site.schedule("a")
    before, due = site.row("a"), site.due("a")
    broken = site.wanted("b", work_pool_name=f"no-such-{site.mark}")
    with pytest.raises(NeedsOperator):
        site.register([site.wanted("a", description="second"), broken])
    assert comparable(site.row("a")) == comparable(before)
    ids = [[each["id"] for each in row["schedules"]] for row in (before, site.row("a"))]
    assert ids[0] == ids[1]
    assert site.due("a") == due


def test_what_somebody_edits_meanwhile_is_not_overwritten(site: Site) -> None:
    site.register(site.five()[:2])
    steps = read_plan(site.api, site.five(description="second")[:2])
    site.api.patch(f"/deployments/{site.row('b')['id']}", {"description": "by hand"})
    before = comparable(site.row("a"))
    with pytest.raises(NeedsOperator, match=r"/b was changed by somebody.*register again"):
        apply(site.api, steps, lambda: None)
    assert site.row("b")["description"] == "by hand"
    assert comparable(site.row("a")) == before, "and the other is taken back"


def test_one_that_somebody_makes_meanwhile_is_not_overwritten(site: Site) -> None:
    steps = read_plan(site.api, [site.wanted("a")])
    site.register([site.wanted("a", description="theirs")])
    with pytest.raises(NeedsOperator, match="changed by somebody"):
        apply(site.api, steps, lambda: None)
    assert site.row("a")["description"] == "theirs"


def test_only_ours_is_removed_and_nothing_that_runs(site: Site) -> None:
    site.register(site.five())
    theirs = site.wanted("theirs", tags=["backend"])
    flow = site.api.post("/flows/", {"name": f"flow-{site.mark}"})
    row = site.api.post("/deployments/", {**theirs.body, "flow_id": flow["id"]})
    running = f"/deployments/{site.row('d')['id']}/create_flow_run"
    site.api.post(running, {"state": {"type": "RUNNING"}})
    steps = site.register(site.five()[:3], confirmed=True)
    told = {step.full_name[-1]: step.action for step in steps}
    assert (told["d"], told["e"]) == (Action.KEPT, Action.PRUNE)
    assert site.there() == ["a", "b", "c", "d"]
    assert site.api.get(f"/deployments/{row['id']}") is not None
    site.api.delete(f"/deployments/{row['id']}")


def test_many_at_once_go_only_when_somebody_confirms(site: Site) -> None:
    site.register(site.five())
    with pytest.raises(NeedsOperator, match=r"3 deployments would be removed.*--confirm"):
        site.register(site.five()[:2])
    changes = ensure_deployments(site.api, site.five()[:2], "make up")
    assert site.there() == ["a", "b", "c", "d", "e"], "and an installation keeps them"
    assert sum(f"{names.REGISTER} with confirm_removal" in change.detail for change in changes) == 3
    told = site.api.get(f"/variables/name/{names.REGISTERING}")
    ensure_deployments(site.api, site.five()[:2], "make up")
    assert site.api.get(f"/variables/name/{names.REGISTERING}") == told, "and writes nothing"
    site.register(site.five()[:2], confirmed=True)
    assert site.there() == ["a", "b"]
    with pytest.raises(NeedsOperator, match="no deployment is wanted at all"):
        site.register([], confirmed=True)


def test_one_of_that_name_without_our_mark_is_protected(site: Site) -> None:
    flow = site.api.post("/flows/", {"name": f"flow-{site.mark}"})
    theirs = {**site.wanted("a").body, "tags": ["backend"], "flow_id": flow["id"]}
    row = site.api.post("/deployments/", theirs)
    with pytest.raises(ManyFaults, match=r"f.yaml:a: .*/a: it is on the server without our owner"):
        site.register([site.wanted("a", description="second"), site.wanted("b")])
    assert site.there() == []
    assert site.api.get(f"/deployments/{row['id']}")["description"] == "first"
    site.api.delete(f"/deployments/{row['id']}")


def test_the_second_of_two_is_told_who_registers(site: Site) -> None:
    with (
        registration_lease(site.api, "the nightly run", frozenset(), seconds=0),
        pytest.raises(NeedsOperator, match="another registration is under way: the nightly run"),
    ):
        site.register([site.wanted("a")])
    assert site.there() == []
    site.register([site.wanted("a")])


def test_a_lease_that_ran_out_while_the_machine_slept_ends_the_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The monotonic clock stands still meanwhile."""
    api, wall = FakePrefect(), 1_800_000_000
    monkeypatch.setattr("clinical_ai.waiting.time", lambda: wall)
    with registration_lease(api, "ann", frozenset(), seconds=0) as lease:
        api.leases.clear()
        lease.renew()  # it was taken just now
        wall += 3600
        with pytest.raises(NeedsOperator, match="knows nothing"):
            lease.renew()


def test_the_lease_is_free_after_a_failure(site: Site) -> None:
    broken = [site.wanted("a", work_pool_name=f"no-such-{site.mark}")]
    for _ in range(2):
        with pytest.raises(NeedsOperator, match=r"404|knows nothing"):
            site.register(broken)


def test_a_backends_deployments_are_the_same_to_the_byte_after_many_registrations(
    site: Site,
) -> None:
    flow = site.api.post("/flows/", {"name": f"backend-{site.mark}"})
    theirs = {**site.wanted("t").body, "tags": [], "flow_id": flow["id"]}
    ids = [site.api.post("/deployments/", {**theirs, "name": name})["id"] for name in "xy"]
    for found in ids:
        site.api.post(f"/deployments/{found}/schedule")
    path = {"flow_runs": {"deployment_id": {"any_": ids}}}
    before = [site.api.get(f"/deployments/{found}") for found in ids]
    runs = sorted(row["id"] for row in site.api.pages("/flow_runs/filter", path))
    rounds = 50 if isinstance(site.api, FakePrefect) else 4  # the server takes its time
    for number in range(rounds):
        count = 1 + number % 3
        site.register(site.five(description=str(number))[:count], confirmed=True)
    assert [site.api.get(f"/deployments/{found}") for found in ids] == before
    assert sorted(row["id"] for row in site.api.pages("/flow_runs/filter", path)) == runs
    for found in ids:
        site.api.delete(f"/deployments/{found}")


# Killed, or without an answer, at any write.


class Killed(BaseException):
    """What SIGKILL is to a process: nothing catches it."""


class Mortal:
    """A server whose write number `fatal` fails, before or after it took effect."""

    def __init__(self, api: PrefectApi, fatal: int, *, after: bool, error: BaseException) -> None:
        self._api, self.fatal, self._after, self._error = api, fatal, after, error
        self.writes = 0
        self._lease: str | None = None

    def run_out(self) -> None:
        """The lease that the dead one had is free, as a minute later."""
        if self._lease:
            body = {"lease_id": self._lease}
            self._api.post("/v2/concurrency_limits/decrement-with-lease", body)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._api, name)
        reading = name in {"get", "pages"}

        def call(path: str, *words: Any) -> Any:
            if reading or path.endswith("/filter"):
                return found(path, *words)
            self.writes += 1
            fatal = self.writes == self.fatal
            if fatal and not self._after:
                raise self._error
            answer = found(path, *words)
            if path.endswith("/increment-with-lease"):
                self._lease = answer["lease_id"]
            if path.endswith("/decrement-with-lease"):
                self._lease = None
            if fatal:
                raise self._error
            return answer

        return call


def world() -> tuple[Site, list[Wanted], Callable[[], Any]]:
    """Three that change, one that goes, one that comes, with their scheduled runs."""
    site = Site(FakePrefect(), "same")
    site.register(site.five()[:4])
    for name in "abcd":
        site.schedule(name)
    more = [DAILY, WEEKLY, {**DAILY, "slug": "third"}]
    wanted = [
        site.wanted("a", description="second"),
        site.wanted("b", schedules=more),
        site.wanted("c", work_queue_name="other"),
        site.wanted("e"),
    ]

    def seen() -> Any:
        return {name: (comparable(site.row(name)), site.due(name)) for name in site.there()}

    return site, wanted, seen


def strip(seen: Mapping[str, Any]) -> Any:
    """Without ids, which a deployment made anew has others of."""
    return {
        name: ({key: row[key] for key in row if "id" not in key.split("_")}, due)
        for name, (row, due) in seen.items()
    }


def writes_of_a_registration() -> int:
    site, wanted, _ = world()
    counting = Mortal(site.api, 0, after=False, error=Killed())  # type: ignore[arg-type]
    register(counting, wanted, "a test", confirmed=True, wait=0)  # type: ignore[arg-type]
    return counting.writes


@pytest.mark.parametrize("after", [False, True])
def test_killed_at_any_write_the_next_registration_completes_it(after: bool) -> None:
    site, wanted, seen = world()
    site.register(wanted, confirmed=True)
    site.schedule("e")
    whole = {name: (row["description"], due) for name, (row, due) in seen().items()}
    number = writes_of_a_registration()
    assert number > 10
    for fatal in range(1, number + 1):
        site, wanted, seen = world()
        mortal = Mortal(site.api, fatal, after=after, error=Killed())  # type: ignore[arg-type]
        with pytest.raises(Killed):
            register(mortal, wanted, "a test", confirmed=True, wait=0)  # type: ignore[arg-type]
        mortal.run_out()
        site.register(wanted, confirmed=True)
        site.schedule("e")  # it was not there before
        found = {name: (row["description"], due) for name, (row, due) in seen().items()}
        assert found == whole, fatal


def test_killed_at_any_write_no_scheduled_run_is_missing_after_the_next(site: Site) -> None:
    """No scheduler runs here: it is the next registration that brings them back."""
    site.register(site.five()[:2])
    for name in "ab":
        site.schedule(name)
    before, killed = [site.due(name) for name in "ab"], 0
    for fatal in range(1, 30):
        wanted = [
            site.wanted("a", description=str(fatal)),
            site.wanted("b", parameters={"n": fatal}),
        ]
        mortal = Mortal(site.api, fatal, after=bool(fatal % 2), error=Killed())
        try:
            register(mortal, wanted, "a test", wait=0)  # type: ignore[arg-type]
        except Killed:
            killed += 1
            mortal.run_out()
            site.register(wanted)
        assert [site.due(name) for name in "ab"] == before, fatal
        assert (site.row("a")["description"], site.row("b")["parameters"]["n"]) == (
            str(fatal),
            fatal,
        )
        if killed < fatal:
            break
    assert killed > 5


def test_a_run_that_came_due_after_a_kill_is_late_and_not_lost() -> None:
    site = Site(FakePrefect())
    every = {"slug": "often", "schedule": {"interval": 120.0, "timezone": "UTC"}}
    site.register([site.wanted("a", schedules=[every])])
    site.schedule("a")
    wanted = [site.wanted("a", schedules=[every], description="second")]
    mortal = Mortal(site.api, 3, after=True, error=Killed())  # lease, who has it, deployment
    with pytest.raises(Killed):
        register(mortal, wanted, "a test", wait=0)  # type: ignore[arg-type]
    assert site.due("a") == [], "the write has dropped them"
    began = datetime.now(UTC) - timedelta(seconds=300)
    told = dict(site.api.get(f"/variables/name/{names.REGISTERING}") or {})["value"]
    body = {"name": names.REGISTERING, "value": {**told, "since": began.isoformat()}}
    site.api.patch(f"/variables/name/{names.REGISTERING}", body)
    mortal.run_out()
    site.register(wanted)
    due = [datetime.fromisoformat(text) for text in site.due("a")]
    late = [moment for moment in due if moment < datetime.now(UTC)]
    assert len(late) in {2, 3}
    assert min(late) >= began
    assert len(due) > len(late)


@pytest.mark.parametrize("error", [Transient("away"), NeedsOperator("no", "act")])
@pytest.mark.parametrize("after", [False, True])
def test_a_write_that_fails_leaves_all_as_before(error: PlatformError, after: bool) -> None:
    site, wanted, seen = world()
    before = strip(seen())
    number = writes_of_a_registration()
    undone = 0
    for fatal in range(1, number + 1):
        site, wanted, seen = world()
        mortal = Mortal(site.api, fatal, after=after, error=error)  # type: ignore[arg-type]
        try:
            register(mortal, wanted, "a test", confirmed=True, wait=0)  # type: ignore[arg-type]
        except PlatformError:
            pruning = "d" not in site.there() or "e" in site.there()
            if not pruning:
                assert strip(seen()) == before, fatal
                undone += 1
    assert undone > 8


def test_deployments_of_others_that_can_not_run_are_told_and_not_written(site: Site) -> None:
    flow = site.api.post("/flows/", {"name": f"backend-{site.mark}"})
    body = {**site.wanted("t").body, "tags": [], "flow_id": flow["id"]}
    other = f"other-{site.mark}"
    site.api.post("/work_pools/", {"name": other, "type": "process"})
    fine = site.api.post("/deployments/", {**body, "name": "fine"})
    stray = site.api.post("/deployments/", {**body, "name": "stray", "work_pool_name": other})
    site.api.post(f"/deployments/{stray['id']}/schedule")
    site.api.delete(f"/work_pools/{other}")
    before = [site.api.get(f"/deployments/{row['id']}") for row in (fine, stray)]

    def code(row: Mapping[str, Any]) -> str:
        return "there is no f.py" if row["name"] == "fine" else ""

    found = find_unresolved(site.api, frozenset([site.mark]), code)
    told = {each.full_name.partition("/")[2]: each for each in found if site.mark in each.full_name}
    assert told["fine"].reason == "there is no f.py"
    assert "does not exist" in told["stray"].reason
    assert told["stray"].schedules == ("0 5 * * * UTC", "every 604800.0 s")
    assert told["stray"].next_run
    assert "next " in str(told["stray"])
    assert [site.api.get(f"/deployments/{row['id']}") for row in (fine, stray)] == before
    for row in (fine, stray):
        site.api.delete(f"/deployments/{row['id']}")


# What others do beside a registration.


def all_runs(site: Site, name: str) -> list[Row]:
    wanted = {"flow_runs": {"deployment_id": {"any_": [site.row(name)["id"]]}}}
    return list(site.api.pages("/flow_runs/filter", wanted))


def runs_of(site: Site, name: str) -> list[tuple[str, str, str]]:
    """Of each run: the time of its schedule, the one at which it is due, and its state."""
    rows = all_runs(site, name)
    assert all(row["auto_scheduled"] for row in rows)
    return sorted(
        (
            row["expected_start_time"],
            row.get("next_scheduled_start_time") or row["expected_start_time"],
            row["state_name"],
        )
        for row in rows
    )


def first_run(site: Site, name: str) -> Row:
    return min(all_runs(site, name), key=lambda row: str(row["expected_start_time"]))


def broken(site: Site) -> Wanted:
    return site.wanted("zz", work_pool_name=f"no-such-{site.mark}")


def trigger(name: str, **more: Any) -> Row:
    event = {"type": "event", "expect": ["x.y"], "posture": "Reactive", "threshold": 1, "within": 0}
    run = {"type": "run-deployment", "source": "selected", "deployment_id": SELF}
    return {"name": name, "description": "", "trigger": event, "actions": [run], **more}


def triggered(site: Site, *triggers: Row) -> Wanted:
    wanted = site.wanted("a")
    return replace(wanted, triggers=triggers, named=wanted.named | {"triggers"})


def automations(site: Site) -> list[Row]:
    key = site.row("a")["id"]
    rows = site.api.pages("/automations/filter")
    return [dict(r) for r in rows if any(a.get("deployment_id") == key for a in r["actions"])]


@pytest.mark.parametrize("state", ["CANCELLED", "PENDING"])
def test_a_run_that_was_cancelled_or_began_does_not_come_twice_after_an_undo(
    site: Site, state: str
) -> None:
    site.register([site.wanted("a", schedules=[DAILY])])
    site.schedule("a")
    new = {"state": {"type": state, "name": state.capitalize()}, "force": True}
    site.api.post(f"/flow_runs/{first_run(site, 'a')['id']}/set_state", new)
    before = runs_of(site, "a")
    third = {**DAILY, "slug": "third", "schedule": {"cron": "0 6 * * *", "timezone": "UTC"}}
    changed = {**DAILY, "parameters": {"n": 3}}
    with pytest.raises(PlatformError):
        site.register([site.wanted("a", schedules=[changed, third]), broken(site)])
    assert runs_of(site, "a") == before
    site.register([site.wanted("a", schedules=[changed])])
    assert runs_of(site, "a") == before


def test_a_run_that_was_put_off_by_hand_is_due_then(site: Site) -> None:
    site.register([site.wanted("a", schedules=[DAILY])])
    site.schedule("a")
    run = first_run(site, "a")
    due = datetime.fromisoformat(run["expected_start_time"].replace("Z", "+00:00"))
    details = {"scheduled_time": (due + timedelta(hours=3)).isoformat()}
    state = {"type": "SCHEDULED", "name": "Scheduled", "state_details": details}
    site.api.post(f"/flow_runs/{run['id']}/set_state", {"state": state, "force": True})
    before = runs_of(site, "a")
    site.register([site.wanted("a", schedules=[DAILY], description="second")])
    assert runs_of(site, "a") == before


def test_runs_beyond_those_that_the_scheduler_would_make_are_kept(site: Site) -> None:
    """Somebody had ten made; the server makes three by itself."""
    site.register([site.wanted("a", schedules=[DAILY])])
    start = datetime.now(UTC)
    window = {"start_time": start.isoformat(), "end_time": (start + timedelta(days=20)).isoformat()}
    site.schedule("a", {**window, "min_runs": 10, "max_runs": 10})
    before = site.due("a")
    site.register([site.wanted("a", schedules=[DAILY], description="second")])
    assert site.due("a") == before


def test_runs_that_the_scheduler_makes_between_plan_and_write_are_kept(site: Site) -> None:
    site.register([site.wanted("a")])
    steps = read_plan(site.api, [site.wanted("a", description="second")])
    site.schedule("a")
    before = site.due("a")
    apply(site.api, steps, lambda: None)
    assert site.due("a") == before


def test_after_a_kill_another_file_loses_no_run_either(site: Site) -> None:
    site.register([site.wanted("a")])
    site.schedule("a")
    before = site.due("a")
    mortal = Mortal(site.api, 3, after=True, error=Killed())
    with pytest.raises(Killed):
        register(mortal, [site.wanted("a", description="second")], "a test", wait=0)  # type: ignore[arg-type]
    mortal.run_out()
    site.register([site.wanted("a", description="third")])
    assert site.due("a") == before


def test_a_schedule_of_the_ui_without_a_slug_stays_beside_a_renamed_one(site: Site) -> None:
    old = {**DAILY, "slug": "old"}
    site.register([site.wanted("a", schedules=[old])])
    key, (schedule,) = site.row("a")["id"], site.row("a")["schedules"]
    site.api.patch(f"/deployments/{key}/schedules/{schedule['id']}", {"active": False})
    ui = {"schedule": {"cron": "0 9 * * *", "timezone": "UTC"}, "active": True}
    site.api.post(f"/deployments/{key}/schedules", [ui])
    new = [site.wanted("a", schedules=[{**old, "slug": "new", "replaces": "old"}])]
    site.register(new)
    there = {(each["slug"], each["active"]) for each in site.row("a")["schedules"]}
    assert there == {("new", False), (None, True)}
    assert [step.action for step in site.register(new)] == [Action.UNCHANGED]


def test_a_deployment_that_the_file_pauses_has_no_runs_to_take(site: Site) -> None:
    site.register([site.wanted("a")])
    site.schedule("a")
    (step,) = site.register([site.wanted("a", paused=True)])
    assert site.row("a")["paused"]
    assert site.due("a") == []
    assert any("go: it is paused" in line for line in lines([step]))


def test_a_plan_shows_what_differs_of_long_values_and_no_secret_that_somebody_wrote() -> None:
    canary, text = "hunter2", "a" * 300
    fields = {
        "job_variables": ({"env": {"DB_PASSWORD": canary, "A": "1"}}, {"env": {"A": "2"}}),
        "parameters": (
            {"query": f"{text}x", "url": f"https://u:{canary}@x"},
            {"query": f"{text}y", "url": "https://x"},
        ),
        "pull_steps": ([{"token": canary}], []),
    }
    step = Step(Action.UPDATE, "flow/a", fields)
    _, *told = lines([step])
    assert told[0].strip() == "job_variables.env.DB_PASSWORD: (hidden) goes"
    assert told[1].strip() == 'job_variables.env.A: "1" becomes "2"'
    old, new = told[2].strip().removeprefix("parameters.query: ").split(" becomes ")
    assert (old, new) == (f'...{"a" * 40}x"', f'...{"a" * 40}y"')
    assert told[3].strip() == 'parameters.url: "https://***@x" becomes "https://x"'
    assert told[4].strip() == "pull_steps: ... goes"
    whole = json.dumps(as_json([step], [], []))
    assert canary not in f"{told}{rows([step])}{whole}"
    assert "DB_PASSWORD" in whole


def test_of_a_schedule_what_is_written_is_shown(site: Site) -> None:
    site.register([site.wanted("a")])
    later = {**DAILY, "schedule": {**DAILY["schedule"], "cron": "0 6 * * *"}}
    monthly = {"slug": "monthly", "schedule": {"cron": "0 5 1 * *", "timezone": "UTC"}}
    (step,) = site.register([site.wanted("a", schedules=[later, WEEKLY, monthly])])
    told = {row["field"]: (row["old"], row["new"]) for row in rows([step])}
    assert told.pop("schedules.daily.schedule.cron") == ('"0 5 * * *"', '"0 6 * * *"')
    old, new = told.pop("schedules.monthly")
    assert (old, json.loads(new)["schedule"]["cron"]) == ("", "0 5 1 * *")
    assert told == {}
    hourly = {"slug": "daily", "schedule": {"interval": 3600.0, "timezone": "UTC"}}
    (step,) = site.register([site.wanted("a", schedules=[hourly, WEEKLY, monthly])])
    told = {row["field"]: (row["old"], row["new"]) for row in rows([step])}
    assert told["schedules.daily.schedule.cron"] == ('"0 6 * * *"', "")
    assert told["schedules.daily.schedule.interval"] == ("", "3600.0")


def test_an_undo_leaves_what_somebody_edited_meanwhile_and_names_it(site: Site) -> None:
    site.register(site.five()[:2])
    key = site.row("a")["id"]

    class Editing:
        def __getattr__(self, name: str) -> Any:
            def call(path: str, *words: Any) -> Any:
                if name == "patch" and path.endswith(site.row("b")["id"]):
                    site.api.patch(f"/deployments/{key}", {"paused": True})
                    raise Transient("away")
                return getattr(site.api, name)(path, *words)

            return call

    second = site.five(description="second")[:2]
    with pytest.raises(NeedsOperator, match=r"/a \(it was changed by somebody since"):
        register(Editing(), second, "a test", wait=0)  # type: ignore[arg-type]
    assert (site.row("a")["paused"], site.row("a")["description"]) == (True, "second")
    assert site.row("b")["description"] == "first"


def test_an_automation_of_an_operators_own_is_neither_doubled_nor_taken(site: Site) -> None:
    site.register([triggered(site, trigger("ours"))])
    key = site.row("a")["id"]
    theirs = json.loads(json.dumps(trigger("theirs")).replace(SELF, key))
    site.api.post("/automations/", theirs)
    bad = trigger("bad", trigger={"type": "nonsense"})
    with pytest.raises(PlatformError):
        site.register([triggered(site, trigger("ours", description="new"), bad), broken(site)])
    assert sorted(row["name"] for row in automations(site)) == ["ours", "theirs"]
    assert {row["description"] for row in automations(site)} == {""}
    for row in automations(site):
        site.api.delete(f"/automations/{row['id']}")


def test_a_condition_that_somebody_added_to_an_automation_goes(site: Site) -> None:
    wanted = [triggered(site, trigger("ours"))]
    site.register(wanted)
    assert not any(step.writes for step in read_plan(site.api, wanted))
    (row,) = automations(site)
    narrow = {**row["trigger"], "match_related": {"prefect.resource.role": "nobody"}}
    body = json.loads(json.dumps(trigger("ours")).replace(SELF, site.row("a")["id"]))
    site.api.put(f"/automations/{row['id']}", {**body, "trigger": narrow})
    site.register(wanted)
    (row,) = automations(site)
    assert not row["trigger"].get("match_related")
    site.api.delete(f"/automations/{row['id']}")


def test_an_automation_that_is_edited_meanwhile_is_not_overwritten(site: Site) -> None:
    site.register([triggered(site, trigger("ours"))])
    steps = read_plan(site.api, [triggered(site, trigger("ours", description="new"))])
    (row,) = automations(site)
    site.api.patch(f"/automations/{row['id']}", {"enabled": False})
    with pytest.raises(NeedsOperator, match="was changed by somebody"):
        apply(site.api, steps, lambda: None)
    site.register([triggered(site, trigger("ours", description="new"))])
    (row,) = automations(site)
    assert (row["enabled"], row["description"]) == (False, "new"), "off, as somebody left it"
    site.api.delete(f"/automations/{row['id']}")


def test_one_with_two_marks_goes_by_neither_owners_file(site: Site) -> None:
    site.register([site.wanted("a", tags=[f"owner:{site.mark}", f"owner:x{site.mark}"])])
    steps = site.register([site.wanted("b")], confirmed=True)
    assert {step.action for step in steps} == {Action.CREATE, Action.KEPT}
    assert site.there() == ["a", "b"]


def test_nothing_is_removed_when_one_of_those_that_go_was_edited(site: Site) -> None:
    site.register(site.five())
    steps = read_plan(site.api, [site.wanted("a", description="new")])
    site.api.patch(f"/deployments/{site.row('d')['id']}", {"description": "by hand"})
    with pytest.raises(NeedsOperator, match=r"/d was changed by somebody"):
        apply(site.api, steps, lambda: None)
    assert site.there() == list("abcde")
    assert site.row("a")["description"] == "first"


def test_names_that_an_address_would_cut_are_found(site: Site) -> None:
    wanted = [site.wanted(name) for name in ("a", "a#1", "a?b")]
    site.register(wanted)
    assert {step.action for step in site.register(wanted)} == {Action.UNCHANGED}
    with pytest.raises(PlatformError):
        site.register([*wanted, site.wanted("q#1"), broken(site)])
    assert site.there() == ["a", "a#1", "a?b"]
    for row in site.api.pages("/deployments/filter"):
        if row["work_pool_name"] == site.pool:
            site.api.delete(f"/deployments/{row['id']}")


@pytest.mark.parametrize("since", ["yesterday", None, "2026-01-01T00:00:00"])
def test_a_variable_or_limit_that_somebody_edited_stops_nothing(
    site: Site, since: str | None
) -> None:
    site.register([site.wanted("a")])
    value = {"who": "x", "since": since, "owners": [], "ended": False}
    body = {"name": names.REGISTERING, "value": value}
    site.api.patch(f"/variables/name/{names.REGISTERING}", body)
    path = f"/v2/concurrency_limits/{names.REGISTRATION}"
    site.api.patch(path, {"limit": 3, "active": False})
    site.register([site.wanted("a", description=f"{since}")])
    assert (site.api.get(path)["limit"], site.api.get(path)["active"]) == (1, True)


def test_when_the_server_goes_away_in_the_middle_it_is_told_what_stands() -> None:
    site = Site(FakePrefect())
    site.register(site.five())

    class Falling(Mortal):
        def __getattr__(self, name: str) -> Any:
            if self.writes == 6:
                self._api.down = True  # type: ignore[attr-defined]
            return super().__getattr__(name)

    falling = Falling(site.api, 0, after=False, error=Killed())
    with pytest.raises(NeedsOperator, match=r"could not be put back: .*/a "):
        register(falling, site.five(description="second"), "a test", wait=0)  # type: ignore[arg-type]
