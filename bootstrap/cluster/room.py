"""Whether the namespace has room for the platform: its quotas, and its limits of a pod."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any, Final

from bootstrap.cluster import needs
from clinical_ai import names
from clinical_ai.errors import ManyFaults, NeedsOperator
from clinical_ai.pod_amounts import (
    Amounts,
    is_counted,
    most,
    of_container,
    of_live_pod,
    of_pod,
    together,
)
from clinical_ai.ports_cluster import Cluster, Object, Permission, Ref
from clinical_ai.quantities import parsed, told
from clinical_ai.settings import Settings

_SHORT: Final = {  # what a quota may call these
    "cpu": "requests.cpu",
    "memory": "requests.memory",
    "ephemeral-storage": "requests.ephemeral-storage",
}
_JOBS: Final = "jobs.batch"
# Jobs stay for an hour: those of deploy/self and verify/platform, and of a canary from each.
_RUNS: Final = 4
_REMEDY: Final = "raise it, or ask for less below kubernetes.components in settings"
_NOTHING: Final = Fraction(0)


def check_quota(cluster: Cluster, settings: Settings) -> str:
    """Each quota leaves room for what the platform needs beyond what it has.

    ManyFaults with what is short. Whoever may not list quotas is told that nobody looked.
    """
    if not cluster.may(Permission("list", "resourcequotas")):
        return "quotas not looked at (you may not list them)"
    quotas, platform = cluster.find_all("v1", "ResourceQuota"), _Platform(cluster, settings)
    faults = [fault for quota in quotas for fault in _shortages(quota, platform)]
    if faults:
        raise ManyFaults(faults)
    return f"room in {len(quotas)} quota(s)" if quotas else "no quota"


def check_limits(cluster: Cluster, settings: Settings) -> str:
    """Each container and pod of the platform is within its own limits and the namespace's."""
    allowed = cluster.may(Permission("list", "limitranges"))
    found = cluster.find_all("v1", "LimitRange") if allowed else []
    faults = [*_impossible(settings), *(it for each in found for it in _outside(each, settings))]
    if faults:
        raise ManyFaults(faults)
    if not allowed:
        return "limit ranges not looked at (you may not list them)"
    return f"within {len(found)} limit range(s)" if found else ""


@dataclass(frozen=True)
class _Platform:
    """What a platform takes of its namespace, now and at most."""

    cluster: Cluster
    settings: Settings

    @cached_property
    def live(self) -> list[Object]:
        """Its pods."""
        part = {"app.kubernetes.io/part-of": names.PRODUCT}
        return self.cluster.find_all("v1", "Pod", labels=part)

    @cached_property
    def standing(self) -> list[needs.PodSpec]:
        """Pods that are there at once: of all workloads, and a run of deploy/self."""
        pods = needs.pods(self.settings)
        found = [pods[names.PLATFORM_JOB]]
        for each in needs.workloads(self.settings):
            live = self.cluster.find(Ref.of(each)) or each  # replicas belong to whoever scales
            found += [pods[each["metadata"]["name"]]] * live["spec"].get("replicas", 1)
        return found

    def taken(self, quota: Object) -> Amounts:
        """What its pods take of this quota now."""
        return together(of_live_pod(pod) for pod in self.live if is_counted(quota, pod["spec"]))

    def wanted(self, quota: Object) -> Amounts:
        """What its pods take of it at most: all of them, and one more."""
        standing = [of_pod(spec) for spec in self.standing if is_counted(quota, spec)]
        passing = [of_pod(spec) for spec in needs.passing(self.settings) if is_counted(quota, spec)]
        return together([*standing, most(passing)])

    def absent(self, resource: str) -> int:
        """How many objects of this resource are still to come."""
        if resource == _JOBS:
            return self._jobs_to_come()
        wanted = {it for it in needs.refs(self.settings) if needs.resource_of(it) == resource}
        return sum(self.cluster.find(it) is None for it in wanted)

    def _jobs_to_come(self) -> int:
        wanted = {names.MIGRATION: 1, names.PLATFORM_JOB: _RUNS}
        return sum(max(0, number - self._jobs_of(app)) for app, number in wanted.items())

    def _jobs_of(self, app: str) -> int:
        """A namespace may hold thousands of others' Jobs."""
        return len(self.cluster.find_all("batch/v1", "Job", labels={"app": app}))


def _shortages(quota: Object, platform: _Platform) -> Iterator[NeedsOperator]:
    status = quota.get("status") or {}
    hard, used = status.get("hard") or quota["spec"].get("hard", {}), status.get("used") or {}
    wanted, taken = platform.wanted(quota), platform.taken(quota)
    for resource, bound in hard.items():
        counted = _SHORT.get(resource, resource)
        need = wanted.get(counted) or Fraction(platform.absent(resource.removeprefix("count/")))
        left = parsed(bound) - parsed(used.get(resource, "0")) + taken.get(counted, _NOTHING)
        left = max(left, _NOTHING)  # a quota may be lowered below what is used
        if need > left:
            free, whole, more = (told(each, resource) for each in (left, parsed(bound), need))
            name = quota["metadata"]["name"]
            yield NeedsOperator(
                f"the quota {name} leaves {free} of {whole} {resource}, the platform needs {more}",
                _REMEDY,
            )


def _bounded(settings: Settings) -> Iterator[tuple[str, str, Amounts]]:
    """What a limit range bounds: type, name and amounts of each pod and of its containers."""
    for name, spec in needs.pods(settings).items():
        yield "Pod", name, of_pod(spec)
        for each in (*spec.get("initContainers", []), *spec["containers"]):
            yield "Container", f"{each['name']} of {name}", of_container(each)


def _impossible(settings: Settings) -> Iterator[NeedsOperator]:
    """A fault for each request above the limit beside it, which may be the platform's own."""
    for kind, name, amounts in _bounded(settings):
        for each, limit in amounts.items() if kind == "Container" else ():
            side, _, resource = each.partition(".")
            request = amounts[f"requests.{resource}"]  # where none is given, the limit is one
            if side == "limits" and request > limit:
                yield NeedsOperator(
                    f"{name} requests {told(request, resource)} of {resource}, its limit is "
                    f"{told(limit, resource)}",
                    f"give limits.{resource} beside it below kubernetes.components in settings",
                )


def _outside(limits: Object, settings: Settings) -> Iterator[NeedsOperator]:
    """A fault for each bound, with all that does not keep to it."""
    for rule in limits["spec"]["limits"]:
        broken: dict[str, list[str]] = {}
        for kind, name, amounts in _bounded(settings):
            if kind == rule["type"]:
                for bound in _broken(rule, amounts):
                    broken.setdefault(bound, []).append(name)
        for bound, those in broken.items():
            yield NeedsOperator(
                f"the limit range {limits['metadata']['name']} wants {bound} in each "
                f"{rule['type'].lower()}, unlike {', '.join(those)}",
                "change it, or resources below kubernetes.components in settings",
            )


def _broken(rule: Mapping[str, Any], amounts: Amounts) -> Iterator[str]:
    """Bounds of the rule that these amounts break. What is not given gets the rule's default."""
    for name, bound in (rule.get("max") or {}).items():
        if amounts.get(f"limits.{name}", _NOTHING) > parsed(bound):
            yield f"at most {bound} of {name}"
    for name, bound in (rule.get("min") or {}).items():
        if amounts.get(f"requests.{name}", parsed(bound)) < parsed(bound):
            yield f"at least {bound} of {name}"
    for name, bound in (rule.get("maxLimitRequestRatio") or {}).items():
        request, limit = (amounts.get(f"{kind}.{name}") for kind in ("requests", "limits"))
        if request and limit and limit > parsed(bound) * request:
            yield f"a limit of at most {bound} requests of {name}"
