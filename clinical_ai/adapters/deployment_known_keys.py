"""Keys that Prefect does not know, at every level that its own models describe.

Prefect ignores such a key: a trigger whose `expect` is misspelled answers to every event.
"""

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, Final, get_args

from clinical_ai.adapters.deployment_entries import Fault, as_list, entries, tables
from clinical_ai.adapters.yaml_lines import KeyPath, Located
from clinical_ai.errors import nearest

# `definitions` holds the anchors that Prefect's documentation shows.
_TOP_EXTRA: Final = {"definitions", "prefect-version"}


def unknown_keys(located: Located) -> list[Fault]:
    """One fault for each, with the nearest name that is known."""
    from prefect.cli.deploy import _models as prefects

    look = _Look(located)
    top = _known(prefects.PrefectYamlModel) | _TOP_EXTRA
    faults = list(look.table((), located.content, top))
    for path, entry in entries(located):
        faults += look.table(path, entry, _known(prefects.DeploymentConfig))
        for key, model in (
            ("work_pool", prefects.WorkPoolConfig),
            ("concurrency_limit", prefects.ConcurrencyLimitSpec),
        ):
            faults += look.table((*path, key), entry.get(key), _known(model))
        for here, schedule in tables(path, entry, "schedules"):
            faults += look.table(here, schedule, _known(prefects.RawScheduleConfig))
        for here, trigger in tables(path, entry, "triggers"):
            faults += look.trigger(here, trigger)
        for here, agreement in tables(path, entry, "sla"):
            faults += look.table(here, agreement, _known_of_agreement(agreement))
    return faults


class _Look:
    """Looks through tables of one file."""

    def __init__(self, located: Located) -> None:
        self._located = located

    def table(self, path: KeyPath, found: Any, known: frozenset[str]) -> Iterator[Fault]:
        for key in found if isinstance(found, Mapping) else ():
            if key not in known:
                line = self._located.line((*path, key))
                yield Fault(line, f"unknown key {str(key)!r:.60}", nearest(str(key), known))

    def trigger(self, path: KeyPath, found: Any, *, inner: bool = False) -> Iterator[Fault]:
        """`inner`: one of a compound or sequence, which makes no automation of its own."""
        from prefect.events.schemas.automations import MetricTriggerQuery

        model = _trigger_model(found, inner=inner)
        if model is None:
            return  # Prefect's own check tells that there is no such type
        yield from self.table(path, found, _known(model))
        yield from self.table((*path, "metric"), found.get("metric"), _known(MetricTriggerQuery))
        for number, part in enumerate(as_list(found.get("triggers"))):
            yield from self.trigger((*path, "triggers", number), part, inner=True)


@cache
def _known(model: Any) -> frozenset[str]:
    return frozenset(field.alias or name for name, field in model.model_fields.items())


def _trigger_model(found: Any, *, inner: bool) -> Any:
    """The model by which Prefect reads this trigger; None when it has none for it."""
    from prefect.events.schemas import automations, deployment_triggers

    if not isinstance(found, Mapping):
        return None
    union: Any = deployment_triggers.DeploymentTriggerTypes
    kind_of = deployment_triggers.deployment_trigger_discriminator
    if inner:
        union, kind_of = automations.TriggerTypes, automations.trigger_discriminator
    members = (get_args(member) for member in get_args(get_args(union)[0]))
    kinds = {tag.tag: model for model, tag in members}
    return kinds.get(str(kind_of(dict(found))))


def _known_of_agreement(found: Mapping[str, Any]) -> frozenset[str]:
    """Keys of the kind of agreement that the keys tell; of every kind when they tell none."""
    from prefect._experimental.sla.objects import ServiceLevelAgreement, SlaTypes

    every = _known(ServiceLevelAgreement)
    kinds = [_known(model) for model in get_args(SlaTypes)]
    told = [kind for kind in kinds if found.keys() & (kind - every)]
    return frozenset().union(*(told or kinds))
