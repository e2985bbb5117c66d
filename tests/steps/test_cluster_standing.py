"""Rights last as long as what deploy/self needs them for, and no longer."""

from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any, Final

import pytest

from clinical_ai import names
from clinical_ai.change import Change
from clinical_ai.errors import NeedsOperator
from clinical_ai.manifests.kubernetes import desired
from clinical_ai.manifests.kubernetes.metadata import ownership
from clinical_ai.ports_cluster import Ref
from clinical_ai.settings import Settings, parse
from clinical_ai.steps.cluster.inventory import Ownership
from clinical_ai.steps.cluster.reconcile import reconcile
from clinical_ai.steps.cluster.rights import find_standing
from clinical_ai.steps.cluster.rollout import RolloutFailed
from clinical_ai.steps.progress import unheard
from tests.support.deploying import each_of
from tests.support.installed import SPACE, Installed, Prepare
from tests.support.kubernetes_examples import DEVELOPMENT, PRODUCTION

_ROLE: Final = Ref("rbac.authorization.k8s.io/v1", "Role", names.PLATFORM_JOB)
_PLURALS: Final = {
    "Ingress": "ingresses",
    "HTTPRoute": "httproutes",
    "SecretStore": "secretstores",
    "ExternalSecret": "externalsecrets",
}
_GATEWAY: Final = "gateway.networking.k8s.io/v1"
_INGRESS: Final = {"kind": "ingress", "host": "prefect.example.org"}
_ROUTE: Final = {
    "kind": "gateway",
    "host": "prefect.example.org",
    "parents": [{"name": "public"}],
}
_AGENT: Final = {"kind": "vault-agent", "vault-address": "https://vault.example.org:8200"}


def changed(example: Mapping[str, Any], **more: Any) -> Settings:
    raw = deepcopy(dict(example))
    raw["kubernetes"] |= more
    return parse(raw)


CHANGES: Final[dict[str, tuple[str, Settings, Settings, set[str]]]] = {
    "exposed no more": (
        "development",
        changed(DEVELOPMENT, exposure=_INGRESS),
        changed(DEVELOPMENT),
        {"Ingress"},
    ),
    "from Ingress to Gateway": (
        "development",
        changed(DEVELOPMENT, exposure=_INGRESS),
        changed(DEVELOPMENT, exposure=_ROUTE),
        {"Ingress"},
    ),
    "from External Secrets to Vault's agent": (
        "production",
        changed(PRODUCTION),
        changed(PRODUCTION, **{"aws-credentials": _AGENT}),
        {"SecretStore", "ExternalSecret"},
    ),
}
each_change = pytest.mark.parametrize(
    ("example", "before", "after", "gone"), CHANGES.values(), ids=CHANGES
)


@pytest.fixture
def install(prepare: Prepare) -> Callable[[str, Settings], Installed]:
    def make(example: str, settings: Settings) -> Installed:
        site = prepare(example)
        site.fake.serve(_GATEWAY, "HTTPRoute", "httproutes")
        site.settings = settings
        site.install()
        return site

    return make


def bootstrap(site: Installed) -> list[str]:
    """Rights as bootstrap makes them, and binds deploy/self by: what was written."""
    site.fake.denied = set()
    own = Ownership(ownership(SPACE, names.KEPT_BY_BOOTSTRAP), 9, names.RIGHTS_INVENTORY)
    standing = find_standing(site.cluster, site.settings)
    wanted = desired.for_bootstrap(site.settings, make_namespace=True, standing=standing)
    done = reconcile(site.cluster, wanted, own, write=True)
    bind(site)
    return [each.what for each in done.changes if each.wrote]


def bind(site: Installed) -> None:
    """Nothing but what the Role grants is allowed of kinds that come and go."""
    granted = {
        (verb, resource)
        for rule in site.cluster.get(_ROLE)["rules"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    verbs = ("get", "list", "create", "patch", "delete")
    site.fake.denied = {(verb, each) for verb in verbs for each in _PLURALS.values()} - granted


def deploy(site: Installed, *, good: bool = True) -> list[Change]:
    done = site.platform().bring("flow run a-run", write=True, tell=unheard)
    if good:
        site.records.write_objects(each_of(site.stages))
    return done


def kinds(site: Installed) -> set[str]:
    return {kind for kind, _ in site.there()}


@each_change
def test_what_is_wanted_no_more_is_pruned_and_then_its_rights_go(
    install: Callable[[str, Settings], Installed],
    example: str,
    before: Settings,
    after: Settings,
    gone: set[str],
) -> None:
    site = install(example, before)
    site.settings = after
    bootstrap(site)
    assert gone <= kinds(site)
    assert not any(each.differs for each in site.platform().rights())
    deploy(site)
    assert not gone & kinds(site)
    assert f"Role {SPACE}/{names.PLATFORM_JOB}" in bootstrap(site)
    assert not any(each.differs for each in deploy(site))
    assert bootstrap(site) == []
    assert {("get", _PLURALS[kind]) for kind in gone} <= site.fake.denied


@each_change
def test_what_a_change_that_did_not_prove_good_pruned_can_be_put_back(
    install: Callable[[str, Settings], Installed],
    example: str,
    before: Settings,
    after: Settings,
    gone: set[str],
) -> None:
    site = install(example, before)
    site.settings = after
    bootstrap(site)
    deploy(site, good=False)
    assert not gone & kinds(site)
    bootstrap(site)
    site.broken = {names.WORKER}
    worker = Ref("apps/v1", "Deployment", names.WORKER)
    site.cluster.delete(worker, uid=site.cluster.get(worker)["metadata"]["uid"])
    with pytest.raises(RolloutFailed):
        deploy(site, good=False)
    assert gone <= kinds(site)


def test_rights_of_a_new_kind_come_without_those_of_the_old_one_going(
    install: Callable[[str, Settings], Installed],
) -> None:
    """As after an edit in the UI: deploy/self names bootstrap, and that is enough."""
    site = install("development", changed(DEVELOPMENT, exposure=_INGRESS))
    site.settings = changed(DEVELOPMENT, exposure=_ROUTE)
    bind(site)
    with pytest.raises(NeedsOperator, match="httproutes") as refused:
        deploy(site)
    assert "heal it with bootstrap: `clinical-ai up" in refused.value.remedy
    bootstrap(site)
    deploy(site)
    assert ("HTTPRoute", names.SERVER) in site.there()
    assert ("Ingress", names.SERVER) not in site.there()


def test_rights_that_outlive_what_they_were_for_are_told(
    install: Callable[[str, Settings], Installed],
) -> None:
    """As after an edit in the UI, which no bootstrap followed."""
    site = install("development", changed(DEVELOPMENT, exposure=_INGRESS))
    site.settings = changed(DEVELOPMENT)
    bind(site)
    deploy(site)
    [told] = [each for each in site.platform().rights() if each.differs]
    assert told.what == f"Role {SPACE}/{names.PLATFORM_JOB}"
    assert told.detail.startswith("rules; heal it with bootstrap: `clinical-ai up")


def test_a_kind_that_the_cluster_serves_no_more_stands_in_no_ones_way(
    install: Callable[[str, Settings], Installed],
) -> None:
    site = install("development", changed(DEVELOPMENT, exposure=_ROUTE))
    site.settings = changed(DEVELOPMENT)
    site.fake.served = [each for each in site.fake.served if each.kind != "HTTPRoute"]
    bootstrap(site)
    deploy(site)
    assert "HTTPRoute" not in find_standing(site.cluster, site.settings)


def test_what_a_finalizer_keeps_keeps_its_rights(
    install: Callable[[str, Settings], Installed],
) -> None:
    site = install("development", changed(DEVELOPMENT, exposure=_INGRESS))
    kept = {"finalizers": ["x.test/clean"]}
    site.fake.edit("Ingress", names.SERVER, "controller", lambda it: it["metadata"].update(kept))
    site.settings = changed(DEVELOPMENT)
    deploy(site)
    assert "Ingress" in find_standing(site.cluster, site.settings)
    freed: dict[str, list[str]] = {"finalizers": []}
    site.fake.edit("Ingress", names.SERVER, "controller", lambda it: it["metadata"].update(freed))
    deploy(site)
    assert "Ingress" not in find_standing(site.cluster, site.settings)
