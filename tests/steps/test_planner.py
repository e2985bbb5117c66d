"""Whatever files, people and backends do in turn, registering does what a simple model says."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from clinical_ai.deployment_plan import Action, Wanted
from clinical_ai.errors import ManyFaults, NeedsOperator
from clinical_ai.ports import PrefectApi
from clinical_ai.steps.registration import read_plan, register
from tests.support.fake_prefect import FakePrefect

Row = Mapping[str, Any]
NAMES: Final = ("a", "b", "c")
SCHEMA: Final = {"type": "object", "properties": {"n": {"type": "integer"}}}
DEFAULTS: Final[Row] = {
    "entrypoint": "flows/canary.py:canary",
    "description": "from the flow",
    "parameters": {},
    "paused": False,
    "job_variables": {},
    "work_queue_name": "default",
    "concurrency_limit": None,
}


@dataclass(frozen=True)
class Entry:
    """One deployment of a file: the fields it names, more tags, and its schedules by slug."""

    fields: Row
    tags: frozenset[str]
    schedules: Mapping[str, tuple[int, bool | None]]


@dataclass(frozen=True)
class Known:
    """What the model knows of a deployment on the server."""

    fields: Row
    tags: frozenset[str]
    schedules: Mapping[str, tuple[int, bool]] = field(default_factory=dict)
    running: bool = False


@dataclass(frozen=True)
class Register:
    """The file has these deployments now."""

    entries: Mapping[str, Entry]


@dataclass(frozen=True)
class Edit:
    """Somebody changes fields in the UI, and takes the owner's mark away or leaves it."""

    name: str
    fields: Row
    mark: bool


@dataclass(frozen=True)
class Switch:
    """Somebody switches a schedule in the UI, or adds one of that slug."""

    name: str
    slug: str
    hour: int
    active: bool


@dataclass(frozen=True)
class Backend:
    """A program registers a deployment by plain REST, when there is none of that name."""

    name: str


@dataclass(frozen=True)
class Start:
    """A run of it begins and does not end."""

    name: str


@dataclass(frozen=True)
class Remove:
    """Somebody deletes it in the UI."""

    name: str


class Tick:
    """The scheduler comes by."""


_HOUR = st.integers(5, 7)
_NAME = st.sampled_from(NAMES)
_SLUG = st.sampled_from(["daily", "other"])
_FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "entrypoint": st.sampled_from(["flows/canary.py:canary", "flows/deploy.py:deploy"]),
        "description": st.sampled_from(["one", "two"]),
        "parameters": st.sampled_from([{"n": 1}, {"n": 2}, {}]),
        "paused": st.booleans(),
        "job_variables": st.sampled_from([{"env": {"A": "b"}}, {}]),
        "work_queue_name": st.sampled_from(["default", "quick"]),
        "concurrency_limit": st.sampled_from([None, 1, 2]),
    },
)
_SCHEDULES = st.dictionaries(
    _SLUG, st.tuples(_HOUR, st.sampled_from([None, True, False])), max_size=2
)
_TAGS = st.frozensets(st.sampled_from(["x", "y"]))
_REGISTER = st.builds(
    Register, st.dictionaries(_NAME, st.builds(Entry, _FIELDS, _TAGS, _SCHEDULES), min_size=1)
)
_OTHER = st.one_of(
    st.builds(Edit, _NAME, _FIELDS, st.sampled_from([True, True, True, False])),
    st.builds(Switch, _NAME, _SLUG, _HOUR, st.booleans()),
    st.builds(Backend, _NAME),
    st.builds(Start, _NAME),
    st.builds(Remove, _NAME),
    st.builds(Tick),
)
_STORY = st.lists(st.tuples(st.lists(_OTHER, max_size=3), _REGISTER), min_size=2, max_size=4)


class World:
    """A server and the model of it, with an owner that no other test has."""

    def __init__(self, api: PrefectApi) -> None:
        self.api, self.mark = api, f"owner:{uuid4().hex[:8]}"
        self.flow, self.pool = f"flow-{self.mark[6:]}", f"pool-{self.mark[6:]}"
        self.model: dict[str, Known] = {}
        api.post("/work_pools/", {"name": self.pool, "type": "process"})

    def row(self, name: str) -> Row:
        found = self.api.get(f"/deployments/name/{self.flow}/{name}")
        assert found is not None
        return dict(found)

    def rows(self) -> dict[str, Row]:
        rows = self.api.pages("/deployments/filter", {"flows": {"name": {"any_": [self.flow]}}})
        return {row["name"]: row for row in rows if row["work_pool_name"] == self.pool}

    def due(self) -> dict[str, list[datetime]]:
        """When scheduled runs of each are due; one that stands twice is told twice."""
        by_id = {row["id"]: name for name, row in self.rows().items()}
        wanted = {"deployment_id": {"any_": list(by_id)}}
        wanted["state"] = {"type": {"any_": ["SCHEDULED"]}}
        found: dict[str, list[datetime]] = {name: [] for name in by_id.values()}
        for row in self.api.pages("/flow_runs/filter", {"flow_runs": wanted}) if by_id else ():
            moment = datetime.fromisoformat(row["expected_start_time"].replace("Z", "+00:00"))
            found[by_id[row["deployment_id"]]].append(moment)
        return {name: sorted(each) for name, each in found.items()}

    def wanted(self, name: str, entry: Entry) -> Wanted:
        schedules = [
            {"slug": slug, "schedule": _cron(hour)} | ({} if active is None else {"active": active})
            for slug, (hour, active) in entry.schedules.items()
        ]
        body = self.body(name, {**DEFAULTS, **entry.fields}, [self.mark, *sorted(entry.tags)])
        body["schedules"] = schedules
        return Wanted(f"{self.flow}/{name}", body, frozenset({*entry.fields, "tags", "schedules"}))

    def body(self, name: str, fields: Row, tags: list[str]) -> dict[str, Any]:
        fixed = {"path": None, "pull_steps": [], "parameter_openapi_schema": SCHEMA}
        return {"name": name, "work_pool_name": self.pool, "tags": tags, **fixed, **fields}

    def remove(self) -> None:
        for row in self.rows().values():
            self.api.delete(f"/deployments/{row['id']}")


def _cron(hour: int) -> dict[str, str]:
    return {"cron": f"0 {hour} * * *", "timezone": "UTC"}


def _other(world: World, what: object) -> None:
    """People, backends and the scheduler, on the server and in the model."""
    api, model = world.api, world.model
    name = getattr(what, "name", "")
    known = model.get(name)
    match what:
        case Backend() if known is None:
            flow = api.post("/flows/", {"name": world.flow})
            api.post("/deployments/", {**world.body(name, DEFAULTS, []), "flow_id": flow["id"]})
            model[name] = Known(DEFAULTS, frozenset())
        case Tick():
            for row in world.rows().values():
                api.post(f"/deployments/{row['id']}/schedule")
        case Edit(fields=fields, mark=mark) if known:
            tags = known.tags if mark else known.tags - {world.mark}
            fields = {key: value for key, value in fields.items() if key != "entrypoint"}
            if "work_queue_name" in fields:
                fields = {**fields, "work_pool_name": world.pool}
            api.patch(f"/deployments/{world.row(name)['id']}", {**fields, "tags": sorted(tags)})
            fields = {key: value for key, value in fields.items() if key != "work_pool_name"}
            model[name] = replace(known, fields={**known.fields, **fields}, tags=tags)
        case Switch(slug=slug, hour=hour, active=active) if known:
            row = world.row(name)
            body = {"schedule": _cron(hour), "active": active}
            there = {each["slug"]: each["id"] for each in row["schedules"]}
            if slug in there:
                api.patch(f"/deployments/{row['id']}/schedules/{there[slug]}", body)
            else:
                api.post(f"/deployments/{row['id']}/schedules", [{**body, "slug": slug}])
            schedules = {**known.schedules, slug: (hour, active)}
            model[name] = replace(known, schedules=schedules)
        case Start() if known:
            state = {"state": {"type": "RUNNING"}}
            api.post(f"/deployments/{world.row(name)['id']}/create_flow_run", state)
            model[name] = replace(known, running=True)
        case Remove() if known:
            api.delete(f"/deployments/{world.row(name)['id']}")
            del model[name]


def _after(world: World, entries: Mapping[str, Entry]) -> dict[str, tuple[Action, Known | None]]:
    """The model: what registering does with each deployment, and what it is afterwards."""
    found: dict[str, tuple[Action, Known | None]] = {}
    for name, known in world.model.items():
        if name not in entries and world.mark in known.tags:
            found[name] = (Action.KEPT, known) if known.running else (Action.PRUNE, None)
    for name, entry in entries.items():
        before = world.model.get(name)
        tags = entry.tags | {world.mark}
        there = before or Known(DEFAULTS, tags)
        schedules = dict(there.schedules)
        for slug, (hour, active) in entry.schedules.items():
            was = there.schedules.get(slug, (hour, True))[1]
            schedules[slug] = (hour, was if active is None else active)
        fields = {**there.fields, "entrypoint": DEFAULTS["entrypoint"], **entry.fields}
        now = replace(there, fields=fields, tags=tags, schedules=schedules)
        action = Action.UNCHANGED if now == before else Action.UPDATE
        found[name] = (Action.CREATE if before is None else action, now)
    return found


def _seen(world: World) -> dict[str, Known]:
    return {
        name: Known(
            {
                key: (row.get("global_concurrency_limit") or {}).get("limit")
                if key == "concurrency_limit"
                else row[key]
                for key in DEFAULTS
            },
            frozenset(row["tags"]),
            {
                s["slug"]: (int(s["schedule"]["cron"].split()[1]), s["active"])
                for s in row["schedules"]
            },
            running=world.model[name].running,
        )
        for name, row in world.rows().items()
    }


def _register(world: World, entries: Mapping[str, Entry]) -> None:
    wanted = [world.wanted(name, entry) for name, entry in entries.items()]
    before, due = world.rows(), world.due()
    if any(n in world.model and world.mark not in world.model[n].tags for n in entries):
        with pytest.raises(ManyFaults):
            register(world.api, wanted, "a test", wait=0, confirmed=True)
        assert (world.rows(), world.due()) == (before, due), "refused, and nothing is written"
        return
    expected = _after(world, entries)
    shown = read_plan(world.api, wanted)
    assert (world.rows(), world.due()) == (before, due), "a plan writes nothing"
    steps = register(world.api, wanted, "a test", wait=0, confirmed=True)
    told = {step.full_name.partition("/")[2]: step.action for step in steps}
    assert told == {name: action for name, (action, _) in expected.items()}
    assert [step.action for step in shown] == [step.action for step in steps]
    old = dict(world.model)
    for name, (_, known) in expected.items():
        if known is None:
            del world.model[name]
        else:
            world.model[name] = known
    assert _seen(world) == world.model
    after, now = world.rows(), world.due()
    for name, known in world.model.items():
        action, _ = expected.get(name, (Action.UNCHANGED, None))
        if action in {Action.UNCHANGED, Action.KEPT}:
            assert after[name] == before[name], "and is not touched"
        if known.fields["paused"] and action is Action.UPDATE:
            assert now[name] == [], "a worker would take them"
        elif action is not Action.CREATE and known.schedules == old[name].schedules:
            assert not Counter(due[name]) - Counter(now[name]), "every run at its time"
        hours = Counter(hour for hour, active in known.schedules.values() if active)
        for moment, number in Counter(now[name]).items():
            assert number <= hours[moment.hour], "one run a schedule and time, and no other"
    assert [s.action for s in read_plan(world.api, wanted) if s.writes] == []


def _play(api: PrefectApi, story: list[tuple[list[object], Register]]) -> None:
    world = World(api)
    try:
        for others, file in story:
            for what in others:
                _other(world, what)
            _register(world, file.entries)
        with pytest.raises(NeedsOperator, match="no deployment is wanted"):
            register(world.api, [], "a test", wait=0, confirmed=True)
    finally:
        world.remove()


@settings(deadline=None, max_examples=150)
@given(story=_STORY)
def test_on_the_fake_server_registering_is_as_the_model(
    story: list[tuple[list[object], Register]],
) -> None:
    _play(FakePrefect(), story)


@settings(
    deadline=None,
    max_examples=5,
    derandomize=True,
    database=None,
    phases=[Phase.generate],  # shrinking would take minutes here; the fake is for that
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(story=_STORY)
def test_on_a_real_server_registering_is_as_the_model(
    api: PrefectApi, story: list[tuple[list[object], Register]]
) -> None:
    _play(api, story)
