"""What settings say of a cluster: defaults, what is refused and how, what is never repeated."""

import traceback
from copy import deepcopy
from typing import Any, Final

import pytest
from hypothesis import example, given
from hypothesis import strategies as some

from clinical_ai import names
from clinical_ai.errors import ManyFaults
from clinical_ai.pod_amounts import of_pod
from clinical_ai.quantities import parsed, told
from clinical_ai.settings import Production, differences, dump, parse
from clinical_ai.settings_kubernetes import Kubernetes, ProductionKubernetes
from clinical_ai.settings_vault import VaultAgent
from tests.support.kubernetes_examples import ALL

CANARY: Final = "hunter2-canary"
REGISTRY: Final = {"registry": "registry.example.org"}
EXTERNAL: Final = {"kind": "external-secrets", "vault-address": "https://vault.example.org"}
AGENT: Final = EXTERNAL | {"kind": "vault-agent"}
OWN: Final = ("secrets", "api", "encryption")  # Secrets of the platform itself


def settings(environment: str = "development", **kubernetes: Any) -> Any:
    return parse({"storage-environment": environment, "kubernetes": REGISTRY | kubernetes})


def faults_of(environment: str = "development", **kubernetes: Any) -> list[str]:
    with pytest.raises(ManyFaults) as refused:
        settings(environment, **kubernetes)
    told = "".join(traceback.format_exception(refused.value)) + repr(refused.value)
    assert CANARY not in told
    return [str(fault) for fault in refused.value.faults]


def fault_of(environment: str = "development", **kubernetes: Any) -> str:
    [fault] = faults_of(environment, **kubernetes)
    return fault


def test_one_machine_has_no_cluster() -> None:
    assert parse({}).kubernetes is None
    assert parse({"storage-environment": "production"}).kubernetes is None


def test_a_registry_is_all_that_has_to_be_said() -> None:
    cluster = settings().kubernetes
    assert (cluster.namespace, cluster.image_pull_policy) == ("clinical-ai", "IfNotPresent")
    assert cluster.image == "registry.example.org/clinical-ai-prefect"
    assert cluster.exposure is None
    assert cluster.clients == {}
    with pytest.raises(ManyFaults, match=r"kubernetes\.registry is missing"):
        parse({"kubernetes": {}})


def test_a_project_of_a_registry_may_be_named_as_the_image_is() -> None:
    """Harbor and others want one before the image, so such a path is no mistake."""
    project = "registry.example.org/clinical-ai-prefect"
    assert settings(registry=project).kubernetes.image == f"{project}/clinical-ai-prefect"


def test_addresses_follow_the_namespace_unless_they_are_given() -> None:
    made = settings(namespace="trial-7")
    server = "http://clinical-ai-prefect-server.trial-7.svc.cluster.local:4200/api"
    assert made.prefect_api_url == server
    assert made.minio_endpoint == "http://minio.trial-7.svc.cluster.local:9000"


@pytest.mark.parametrize("environment", ["development", "production"])
@pytest.mark.parametrize("end", ["", ".trial", ".trial.svc", ".trial.svc.cluster.local"])
def test_the_api_of_a_cluster_is_its_own_service_as_pods_resolve_it(
    end: str, environment: str
) -> None:
    address = f"http://clinical-ai-prefect-server{end}:4200/api"
    made = parse(
        {
            "storage-environment": environment,
            "prefect-api-url": f"{address}/",
            "kubernetes": REGISTRY | {"namespace": "trial"},
        }
    )
    assert made.prefect_api_url == address


@pytest.mark.parametrize("environment", ["development", "production"])
@pytest.mark.parametrize(
    "address",
    [
        "http://127.0.0.1:4200/api",
        "https://prefect.elsewhere.org/api",
        "http://clinical-ai-prefect-server.clinical-ai.svc.cluster.local:4200/api",
        "https://clinical-ai-prefect-server.trial.svc:4200/api",
        "http://clinical-ai-prefect-server:80/api",
        "http://clinical-ai-prefect-server/api",
        "http://clinical-ai-prefect-server:4200/below/api",
    ],
)
def test_the_api_of_a_cluster_is_no_other_server(address: str, environment: str) -> None:
    given = {"storage-environment": environment, "prefect-api-url": address}
    with pytest.raises(ManyFaults) as refused:
        parse({**given, "kubernetes": REGISTRY | {"namespace": "trial"}})
    assert str(refused.value) == (
        f"- settings: prefect-api-url is {address}, in a cluster the API is that of Service"
        " clinical-ai-prefect-server in namespace trial. leave it out, or write"
        " http://clinical-ai-prefect-server.trial.svc.cluster.local:4200/api."
    )
    assert parse(given).prefect_api_url == address  # one machine has a check of its own


def test_a_wrong_cluster_makes_no_other_field_wrong() -> None:
    assert len(faults_of(namespace="Not A Name")) == 1


@pytest.mark.parametrize("name", ALL)
def test_what_was_dumped_parses_to_the_same_settings(name: str) -> None:
    made = parse(ALL[name])
    assert parse(dump(made)) == made
    as_in_the_block = {key.replace("-", "_"): value for key, value in dump(made).items()}
    assert parse(as_in_the_block) == made


@pytest.mark.parametrize("name", ALL)
def test_the_block_stands_for_the_same_settings(name: str) -> None:
    from blocks.settings import ClinicalAiSettings

    made = parse(ALL[name])
    block = ClinicalAiSettings(
        **{key.replace("-", "_"): value for key, value in dump(made).items()}
    )
    assert block.to_settings() == made


def test_dashes_underscores_and_nulls_are_as_everywhere_in_settings() -> None:
    written = settings(
        components={"platform-worker": {"node-selector": {"a_b": "c-d"}}}, lease_claim=None
    )
    other = settings(components={"platform_worker": {"node_selector": {"a_b": "c-d"}}})
    assert written == other
    assert other.kubernetes.components.platform_worker.node_selector == {"a_b": "c-d"}
    twice = fault_of(components={"worker": {"priority-class": "a", "priority_class": "b"}})
    assert twice == (
        "settings: kubernetes.components.worker.priority-class is given twice."
        " keep priority-class, remove priority_class."
    )


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"namspace": CANARY}, "unknown key 'kubernetes.namspace'. did you mean 'namespace'?"),
        (
            {"clients": {"my-backend": {"namespce": CANARY}}},
            "unknown key 'kubernetes.clients.my-backend.namespce'. did you mean 'namespace'?",
        ),
        (
            {"egress": {"database": [{"cidrs": ["10.0.0.0/8"], "ports": [1], "port": CANARY}]}},
            "unknown key 'kubernetes.egress.database.0.port'. did you mean 'ports'?",
        ),
        (
            {"egress": {"databse": CANARY}},
            "unknown key 'kubernetes.egress.databse'. did you mean 'database'?",
        ),
        (
            {"exposure": {"kind": "ingress", "host": "a.example.org", "tls_secrt": CANARY}},
            "unknown key 'kubernetes.exposure.tls-secrt'. did you mean 'tls-secret'?",
        ),
        (
            {"components": {"worker": {"resources": {"limits": {"memry": CANARY}}}}},
            "'kubernetes.components.worker.resources.limits.memry'. did you mean 'memory'?",
        ),
    ],
)
def test_an_unknown_key_is_refused_with_its_path_and_the_nearest_name(
    given: dict[str, Any], told: str
) -> None:
    assert told in fault_of(**given)


def test_credentials_of_aws_belong_to_production() -> None:
    vault = {"kind": "vault-agent", "vault-address": "https://vault.example.org"}
    assert fault_of(aws_credentials=vault) == (
        "settings: unknown key 'kubernetes.aws-credentials'. it belongs to storage-environment"
        " 'production', this one is 'development'."
    )
    made = settings("production", aws_credentials=vault)
    assert isinstance(made, Production)
    assert isinstance(made.kubernetes, ProductionKubernetes)
    assert isinstance(made.kubernetes.aws_credentials, VaultAgent)


@pytest.mark.parametrize("given", [{}, {"kind": CANARY}, {"kind": None}])
def test_a_choice_says_what_there_is_to_choose(given: dict[str, Any]) -> None:
    assert fault_of(exposure=given) == (
        "settings: kubernetes.exposure.kind is none that is known. write ingress or gateway."
    )
    assert "write external-secrets or vault-agent" in fault_of("production", aws_credentials=given)


@pytest.mark.parametrize("given", [CANARY, [CANARY], 1])
def test_what_is_no_table_is_told(given: Any) -> None:
    for name in ("egress", "components", "build"):
        assert f"kubernetes.{name} is not a table. write it as [kubernetes.{name}]" in fault_of(
            **{name: given}
        )


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (
            {"image-pull-secrets": CANARY},
            "kubernetes.image-pull-secrets is not a list. write a list, in brackets.",
        ),
        (
            {"components": {"worker": {"resources": {"limits": {"cpu": 2}}}}},
            "kubernetes.components.worker.resources.limits.cpu is not text. write it in quotes.",
        ),
        (
            {"components": {"worker": {"environment": {"A": True}}}},
            "kubernetes.components.worker.environment.A is not text. write it in quotes.",
        ),
        (
            {"egress": {"dns": {"namespace": "a", "ports": [53]}}},
            "kubernetes.egress.dns is not a list. write it as [[kubernetes.egress.dns]].",
        ),
        (
            {"components": {"jobs": {"tolerations": [CANARY]}}},
            "kubernetes.components.jobs.tolerations.0 is not a table."
            " write it as [[kubernetes.components.jobs.tolerations]].",
        ),
        (
            {"exposure": {"kind": "gateway", "host": "a.example.org", "parents": []}},
            "kubernetes.exposure.parents is an empty list."
            " write at least one [[kubernetes.exposure.parents]].",
        ),
        (
            {"exposure": {"kind": "ingress", "host": "a.example.org", "tls": "yes"}},
            "kubernetes.exposure.tls is neither true nor false."
            " write true or false, without quotes.",
        ),
        (
            {"worker-replicas": "2"},
            "kubernetes.worker-replicas is not a whole number. write digits alone, without quotes.",
        ),
        (
            {"worker-replicas": 101},
            "kubernetes.worker-replicas (given 101) is out of bounds."
            " write a number less than or equal to 100.",
        ),
        (
            {"drift": CANARY},
            "kubernetes.drift is none that is known. write 'heal' or 'report'.",
        ),
    ],
)
def test_a_value_of_another_type_is_told_in_the_words_of_the_file(
    given: dict[str, Any], told: str
) -> None:
    assert fault_of(**given) == f"settings: {told}"


_TRUST: Final = names.TRUST_FOLDER


@pytest.mark.parametrize("mounted", [None, "hospital-ca"])
@pytest.mark.parametrize(
    "path",
    [
        f"/etc/{CANARY}.pem",
        _TRUST,
        f"{_TRUST}/",
        f"{_TRUST}/..",
        f"{_TRUST}/..data",
        f"{_TRUST}/a/b.pem",
        f"{_TRUST}-other/a.pem",
        f"{_TRUST}/a b.pem",
    ],
)
def test_a_ca_bundle_that_no_pod_has_is_refused(mounted: str | None, path: str) -> None:
    lab = {"addresses": ["https://lab.example.org"], "ca-bundle": path}
    cluster = REGISTRY | {"ca-config-map": mounted}
    with pytest.raises(ManyFaults) as refused:
        parse({"ca-bundle": path, "connections": {"lab": lab}, "kubernetes": cluster})
    assert str(refused.value) == (
        "- settings: ca-bundle, connections.lab.ca-bundle: no pod has such a file. give"
        f" kubernetes.ca-config-map, and write {_TRUST}/KEY with a key of that ConfigMap."
    )


def test_a_ca_bundle_is_a_key_of_the_config_map_that_pods_mount() -> None:
    raw = {"ca-bundle": f"{_TRUST}/hospital.pem"}
    made = parse(raw | {"kubernetes": REGISTRY | {"ca-config-map": "hospital-ca"}})
    assert made.ca_bundle == raw["ca-bundle"]
    with pytest.raises(ManyFaults, match="no pod has such a file"):
        parse(raw | {"kubernetes": REGISTRY})


_WORKER: Final = "kubernetes.components.worker"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"namespace": f"{CANARY}_"}, "kubernetes.namespace is not a name"),
        ({"namespace": "a" * 64}, "kubernetes.namespace is not a name"),
        ({"registry": f"https://{CANARY}"}, "kubernetes.registry is not a registry"),
        ({"registry": f"user:{CANARY}@host"}, "kubernetes.registry is not a registry"),
        ({"image_pull_secrets": [f"{CANARY}_"]}, "kubernetes.image-pull-secrets.0 is not a name"),
        ({"build": {"base-image": f"{CANARY} x"}}, "kubernetes.build.base-image is not an image"),
        ({"build": {"arguments": {"TOKEN": CANARY}}}, "kubernetes.build.arguments gives TOKEN"),
        ({"lease_claim": f"{CANARY}!"}, "kubernetes.lease-claim is not a name"),
        (
            {"exposure": {"kind": "ingress", "host": f"https://{CANARY}"}},
            "kubernetes.exposure.host is not a host name",
        ),
        (
            {"exposure": {"kind": "gateway", "host": "*.example.org", "parents": []}},
            "kubernetes.exposure.parents",
        ),
        ({"clients": {"nobody": {}}}, "kubernetes.clients.nobody names nobody"),
        (
            {"clients": {"a": {"cidrs": [CANARY]}}},
            "kubernetes.clients.a.cidrs.0 is not a block of addresses",
        ),
        ({"clients": {"a": {"cidrs": ["10.0.0.1/8"]}}}, "is not a block of addresses"),
        ({"clients": {"a": {"cidrs": ["10.0.0.1"]}}}, "is not a block of addresses"),
        (
            {"egress": {"dns": [{"namespace": "a", "ports": []}]}},
            "kubernetes.egress.dns.0 names no",
        ),
        (
            {"egress": {"dns": [{"namespace": "a", "ports": [0]}]}},
            "kubernetes.egress.dns.0.ports.0",
        ),
        ({"egress": {"dns": []}}, "kubernetes.egress.dns names nobody"),
        ({"egress": {"api-server": []}}, "kubernetes.egress.api-server names nobody"),
        ({"egress": {"database": []}}, "kubernetes.egress.database names nobody"),
        ({"clients": {"a": {"namespace": "b", "ports": []}}}, "kubernetes.clients.a names no port"),
        ({"drift_schedule": CANARY}, "kubernetes.drift-schedule is not a schedule"),
        ({"drift_schedule": "61 * * * *"}, "kubernetes.drift-schedule is not a schedule"),
        ({"drift_schedule": "@hourly"}, "kubernetes.drift-schedule is not a schedule"),
        ({"drift_schedule": "0 0 30 2 *"}, "kubernetes.drift-schedule never comes"),
        ({"worker_replicas": 0}, "kubernetes.worker-replicas (given 0)"),
        ({"prune_limit": True}, "kubernetes.prune-limit (given True)"),
        (
            {"components": {"worker": {"resources": {"limits": {"cpu": f"{CANARY}m"}}}}},
            f"{_WORKER}.resources.limits.cpu is not a quantity",
        ),
        (
            {"components": {"worker": {"node-selector": {"a": f"{CANARY} b"}}}},
            f"{_WORKER}.node-selector.a is not the value of a label",
        ),
    ],
)
def test_each_wrong_value_is_told_by_its_field_and_never_shown(
    given: dict[str, Any], told: str
) -> None:
    assert told in fault_of(**given)


@pytest.mark.parametrize(
    ("registry", "told"),
    [
        ("host:99999/a", "there is no such port. write one from 1 to 65535"),
        ("-.-", "there is no such host name. write words of letters"),
        ("10.0.0.256/a", "there is no such IPv4 address. write it as 10.0.0.1"),
    ],
)
def test_a_registry_has_a_host_and_a_port_that_there_can_be(registry: str, told: str) -> None:
    told = f"settings: kubernetes.registry is not a registry: {told}"
    assert fault_of(registry=registry).startswith(told)


@pytest.mark.parametrize("place", ["vault.-x.svc", "vault.my_ns.svc:8200", "vault:0", "[::g]"])
@pytest.mark.parametrize("kind", ["external-secrets", "vault-agent"])
def test_vault_has_an_address_that_there_can_be(kind: str, place: str) -> None:
    vault = {"kind": kind, "vault-address": f"http://{place}"}
    fault = fault_of("production", **{"aws-credentials": vault})
    assert "kubernetes.aws-credentials.vault-address is not an address" in fault


@pytest.mark.parametrize("account", ["default", "clinical-ai-prefect-worker"])
def test_external_secrets_take_no_account_of_a_pod(account: str) -> None:
    chosen = {
        "kind": "external-secrets",
        "vault-address": "https://vault.example.org",
        "service-account": account,
    }
    fault = fault_of("production", **{"aws-credentials": chosen})
    assert f"kubernetes.aws-credentials.service-account is {account}, which pods have" in fault


@pytest.mark.parametrize(
    ("toleration", "told"),
    [
        ({}, 'has no key and operator Equal. give key, or operator = "Exists"'),
        ({"value": CANARY}, "has no key and operator Equal"),
        ({"operator": "Exists", "value": CANARY}, "has a value and operator Exists"),
        (
            {"key": "a", "effect": "NoSchedule", "toleration-seconds": 5},
            'has toleration-seconds and effect NoSchedule. write effect = "NoExecute"',
        ),
        ({"operator": "Exists", "toleration-seconds": 5}, "toleration-seconds and no effect"),
        (
            {"operator": "Exists", "effect": "NoExecute", "toleration-seconds": 2**63},
            f"has toleration-seconds {2**63}. write 0 to {2**63 - 1}",
        ),
        (
            {"operator": "Exists", "effect": "NoExecute", "toleration-seconds": -1},
            "has toleration-seconds -1. write 0 to",
        ),
    ],
)
def test_a_toleration_that_kubernetes_would_refuse_is_refused(
    toleration: dict[str, Any], told: str
) -> None:
    fault = fault_of(components={"jobs": {"tolerations": [toleration]}})
    assert told in fault
    assert fault.startswith("settings: kubernetes.components.jobs.tolerations.0 has ")


@pytest.mark.parametrize(
    "toleration",
    [
        {"operator": "Exists"},
        {"key": "example.org/a"},
        {"key": "a", "value": "b", "effect": "NoSchedule"},
        {"key": "a", "operator": "Exists", "value": ""},
        {"operator": "Exists", "effect": "NoExecute", "toleration-seconds": 2**63 - 1},
        {"key": "a", "effect": "NoExecute", "toleration-seconds": 0},
    ],
)
def test_a_toleration_that_kubernetes_takes_is_taken(toleration: dict[str, Any]) -> None:
    made = settings(components={"jobs": {"tolerations": [toleration]}})
    [found] = made.kubernetes.components.jobs.tolerations
    assert found.model_dump(by_alias=True, exclude_none=True) == {"operator": "Equal"} | toleration


_UNITS: Final = ("", "n", "u", "m", *"kMGTPE", *(f"{each}i" for each in "KMGTPE"))
_ENDS: Final = some.sampled_from(_UNITS) | some.integers(-99, 99).map(lambda power: f"e{power}")
_QUANTITIES: Final = some.builds(
    str.__add__, some.from_regex(r"\A\+?([0-9]{1,9}\.?[0-9]{0,6}|\.[0-9]{1,6})\Z"), _ENDS
)


@given(one=_QUANTITIES, other=_QUANTITIES)
@example(one="1e9", other=".5")
@example(one="1Pi", other="100n")
@example(one="5.", other="1Ei")
def test_each_quantity_that_kubernetes_takes_is_taken_and_counted(one: str, other: str) -> None:
    made = settings(components={"migration": {"resources": {"limits": {"cpu": one}}}})
    own = made.kubernetes.components.migration.resources.limits.cpu
    beside = {"name": "b", "resources": {"limits": {"cpu": other}}}
    taken = of_pod({"containers": [{"name": "a", "resources": {"limits": {"cpu": own}}}, beside]})
    assert taken["limits.cpu"] == parsed(one) + parsed(other)
    assert told(taken["limits.cpu"], "limits.cpu")


@pytest.mark.parametrize(
    "quantity", ["", "-1", "1K", "1 Gi", "1mi", ".", "1e", "0x1", "1_000", "NaN", "9" * 33]
)
def test_what_kubernetes_takes_for_no_amount_is_refused(quantity: str) -> None:
    fault = fault_of(components={"migration": {"resources": {"limits": {"cpu": quantity}}}})
    assert fault == (
        "settings: kubernetes.components.migration.resources.limits.cpu is not a quantity."
        " write 500m or 2Gi."
    )


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({"DB_PASSWORD": CANARY}, "gives DB_PASSWORD in clear; write secret:NAME/KEY"),
        ({"A": f"postgresql://me:{CANARY}@db/x"}, "looks like a secret in clear"),
        ({"A": f"Bearer {CANARY}"}, "looks like a secret in clear"),
        ({"A": f"secret:{CANARY}"}, "is not a reference"),
        ({"A": f"env:{CANARY}"}, "is a reference that pods can't read"),
        ({"A": "vault:secret/a#b"}, "is a reference that pods can't read"),
        ({"A-B": "x"}, "names a variable with odd letters"),
        ({"DATABASE_URL": "secret:a/b"}, "names DATABASE_URL, which the platform alone decides"),
        ({"PREFECT_API_URL": "http://h/api"}, "names PREFECT_API_URL, which the platform alone"),
        ({"PREFECT_SERVER_DATABASE_MIGRATE_ON_START": "true"}, "which the platform alone decides"),
        ({"prefect_server": '{"database": {"migrate_on_start": true}}'}, "names prefect_server,"),
        ({"PREFECT_SERVER_ENCRYPTION_KEY": "secret:a/b"}, "which the platform alone decides"),
    ],
)
def test_extra_environment_holds_no_secret_and_nothing_that_is_the_platforms(
    variables: dict[str, str], told: str
) -> None:
    fault = fault_of(components={"server": {"environment": variables}})
    assert told.replace("; ", ". ") in fault
    assert "kubernetes.components.server.environment" in fault


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (f"secret:{CANARY}/key", "is a reference, which nobody reads there"),
        (f"env:{CANARY}", "is a reference, which nobody reads there"),
        (f"https://me:{CANARY}@pypi.example.org/simple", "looks like a secret in clear"),
    ],
)
@pytest.mark.parametrize(
    ("place", "remedy"),
    [
        ("build.arguments.PIP_INDEX_URL", "leave it out: arguments stay readable in the image"),
        ("exposure.annotations.a", "leave it out: whoever may see the object reads"),
        ("components.jobs.annotations.a", "leave it out: whoever may see the object reads"),
    ],
)
def test_where_no_reference_is_resolved_none_is_taken_or_recommended(
    place: str, remedy: str, value: str, told: str
) -> None:
    given: Any = value
    for key in reversed(place.split(".")):
        given = {key: given}
    if "exposure" in given:
        given["exposure"] |= {"kind": "ingress", "host": "prefect.example.org"}
    fault = fault_of(**given)
    assert f"kubernetes.{place} {told}. {remedy}" in fault
    assert "secret:" not in fault


def test_an_argument_of_the_build_that_is_called_a_secret_is_refused_however_it_is_given() -> None:
    for value in (CANARY, "text"):
        fault = fault_of(build={"arguments": {"TOKEN": value}})
        assert "kubernetes.build.arguments gives TOKEN. leave it out: arguments stay" in fault


def test_extra_environment_may_refer_to_secrets_and_override_what_is_no_secret() -> None:
    extra = {"DB_PASSWORD": "secret:own/db.password", "PREFECT_LOGGING_LEVEL": "DEBUG"}
    extra |= {"PREFECT_SERVER_DATABASE_SQLALCHEMY_POOL_SIZE": "20"}
    made = settings(components={"worker": {"environment": extra}})
    assert made.kubernetes.components.worker.environment == extra


def test_a_secret_that_the_kubernetes_worker_would_copy_into_jobs_is_refused() -> None:
    extra = {"PREFECT_RESULTS_DEFAULT": "secret:own/x"}
    fault = fault_of(components={"platform-worker": {"environment": extra}})
    assert fault == (
        "settings: kubernetes.components would copy PREFECT_RESULTS_DEFAULT of platform-worker"
        " into each Job in clear. give it to jobs instead."
    )


@pytest.mark.parametrize("what", ["environment", "annotations"])
@pytest.mark.parametrize("value", ["{{ ours }} runs", "{{cpu_limit}}", f"{{{{- {CANARY}"])
def test_what_prefect_would_fill_in_as_a_run_starts_is_refused(what: str, value: str) -> None:
    raw = deepcopy(ALL["development"])
    raw |= {"no-proxy": value, "https-proxy": "http://proxy.example.org/{{x}}"}
    raw["kubernetes"]["components"] = {"jobs": {what: {"BANNER": value}}}
    with pytest.raises(ManyFaults) as refused:
        parse(raw)
    [fault] = refused.value.faults
    assert str(fault) == (
        f"settings: https-proxy, no-proxy, kubernetes.components.jobs.{what}.BANNER: there is {{{{,"
        " and Prefect would fill in or remove what it begins as a run starts. write it without."
    )
    made = settings(components={"worker": {what: {"BANNER": value}}})
    assert getattr(made.kubernetes.components.worker, what) == {"BANNER": value}


def test_jobs_get_braces_that_prefect_leaves_alone() -> None:
    text = '{"a": {"b": 1}}'
    made = settings(components={"jobs": {"environment": {"A": text}}})
    assert made.kubernetes.components.jobs.environment == {"A": text}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("secret:one/id", "secret:other/key"),
        ("env:ID", "secret:other/key"),
    ],
)
def test_what_vault_fills_is_one_secret(one: str, other: str) -> None:
    vault = {"kind": "vault-agent", "vault-address": "https://vault.example.org"}
    given = {
        "storage-environment": "production",
        "aws-access-key-id": one,
        "aws-secret-access-key": other,
        "kubernetes": REGISTRY | {"aws-credentials": vault},
    }
    with pytest.raises(ManyFaults, match="are not of one Secret") as refused:
        parse(given)
    assert str(refused.value).startswith("- settings: aws-access-key-id and")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (
            {"minio-access-key": "vault:kv/a#id", "minio-secret-key": "vault:kv/a#key"},
            "minio-access-key is a vault: reference, minio-secret-key is a vault: reference, which",
        ),
        (
            {"storage-environment": "production", "aws-access-key-id": "vault:kv/a#id"},
            "aws-access-key-id is a vault: reference, which pods can't read.",
        ),
        (
            {
                "storage-environment": "production",
                "aws-access-key-id": "vault:kv/a#id",
                "aws-secret-access-key": "vault:kv/a#key",
                "kubernetes": {"aws-credentials": EXTERNAL},
            },
            "aws-access-key-id is a vault: reference, aws-secret-access-key is a vault: reference,",
        ),
    ],
)
def test_no_pod_reads_keys_of_the_storage_from_vault(given: dict[str, Any], told: str) -> None:
    with pytest.raises(ManyFaults) as refused:
        parse({**given, "kubernetes": REGISTRY | given.get("kubernetes", {})})
    assert str(refused.value).startswith(f"- settings: {told}")
    assert str(refused.value).endswith(
        " write secret:NAME/KEY, of a Secret that is filled from Vault: kubernetes.aws-credentials"
        " does so with the keys of AWS, which are left out then."
    )


_IN_VAULT: Final = {"x": {"addresses": ["h:1"], "credentials": "vault:kv/a#b"}}


@pytest.mark.parametrize("vault", [EXTERNAL, AGENT], ids=["external-secrets", "vault-agent"])
def test_runs_read_a_connection_from_the_vault_that_settings_name(vault: dict[str, str]) -> None:
    own = {"storage-environment": "production", "connections": _IN_VAULT}
    made = parse({**own, "kubernetes": REGISTRY | {"aws-credentials": vault}})
    assert made.connections["x"].credentials == "vault:kv/a#b"
    assert made.kubernetes is not None
    assert made.kubernetes.vault == made.kubernetes.aws_credentials


@pytest.mark.parametrize("environment", ["development", "production"])
def test_no_connection_names_a_field_of_vault_when_settings_name_no_vault(environment: str) -> None:
    also = {"y": _IN_VAULT["x"], "z": {"addresses": ["h:2"], "credentials": "secret:a/b"}}
    given = {"connections": {**_IN_VAULT, **also}, "kubernetes": REGISTRY}
    with pytest.raises(ManyFaults) as refused:
        parse({"storage-environment": environment, **given})
    assert str(refused.value) == (
        "- settings: connections.x.credentials is a vault: reference, connections.y.credentials is"
        " a vault: reference, and the settings name no Vault. write secret:NAME/KEY, or in"
        " production give kubernetes.aws-credentials, whose Vault runs ask then."
    )


def test_the_two_keys_of_aws_are_two() -> None:
    for kubernetes in (None, REGISTRY, REGISTRY | {"aws-credentials": EXTERNAL}):
        given = {"aws-access-key-id": "secret:a/b", "aws-secret-access-key": "secret:a/b"}
        with pytest.raises(ManyFaults) as refused:
            parse({"storage-environment": "production", "kubernetes": kubernetes, **given})
        assert str(refused.value) == (
            "- settings: aws-access-key-id and aws-secret-access-key are both secret:a/b."
            " name a key for each, or leave them out."
        )


@pytest.mark.parametrize("vault", [EXTERNAL, AGENT], ids=["external-secrets", "vault-agent"])
@pytest.mark.parametrize("name", [f"{names.PRODUCT}-{each}" for each in OWN])
def test_vault_fills_no_secret_that_the_platform_needs_for_something_else(
    vault: dict[str, str], name: str
) -> None:
    given = {"aws-access-key-id": f"secret:{name}/id", "aws-secret-access-key": f"secret:{name}/k"}
    own = {"storage-environment": "production", "kubernetes": REGISTRY, **given}
    assert parse(own)  # somebody else may keep them there
    with pytest.raises(ManyFaults) as refused:
        parse({**own, "kubernetes": REGISTRY | {"aws-credentials": vault}})
    assert str(refused.value) == (
        f"- settings: aws-access-key-id and aws-secret-access-key are of Secret {name}, which holds"
        " what the platform needs besides. leave them out when kubernetes.aws-credentials is given."
    )


_AWS: Final = names.AWS_CREDENTIALS
_SHARED: Final[dict[str, tuple[dict[str, Any], str]]] = {
    "connections.x.credentials": (
        {"connections": {"x": {"addresses": ["h:1"], "credentials": names.AWS_ACCESS_KEY_ID}}},
        names.AWS_ACCESS_KEY_ID,
    ),
    "kubernetes.image-pull-secrets.1": (
        {"kubernetes": {"image-pull-secrets": ["a", _AWS]}},
        _AWS,
    ),
    "kubernetes.exposure.tls-secret": (
        {"kubernetes": {"exposure": {"kind": "ingress", "host": "a.org", "tls-secret": _AWS}}},
        _AWS,
    ),
    "kubernetes.components.platform-worker.image-pull-secrets.0": (
        {"kubernetes": {"components": {"platform-worker": {"image-pull-secrets": [_AWS]}}}},
        _AWS,
    ),
    "kubernetes.components.worker.environment.TOKEN": (
        {
            "kubernetes": {
                "components": {"worker": {"environment": {"TOKEN": f"secret:{_AWS}/token"}}}
            }
        },
        f"secret:{_AWS}/token",
    ),
}


@pytest.mark.parametrize("vault", [EXTERNAL, AGENT], ids=["external-secrets", "vault-agent"])
@pytest.mark.parametrize("field", _SHARED)
def test_what_vault_fills_holds_nothing_else(field: str, vault: dict[str, str]) -> None:
    given, value = _SHARED[field]
    kubernetes = REGISTRY | given.get("kubernetes", {})
    own = {"storage-environment": "production", **given, "kubernetes": kubernetes}
    assert parse(own)
    with pytest.raises(ManyFaults) as refused:
        parse({**own, "kubernetes": kubernetes | {"aws-credentials": vault}})
    assert str(refused.value) == (
        f"- settings: {field} is {value}, and kubernetes.aws-credentials fills that Secret with"
        " aws-access-key-id and aws-secret-access-key alone. name another Secret there."
    )


def test_an_environment_reads_what_external_secrets_fill_and_no_agent_makes() -> None:
    extra = {"AWS_ACCESS_KEY_ID": names.AWS_ACCESS_KEY_ID}
    worker = {"components": {"worker": {"environment": extra}}}
    made = settings("production", **worker, **{"aws-credentials": EXTERNAL})
    assert made.kubernetes.components.worker.environment == extra
    fault = fault_of("production", **worker, **{"aws-credentials": AGENT})
    assert "kubernetes.components.worker.environment.AWS_ACCESS_KEY_ID is secret:" in fault


def test_differences_name_fields_of_a_cluster_by_their_path() -> None:
    old, new = settings(), settings(egress={"dns": [{"namespace": "dns", "ports": [5353]}]})
    assert set(differences(old, new)) == {"kubernetes.egress.dns"}


_ANYTHING = some.recursive(
    some.just(CANARY) | some.integers() | some.booleans() | some.none(),
    lambda inner: (
        some.lists(inner, max_size=2)
        | some.dictionaries(
            some.sampled_from(["kind", "host", "worker", "environment", "A", "ports", "x"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=6,
)
_KEYS = sorted(ProductionKubernetes.model_fields)


@given(
    raw=some.dictionaries(some.sampled_from(_KEYS), _ANYTHING, min_size=1),
    environment=some.sampled_from(["development", "production"]),
)
def test_whatever_is_given_where_is_refused_in_sentences_that_never_repeat_it(
    raw: dict[str, Any], environment: str
) -> None:
    try:
        parse({"storage-environment": environment, "kubernetes": raw})
    except ManyFaults as refused:
        told = f"{refused} {refused!r}"
        assert CANARY not in told
        assert all(fault.remedy for fault in refused.faults)  # noqa: PT017


def test_models_of_a_cluster_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Kubernetes(registry="r").namespace = "other"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("key", "reference"),
    [
        ("database-url", "secret:mine/address"),
        ("database-url", names.PREFECT_DATABASE_URL),
        ("prefect-database-url", names.DATABASE_URL),
    ],
)
def test_an_address_of_a_database_has_one_place(key: str, reference: str) -> None:
    told = fault_of(**{key: reference})
    assert f"kubernetes.{key}" in told
    assert f"is kept in Secret {names.SECRETS}" in told
