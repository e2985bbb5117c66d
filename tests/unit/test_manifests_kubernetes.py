"""What settings and a release become in a cluster: golden files, schemas, and rules over all."""

import json
from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as some

from clinical_ai import names
from clinical_ai.addresses import bypasses_proxy
from clinical_ai.manifests.kubernetes import (
    configuration,
    credentials,
    desired,
    environment,
    migration,
    pools,
)
from clinical_ai.manifests.kubernetes.metadata import cluster_of, ownership
from clinical_ai.settings import Settings, parse
from tests.support import kubernetes_examples as examples
from tests.support.golden import as_yaml, same_as_golden
from tests.support.kubernetes_examples import ALL, RELEASE, objects, pod_templates, settings_of
from tests.support.object_schema import check

every_example = pytest.mark.parametrize("settings", [settings_of(name) for name in ALL], ids=ALL)


class Readable(yaml.SafeDumper):
    """Texts of several lines as such."""


Readable.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar(
        "tag:yaml.org,2002:str", text, style="|" if "\n" in text else None
    ),
)


def documents(several: list[dict[str, Any]]) -> str:
    plain = json.loads(json.dumps(several))  # no aliases for what is shared
    text: str = yaml.dump_all(plain, Dumper=Readable, sort_keys=False, width=1000)
    return text


@pytest.mark.parametrize("name", ALL)
def test_objects_are_the_golden_ones(name: str) -> None:
    same_as_golden(f"kubernetes-{name}.yaml", documents(objects(settings_of(name))))


@pytest.mark.parametrize("name", ["production", "vault-agent"])
def test_pools_are_the_golden_ones(name: str) -> None:
    found = pools.pools(settings_of(name), RELEASE, examples.TEMPLATE)
    same_as_golden(f"kubernetes-pools-{name}.yaml", as_yaml(json.loads(json.dumps(found))))


def test_the_same_input_gives_the_same_objects_in_the_same_order() -> None:
    once, again = (documents(objects(settings_of("production"))) for _ in range(2))
    assert once == again


def of_a_schema(settings: Settings) -> Iterator[dict[str, Any]]:
    for each in objects(settings):
        if "external-secrets" not in each["apiVersion"] and each["kind"] != "HTTPRoute":
            yield each
    run = json.loads(json.dumps(pools.job(settings, RELEASE)))
    del run["spec"]["template"]["spec"]["parallelism"]  # the worker's own, the API drops them
    del run["spec"]["template"]["spec"]["completions"]
    del run["metadata"]["generateName"]
    run["metadata"]["name"] = "run"
    run["spec"]["ttlSecondsAfterFinished"] = 60
    run["spec"]["template"]["spec"]["containers"][0]["args"] = ["true"]
    yield run


@pytest.mark.parametrize("version", ["1.25", "1.30", "1.34", "1.37"])
@every_example
def test_objects_have_no_field_that_a_cluster_does_not_know(
    settings: Settings, version: str
) -> None:
    for each in of_a_schema(settings):
        check(each, version)


_PEERS = some.fixed_dictionaries(
    {"ports": some.lists(some.integers(1, 65_535), min_size=1, max_size=2)},
    optional={
        "pod-labels": some.just({"example.org/app": "a_b"}),
        "namespace-labels": some.just({"team": "data"}),
        "cidrs": some.lists(some.sampled_from(["10.0.0.0/8", "0.0.0.0/0", "fd00::/8"]), max_size=2),
    },
).map(lambda peer: {"namespace": "other"} | peer)
_NEEDED = ("database", "dns", "api-server")
_CLUSTERS = some.fixed_dictionaries(
    {"registry": some.sampled_from(["r", "registry.example.org:5000/a/b"])},
    optional={
        "namespace": some.sampled_from(["a", "a-" * 20 + "b", "7"]),
        "image-pull-secrets": some.lists(some.sampled_from(["a", "b.c"]), max_size=2),
        "lease-claim": some.just("leases"),
        "ca-config-map": some.just("trust"),
        "worker-replicas": some.integers(1, 100),
        "clients": some.dictionaries(
            some.sampled_from(["backend", "lab"]),
            some.sampled_from([{"namespace": "a"}, {"cidrs": ["10.0.0.0/8"], "ports": ["health"]}]),
        ),
        "egress": some.fixed_dictionaries(
            {},
            optional={
                key: some.lists(_PEERS, min_size=key in _NEEDED, max_size=2)
                for key in ("storage", "sources", "registry", *_NEEDED)
            },
        ),
        "components": some.dictionaries(
            some.sampled_from(["server", "worker", "platform-worker", "jobs", "migration"]),
            some.sampled_from(
                [
                    {"environment": {"A": "secret:x.y/z", "TMPDIR": "/other"}},
                    {"tolerations": [{"operator": "Exists"}], "priority-class": "high"},
                    {"resources": {"requests": {"cpu": "0.5"}, "limits": {"memory": "3Gi"}}},
                    {"annotations": {"example.org/a": "any text: {}"}},
                ]
            ),
        ),
    },
)


@given(
    cluster=_CLUSTERS,
    auth=some.sampled_from(["basic", "none"]),
    drain=some.integers(0, 86_400),
    proxy=some.sampled_from([None, "http://proxy.example.org:3128", "http://10.0.0.1:8080"]),
)
@hypothesis.settings(max_examples=20, deadline=None)
def test_whatever_settings_say_becomes_objects_that_a_cluster_accepts(
    cluster: dict[str, Any], auth: str, drain: int, proxy: str | None
) -> None:
    given_settings = {"auth": auth, "drain-seconds": drain, "https-proxy": proxy}
    for each in of_a_schema(parse({**given_settings, "kubernetes": cluster})):
        check(each)


@pytest.mark.parametrize("end", ["", ".clinical-ai", ".clinical-ai.svc"])
def test_no_spelling_of_the_server_is_reached_through_a_proxy(end: str) -> None:
    host = f"clinical-ai-prefect-server{end}"
    given = {"prefect-api-url": f"http://{host}:4200/api", "http-proxy": "http://proxy:3128"}
    made = parse({**given, "kubernetes": {"registry": "r"}})
    [past] = [each["value"] for each in environment.python(made) if each["name"] == "NO_PROXY"]
    assert bypasses_proxy(host, past)


@every_example
def test_every_object_says_who_keeps_it(settings: Settings) -> None:
    kept = {names.KEPT_BY_BOOTSTRAP: set(), names.KEPT_BY_DEPLOY: set()}  # type: ignore[var-annotated]
    for each in objects(settings):
        labels = each["metadata"]["labels"]
        assert labels["app.kubernetes.io/managed-by"] == names.PRODUCT
        kept[labels[names.OWNER_LABEL]].add(each["kind"])
    needs_more_rights = {"Namespace", "ServiceAccount", "Role", "RoleBinding"}
    assert kept[names.KEPT_BY_BOOTSTRAP] == needs_more_rights
    assert not kept[names.KEPT_BY_DEPLOY] & needs_more_rights


@every_example
def test_names_are_unique_and_short_enough_to_be_labels(settings: Settings) -> None:
    found = [(each["kind"], each["metadata"]["name"]) for each in objects(settings)]
    assert len(found) == len(set(found))
    assert all(len(name) <= 63 for _, name in found)


@every_example
def test_everything_is_in_the_namespace_of_the_settings(settings: Settings) -> None:
    assert settings.kubernetes
    spaces = {each["metadata"].get("namespace") for each in objects(settings)}
    assert spaces == {None, settings.kubernetes.namespace}


@every_example
def test_selectors_use_app_alone_and_match_pods(settings: Settings) -> None:
    pods = {name: template["metadata"]["labels"] for name, template in pod_templates(settings)}
    for each in objects(settings):
        match each["kind"]:
            case "Service":
                chosen = each["spec"]["selector"]
            case "Deployment" | "PodDisruptionBudget":
                chosen = each["spec"]["selector"]["matchLabels"]
            case _:
                continue
        assert chosen == {"app": each["metadata"]["name"]}
        assert pods[each["metadata"]["name"]].items() >= chosen.items()


@every_example
def test_services_lead_to_ports_that_the_container_names(settings: Settings) -> None:
    pods = dict(pod_templates(settings))
    services = [each for each in objects(settings) if each["kind"] == "Service"]
    assert [each["metadata"]["name"] for each in services] == [
        *(names.SERVER, names.PLATFORM_WORKER, names.WORKER)
    ]
    for each in services:
        [port] = each["spec"]["ports"]
        container = pods[each["metadata"]["name"]]["spec"]["containers"][0]
        named = {found["name"]: found["containerPort"] for found in container["ports"]}
        assert named[port["targetPort"]] == port["port"]


def test_the_guides_names_are_kept() -> None:
    found = {
        (each["kind"], each["metadata"]["name"]): each for each in objects(parse(ALL["production"]))
    }
    worker = found["Deployment", "clinical-ai-prefect-worker"]
    assert worker["spec"]["template"]["spec"]["containers"][0]["name"] == "prefect-worker"
    assert ("Deployment", "clinical-ai-prefect-server") in found
    assert ("ExternalSecret", "clinical-ai-aws-credentials") in found
    assert found["Service", "clinical-ai-prefect-server"]["spec"]["ports"][0]["port"] == 4200
    looked_for = {
        each["name"] for each in worker["spec"]["template"]["spec"]["containers"][0]["env"]
    }
    assert looked_for >= {"DATABASE_URL", "PREFECT_API_URL", "STORAGE_ENVIRONMENT"}


def test_the_config_map_has_the_guides_keys() -> None:
    assert configuration.values(parse(ALL["production"])) == {
        "storage-environment": "production",
        "aws-region": "eu-central-1",
        "prefect-api-url": "http://clinical-ai-prefect-server.clinical-ai.svc.cluster.local:4200/api",
    }
    assert configuration.values(parse(ALL["development"])) == {
        "storage-environment": "development",
        "minio-endpoint": "http://minio.clinical-ai.svc.cluster.local:9000",
        "prefect-api-url": "http://clinical-ai-prefect-server.clinical-ai.svc.cluster.local:4200/api",
    }


def test_a_changed_value_of_the_config_map_replaces_the_pods_that_read_it() -> None:
    def told(region: str) -> set[str]:
        found = pod_templates(parse(ALL["production"] | {"aws-region": region}))
        return {
            pod["metadata"]["annotations"][names.CONFIGURATION_ANNOTATION]
            for _, pod in found
            if "configMapKeyRef" in json.dumps(pod)
        }

    assert len(told("eu-west-1")) == 1
    assert told("eu-west-1") != told("us-east-1")


def test_what_does_not_read_the_config_map_is_not_replaced_when_it_changes() -> None:
    def pods(region: str) -> dict[str, Any]:
        return dict(pod_templates(parse(ALL["production"] | {"aws-region": region})))

    assert pods("eu-west-1")[names.SERVER] == pods("us-east-1")[names.SERVER]


def test_replicas_are_those_of_the_settings_for_the_clinical_worker_alone() -> None:
    found = desired.for_deploy(settings_of("production"), RELEASE)
    assert {
        each["metadata"]["name"]: each["spec"]["replicas"]
        for each in found
        if each["kind"] == "Deployment"
    } == {names.SERVER: 1, names.WORKER: 2, names.PLATFORM_WORKER: 1}


@every_example
def test_what_deploy_self_keeps_has_the_labels_that_pruning_asks_for(settings: Settings) -> None:
    for each in objects(settings):
        ours = ownership(cluster_of(settings).namespace)
        kept = each["metadata"]["labels"].items() >= ours.items()
        assert kept == (each["metadata"]["labels"][names.OWNER_LABEL] == names.KEPT_BY_DEPLOY)


@every_example
def test_no_object_is_of_two_owners_or_of_two_namespaces(settings: Settings) -> None:
    space = cluster_of(settings).namespace
    owners = [
        ownership(place, owner).items()
        for place in (space, f"{space}-2")
        for owner in (names.KEPT_BY_BOOTSTRAP, names.KEPT_BY_DEPLOY)
    ]
    for each in objects(settings):
        labels = each["metadata"]["labels"].items()
        assert [it <= labels for it in owners[2:]] == [False, False]
        assert sum(it <= labels for it in owners) == 1


def test_a_namespace_that_is_there_already_is_left_as_it_is() -> None:
    settings = settings_of("production")
    kinds = {each["kind"] for each in desired.for_bootstrap(settings, make_namespace=False)}
    assert "Namespace" not in kinds


def test_a_migration_is_another_job_when_anything_of_it_is_another() -> None:
    def name(**changed: Any) -> str:
        settings = parse(ALL["production"] | changed)
        found: str = migration.migration(settings, RELEASE)["metadata"]["name"]
        return found

    assert name() == name()
    assert name().startswith(f"clinical-ai-prefect-migration-{RELEASE.content}-")
    assert name(**{"log-level": "DEBUG"}) != name()


def test_a_migration_fails_hard_and_never_runs_twice_by_itself() -> None:
    found = migration.migration(settings_of("development"), RELEASE)["spec"]
    assert found["backoffLimit"] == 0
    assert found["template"]["spec"]["restartPolicy"] == "Never"
    assert "activeDeadlineSeconds" in found


def test_stages_begin_with_what_the_next_ones_read() -> None:
    found = list(desired.stages(settings_of("production"), RELEASE))
    assert found[:4] == ["configuration", "secrets", "network", "server"]
    assert found[-2:] == ["platform worker", "worker"]


def test_external_secrets_fill_the_keys_that_pods_refer_to() -> None:
    settings = settings_of("production")
    store, secret = credentials.external_secrets(settings)
    assert secret["spec"]["secretStoreRef"]["name"] == store["metadata"]["name"]
    filled = {each["secretKey"] for each in secret["spec"]["data"]}
    assert credentials.known(settings)[secret["spec"]["target"]["name"]] == filled
    account = store["spec"]["provider"]["vault"]["auth"]["kubernetes"]["serviceAccountRef"]
    accounts = {e["metadata"]["name"] for e in objects(settings) if e["kind"] == "ServiceAccount"}
    assert account["name"] in accounts
    assert account["audiences"] == ["vault"]
