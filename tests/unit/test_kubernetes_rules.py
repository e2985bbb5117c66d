"""Rules that every object of every example keeps: security, rights, secrets, network."""

import copy
import json
import re
from collections import Counter
from collections.abc import Iterator
from ipaddress import ip_network
from typing import Any, Final

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as some

from clinical_ai import names
from clinical_ai.errors import ManyFaults
from clinical_ai.manifests.kubernetes import credentials, network, pools
from clinical_ai.settings import Settings, dump, parse
from tests.support import object_schema
from tests.support.kubernetes_examples import (
    ALL,
    RELEASE,
    objects,
    pod_templates,
    rules_of,
    settings_of,
)

every_example = pytest.mark.parametrize("settings", [settings_of(name) for name in ALL], ids=ALL)
_LONG: Final = "l" * 242
_ODD_NAMES: Final = ("lab-one", "lab.one", _LONG, f"{_LONG[:-1]}m", "l" * 80)
_WRITES: Final = {
    "create",
    "update",
    "patch",
    "delete",
    "deletecollection",
    "bind",
    "escalate",
    "*",
}
_ALLOWED_VOLUMES: Final = {
    *("configMap", "downwardAPI", "emptyDir", "projected", "secret", "persistentVolumeClaim"),
}


def containers(template: dict[str, Any]) -> list[dict[str, Any]]:
    spec = template["spec"]
    return [*spec["containers"], *spec.get("initContainers", [])]


@every_example
def test_every_pod_satisfies_the_restricted_level(settings: Settings) -> None:
    for _, template in pod_templates(settings):
        spec = template["spec"]
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert {key for v in spec["volumes"] for key in v if key != "name"} <= _ALLOWED_VOLUMES
        for each in containers(template):
            assert each["securityContext"]["allowPrivilegeEscalation"] is False
            assert each["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert each["securityContext"]["readOnlyRootFilesystem"] is True
            assert all("hostPort" not in port for port in each.get("ports", []))


@every_example
def test_every_container_is_promised_something_and_bounded(settings: Settings) -> None:
    for _, template in pod_templates(settings):
        for each in containers(template):
            assert each["resources"]["requests"].keys() >= {"cpu", "memory"}
            assert each["resources"]["limits"].keys() >= {"cpu", "memory"}


@every_example
def test_every_mount_has_its_volume_and_every_volume_is_mounted(settings: Settings) -> None:
    for name, template in pod_templates(settings):
        volumes = [volume["name"] for volume in template["spec"]["volumes"]]
        mounted = {mount["name"] for c in containers(template) for mount in c["volumeMounts"]}
        assert len(volumes) == len(set(volumes)), name
        assert set(volumes) == mounted, name
        for each in containers(template):
            paths = [mount["mountPath"] for mount in each["volumeMounts"]]
            assert len(paths) == len(set(paths)), name


def test_secrets_of_alike_or_long_names_have_volumes_of_their_own() -> None:
    connections = {
        name: {"addresses": ["h:1"], "credentials": f"secret:connection-{name}/{'k' * 253}"}
        for name in _ODD_NAMES
    }
    settings = parse(ALL["production"] | {"connections": connections})
    test_every_mount_has_its_volume_and_every_volume_is_mounted(settings)
    templates = dict(pod_templates(settings))
    volumes = {
        volume["secret"]["secretName"]: volume["name"]
        for volume in templates[names.WORKER]["spec"]["volumes"]
        if "secret" in volume
    }
    assert volumes["connection-lab-one"] == "secret-connection-lab-one"
    assert {f"connection-{name}" for name in _ODD_NAMES} <= volumes.keys()
    assert len(set(volumes.values())) == len(volumes)
    assert all(re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", it) for it in volumes.values())


def test_the_names_of_secrets_and_accounts_may_be_longer_than_a_label() -> None:
    chosen = ALL["production"]["kubernetes"]
    settings = parse(
        ALL["production"]
        | {
            "aws-access-key-id": f"secret:{_LONG}/id",
            "aws-secret-access-key": f"secret:{_LONG}/key",
            "kubernetes": chosen
            | {"aws-credentials": chosen["aws-credentials"] | {"service-account": _LONG}},
        }
    )
    found = [each for each in objects(settings) if each["metadata"]["name"] == _LONG]
    assert {each["kind"] for each in found} == {"ServiceAccount", "ExternalSecret"}
    for each in found:
        assert all(len(value) <= 63 for value in each["metadata"]["labels"].values())


@every_example
def test_no_variable_is_given_twice(settings: Settings) -> None:
    for _, template in pod_templates(settings):
        for each in containers(template):
            found = [variable["name"] for variable in each["env"]]
            assert len(found) == len(set(found))


@every_example
def test_our_image_is_named_by_digest(settings: Settings) -> None:
    for _, template in pod_templates(settings):
        assert template["spec"]["containers"][0]["image"] == RELEASE.image


@every_example
def test_a_token_of_the_clusters_api_is_mounted_only_where_it_is_used(settings: Settings) -> None:
    with_token = {
        name for name, pod in pod_templates(settings) if pod["spec"]["automountServiceAccountToken"]
    }
    assert with_token == {names.PLATFORM_WORKER, names.PLATFORM_JOB}
    for account in objects(settings):
        if account["kind"] == "ServiceAccount":
            assert account["automountServiceAccountToken"] is False


def with_a_field_of_vault(name: str, **more: Any) -> Settings:
    """The example, with a connection whose credentials runs read from Vault themselves."""
    lab = {"addresses": ["https://lab.example.org/r4"], "credentials": "vault:kv/lab#token"}
    given: dict[str, Any] = copy.deepcopy(ALL[name]) | {"connections": {"lab": lab}}
    given["kubernetes"] |= more
    return parse(given)


def tokens_for_vault(template: dict[str, Any]) -> tuple[list[str], list[str]]:
    """Volumes with such a token, and the containers that have one."""
    volumes = [
        volume["name"]
        for volume in template["spec"]["volumes"]
        for source in volume.get("projected", {}).get("sources", [])
        if source.get("serviceAccountToken", {}).get("audience") == "vault"
    ]
    mounts = [
        (container["name"], mount["mountPath"])
        for container in containers(template)
        for mount in container["volumeMounts"]
        if mount["name"] in volumes and mount["readOnly"]
    ]
    assert {path for _, path in mounts} <= {names.VAULT_TOKEN.rpartition("/")[0]}
    return volumes, [name for name, _ in mounts]


@pytest.mark.parametrize("name", ["production", "vault-agent"])
def test_runs_get_a_token_for_vault_where_a_connection_names_a_field_of_it(name: str) -> None:
    agents = {
        names.WORKER: ["vault-agent", "vault-agent-init"],
        names.PLATFORM_JOB: ["vault-agent-init"],
    }
    before = agents if name == "vault-agent" else {}
    for kind, template in pod_templates(with_a_field_of_vault(name)):
        volumes, having = tokens_for_vault(template)
        own = [names.WORKER_CONTAINER] if kind == names.WORKER else []
        assert sorted(having) == sorted(before.get(kind, []) + own), kind
        assert len(volumes) == bool(having), kind


@pytest.mark.parametrize("name", ["production", "vault-agent"])
def test_only_the_clinical_worker_changes_when_a_connection_names_a_field_of_vault(
    name: str,
) -> None:
    with_field = with_a_field_of_vault(name)
    lab = with_field.connections["lab"].model_copy(update={"credentials": None})
    without = with_field.model_copy(update={"connections": {"lab": lab}})
    changed = [
        (one["kind"], one["metadata"]["name"])
        for one, other in zip(objects(with_field), objects(without), strict=True)
        if one != other
    ]
    policy = [] if name == "vault-agent" else [("NetworkPolicy", names.WORKER)]
    assert changed == [*policy, ("Deployment", names.WORKER)]


@every_example
def test_every_pod_has_an_account_of_its_own(settings: Settings) -> None:
    accounts = {e["metadata"]["name"] for e in objects(settings) if e["kind"] == "ServiceAccount"}
    used = {pod["spec"]["serviceAccountName"] for _, pod in pod_templates(settings)}
    assert used == set(names.PLATFORM_NAMES)
    assert used <= accounts


@every_example
def test_no_one_may_give_itself_more_rights(settings: Settings) -> None:
    for account in (names.PLATFORM_WORKER, names.PLATFORM_JOB):
        assert rules_of(settings, account)
        for rule in rules_of(settings, account):
            assert "*" not in [*rule["verbs"], *rule["resources"], *rule["apiGroups"]]
            kept = {"serviceaccounts", "namespaces", "roles", "rolebindings", "secrets"}
            if kept & set(rule["resources"]):
                assert not _WRITES & set(rule["verbs"])
            assert "secrets" not in rule["resources"] or rule["resourceNames"]
            own = [settings.kubernetes.namespace] if settings.kubernetes else []
            assert "namespaces" not in rule["resources"] or rule["resourceNames"] == own
            assert not {"pods/exec", "serviceaccounts/token", "pods"} & set(rule["resources"]) or (
                not _WRITES & set(rule["verbs"])
            )
    kinds = {each["kind"] for each in objects(settings)}
    assert not kinds & {"ClusterRole", "ClusterRoleBinding"}


@every_example
def test_deploy_self_may_keep_each_kind_that_it_keeps(settings: Settings) -> None:
    rules = rules_of(settings, names.PLATFORM_JOB)
    number = Counter(each["kind"] for each in objects(settings))
    for each in objects(settings):
        group, _, _ = each["apiVersion"].rpartition("/")
        plural = f"{each['kind'].lower()}s".replace("policys", "policies").replace("sss", "sses")
        may = {
            verb
            for rule in rules
            if group in rule["apiGroups"] and plural in rule["resources"]
            for verb in rule["verbs"]
        }
        ours = each["metadata"]["labels"][names.OWNER_LABEL] == names.KEPT_BY_DEPLOY
        assert "get" in may, plural
        writes = {"create", "delete"} if plural == "jobs" else {"create", "patch", "delete"}
        assert (may & _WRITES == writes) if ours else not may & _WRITES, plural
        # A single object is read by its name, each ConfigMap, too; of Jobs there are earlier ones.
        several = plural == "jobs" or (number[each["kind"]] > 1 and plural != "configmaps")
        assert ("list" in may) is (ours and several), plural


def references(tree: Any) -> Iterator[tuple[str, str]]:
    """Every Secret and key that stands anywhere."""
    if isinstance(tree, dict):
        if "secretKeyRef" in tree:
            yield tree["secretKeyRef"]["name"], tree["secretKeyRef"]["key"]
        for item in tree.get("items", []) if "secretName" in tree else []:
            yield tree["secretName"], item["key"]
        for value in tree.values():
            yield from references(value)
    if isinstance(tree, list):
        for value in tree:
            yield from references(value)


@every_example
def test_every_reference_is_to_a_secret_that_the_platform_knows(settings: Settings) -> None:
    known = credentials.known(settings)
    for _, template in pod_templates(settings):
        for name, key in references(template):
            assert key in known[name], (name, key)


@every_example
def test_secrets_are_named_and_never_made_or_written_out(settings: Settings) -> None:
    assert all(each["kind"] != "Secret" for each in objects(settings))
    secret = re.compile(r"(PASSWORD|AUTH_STRING|ENCRYPTION_KEY|DATABASE_URL|CONNECTION_URL|TOKEN)$")
    for _, template in pod_templates(settings):
        for each in containers(template):
            for variable in each["env"]:
                assert not secret.search(variable["name"]) or "valueFrom" in variable


def test_the_platform_workers_own_settings_hold_no_secret_that_it_would_copy() -> None:
    pods = dict(pod_templates(settings_of("production")))
    [container] = pods[names.PLATFORM_WORKER]["spec"]["containers"]
    secrets = [e["name"] for e in container["env"] if "secretKeyRef" in e.get("valueFrom", {})]
    assert secrets == ["PREFECT_API_AUTH_STRING"], "replaced by a reference, since it is named"
    named = {each["name"]: each.get("value") for each in container["env"]}
    prefix = "PREFECT_INTEGRATIONS_KUBERNETES_WORKER_API_AUTH_STRING_SECRET"
    assert f"secret:{named[f'{prefix}_NAME']}/{named[f'{prefix}_KEY']}" == names.API_AUTH


def test_whether_the_api_asks_for_its_password_is_the_servers_alone() -> None:
    """Clients have it always: running work, deploy/self's own too, outlives such a change."""
    asking = settings_of("development")
    silent = asking.model_copy(update={"auth": "none"})
    changed = [
        (one["kind"], one["metadata"]["name"])
        for one, other in zip(objects(asking), objects(silent), strict=True)
        if one != other
    ]
    assert changed == [("Deployment", names.SERVER)]
    assert pools.job(asking, RELEASE) == pools.job(silent, RELEASE)


def test_only_the_server_and_the_migration_know_prefects_database() -> None:
    pods = dict(pod_templates(settings_of("production")))
    url = "PREFECT_SERVER_DATABASE_CONNECTION_URL"
    knowing = {name for name, pod in pods.items() if url in json.dumps(pod)}
    assert knowing == {names.SERVER, names.MIGRATION}


def test_a_worker_may_take_as_long_to_stop_as_its_runs_to_drain() -> None:
    for seconds in (0, 600, 86_400):
        settings = parse(ALL["production"] | {"drain-seconds": seconds})
        pods = dict(pod_templates(settings))
        assert pods[names.WORKER]["spec"]["terminationGracePeriodSeconds"] > seconds


def test_an_outage_of_the_server_or_the_database_restarts_nothing() -> None:
    pods = dict(pod_templates(settings_of("production")))
    alive = {
        name: pods[name]["spec"]["containers"][0]["livenessProbe"]["httpGet"]["path"]
        for name in (names.SERVER, names.WORKER, names.PLATFORM_WORKER)
    }
    assert alive == {
        names.SERVER: "/api/health",
        names.WORKER: "/openapi.json",
        names.PLATFORM_WORKER: "/openapi.json",
    }


def test_the_old_server_answers_until_everybody_knows_the_new_one() -> None:
    found = {
        e["metadata"]["name"]: e
        for e in objects(settings_of("production"))
        if e["kind"] == "Deployment"
    }
    server = found[names.SERVER]["spec"]
    assert server["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    [container] = server["template"]["spec"]["containers"]
    sleep, seconds = container["lifecycle"]["preStop"]["exec"]["command"]
    assert sleep == "sleep"
    assert server["template"]["spec"]["terminationGracePeriodSeconds"] > 2 * int(seconds)


@pytest.mark.parametrize("claim", [None, "leases"])
def test_leases_are_files_on_the_claim_or_live_as_long_as_the_pod(claim: str | None) -> None:
    pods = dict(pod_templates(parse({"kubernetes": {"registry": "r", "lease-claim": claim}})))
    [container] = pods[names.SERVER]["spec"]["containers"]
    where = {m["mountPath"]: m["name"] for m in container["volumeMounts"]}
    home = next(e["value"] for e in container["env"] if e["name"] == "PREFECT_HOME")
    assert home.startswith("/tmp")  # noqa: S108
    assert (f"{home}/concurrency_leases" in where) == (claim is not None)


@every_example
def test_policies_select_our_pods_alone_and_deny_by_default(settings: Settings) -> None:
    deny, *each = network.policies(settings)
    [chosen] = deny["spec"]["podSelector"]["matchExpressions"]
    assert set(chosen["values"]) == {name for name, _ in pod_templates(settings)}
    assert (deny["spec"]["ingress"], deny["spec"]["egress"]) == ([], [])
    assert {p["spec"]["podSelector"]["matchLabels"]["app"] for p in each} == set(chosen["values"])
    for policy in (deny, *each):
        assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
        for rule in (*policy["spec"]["ingress"], *policy["spec"]["egress"]):
            assert rule["ports"], "no rule opens every port"
            peers = rule.get("from", rule.get("to"))
            assert peers, "no rule is open to everybody"
            assert all(peer for peer in peers)


@every_example
def test_what_one_pod_of_ours_may_reach_lets_it_in(settings: Settings) -> None:
    policies = {p["metadata"]["name"]: p["spec"] for p in network.policies(settings)}
    for name, policy in policies.items():
        for rule in policy["egress"]:
            for peer in rule["to"]:
                target = peer.get("podSelector", {}).get("matchLabels", {}).get("app")
                if target in names.PLATFORM_NAMES and "namespaceSelector" not in peer:
                    admitted = {
                        (found["podSelector"]["matchLabels"]["app"], port["port"])
                        for way in policies[target]["ingress"]
                        for found in way["from"]
                        for port in way["ports"]
                        if "podSelector" in found and "namespaceSelector" not in found
                    }
                    assert {(name, port["port"]) for port in rule["ports"]} <= admitted


@every_example
def test_every_pod_may_ask_for_names_by_udp_and_tcp(settings: Settings) -> None:
    for policy in network.policies(settings)[1:]:
        first = policy["spec"]["egress"][0]
        assert [port["protocol"] for port in first["ports"]] == ["UDP", "TCP"]


_TO_FILL_IN: Final = "{{x}}"
_RICH: Final[dict[str, Any]] = {
    **ALL["vault-agent"],
    "http-proxy": "http://proxy.example.org",
    "kubernetes": {
        **ALL["vault-agent"]["kubernetes"],
        "components": {
            "jobs": {
                **ALL["vault-agent"]["kubernetes"]["components"]["worker"],
                "annotations": {"example.org/owner": "clinic"},
            }
        },
    },
}


def with_more_to_fill_in(tree: Any) -> Iterator[Any]:
    """The tree with one of its texts longer by what Prefect fills in, each in turn."""
    match tree:
        case str():
            yield from (tree + _TO_FILL_IN, f"{tree}/{_TO_FILL_IN}")
        case dict() | list():
            places = tree if isinstance(tree, dict) else range(len(tree))
            for place in places:
                for longer in with_more_to_fill_in(tree[place]):
                    changed = copy.copy(tree)
                    changed[place] = longer
                    yield changed


@pytest.mark.parametrize("raw", [*ALL.values(), _RICH], ids=[*ALL, "rich"])
def test_no_text_of_settings_reaches_prefect_to_be_filled_in(raw: dict[str, Any]) -> None:
    """Each in turn is refused or not in the job template, also one that comes to be there later."""
    kept = refused = 0
    for changed in with_more_to_fill_in(dump(parse(raw))):
        try:
            settings = parse(changed)
        except ManyFaults:
            refused += 1
            continue
        kept += 1
        assert _TO_FILL_IN not in json.dumps(pools.platform_template(settings, RELEASE))
    assert kept > 0
    assert refused > 0


def test_the_metadata_service_of_a_cloud_is_out_of_reach() -> None:
    for name in ALL:
        for policy in network.policies(settings_of(name)):
            for rule in policy["spec"]["egress"]:
                for block in (peer["ipBlock"] for peer in rule["to"] if "ipBlock" in peer):
                    inside = ip_network(block["cidr"])
                    metadata = ip_network("169.254.169.254/32")
                    if inside.version == 4 and inside.supernet_of(metadata):  # type: ignore[arg-type]
                        assert "169.254.0.0/16" in block["except"]


_ANYWHERE: Final = {"cidrs": ["0.0.0.0/0"]}
_PROMETHEUS: Final = {"pod-labels": {"app": "prometheus"}}


@every_example
def test_no_run_of_the_platform_reaches_a_worker(settings: Settings) -> None:
    for worker in names.WORKERS.values():
        assert not network.may_reach(settings, names.PLATFORM_JOB, worker, names.HEALTH_PORT)
    assert network.may_reach(settings, names.PLATFORM_JOB, names.SERVER, names.API_PORT)


@pytest.mark.parametrize(
    ("client", "egress", "reached"),
    [
        ({"namespace": "clinical-ai"}, _ANYWHERE, True),
        ({"pod-labels": {"app": names.PLATFORM_JOB}}, {"namespace": "clinical-ai"}, True),
        ({"cidrs": ["10.0.0.0/8"]}, {"pod-labels": {"app": names.WORKER}}, True),
        ({"namespace-labels": {"kind": "clinical"}}, _ANYWHERE, True),
        ({"namespace": "monitoring"}, _ANYWHERE, False),
        ({"namespace": "monitoring", "pod-labels": {"app": "any"}}, _ANYWHERE, False),
        (_PROMETHEUS, _ANYWHERE, False),
        ({"namespace": "clinical-ai"}, {"namespace": "proxies"}, False),
        ({"namespace": "clinical-ai"}, None, False),
    ],
)
def test_a_run_reaches_a_worker_only_where_settings_open_both_ends(
    client: dict[str, Any], egress: dict[str, Any] | None, *, reached: bool
) -> None:
    targets = [{**egress, "ports": [names.HEALTH_PORT]}] if egress else []
    settings = parse(
        {
            "kubernetes": {
                "registry": "r",
                "clients": {"some": {**client, "ports": ["health"]}},
                "egress": {"proxy": targets},
            }
        }
    )
    found = network.may_reach(settings, names.PLATFORM_JOB, names.WORKER, names.HEALTH_PORT)
    assert found is reached


def test_a_stranger_reaches_nothing_unless_settings_name_it() -> None:
    for policy in network.policies(settings_of("development")):
        for rule in policy["spec"]["ingress"]:
            for peer in rule["from"]:
                assert peer["podSelector"]["matchLabels"]["app"] in names.PLATFORM_NAMES
                assert "namespaceSelector" not in peer


@pytest.mark.parametrize(
    ("address", "rule"),
    [
        ("http://minio:9000", {"namespaceSelector": "clinical-ai", "port": 9000}),
        ("http://minio.store.svc:9000", {"namespaceSelector": "store", "port": 9000}),
        ("http://minio.store.svc.cluster.local", {"namespaceSelector": "store", "port": 80}),
        ("https://10.1.2.3", {"cidr": "10.1.2.3/32", "port": 443}),
        ("https://[fd00::1]:9000", {"cidr": "fd00::1/128", "port": 9000}),
        ("https://s3.example.org", {"cidr": "0.0.0.0/0", "port": 443}),
    ],
)
def test_addresses_of_settings_become_targets(address: str, rule: dict[str, Any]) -> None:
    settings = parse({"minio-endpoint": address, "kubernetes": {"registry": "r"}})
    worker = next(p for p in network.policies(settings) if p["metadata"]["name"] == names.WORKER)
    seen = [
        {
            "namespaceSelector": peer["namespaceSelector"]["matchLabels"][
                "kubernetes.io/metadata.name"
            ],
            "port": way["ports"][0]["port"],
        }
        if "namespaceSelector" in peer
        else {"cidr": peer.get("ipBlock", {}).get("cidr"), "port": way["ports"][0]["port"]}
        for way in worker["spec"]["egress"]
        for peer in way["to"]
    ]
    assert rule in seen


_WORDS: Final = ("a", "7", "A-b", "-x", "my_ns", "", "0x7f", "256", "svc", "cluster", "l" * 64)
_HOSTS = some.one_of(
    some.lists(some.sampled_from(_WORDS) | some.text("a0-_.", max_size=3), max_size=5).map(
        ".".join
    ),
    some.sampled_from(_WORDS).map("db.{}.svc".format),
    some.text("0123456789.", max_size=15),
    some.text("0123456789abcdef:.", max_size=20).map("[{}]".format),
    some.ip_addresses().map(lambda it: str(it) if it.version == 4 else f"[{it}]"),
    some.text(max_size=8),
)
_ADDRESSES = some.builds(
    "{}{}{}{}".format,
    some.sampled_from(["", "http://", "https://", "tcp://"]),
    _HOSTS,
    some.sampled_from(["", ":", ":0", ":1", ":5432", ":65535", ":65536", ":99999", ":x"]),
    some.sampled_from(["", "/", "/r4", "?", "#"]),
)


def _with_address(field: str, address: str) -> dict[str, Any]:
    given: dict[str, Any] = copy.deepcopy(
        ALL["gateway" if field == "minio-endpoint" else "vault-agent"]
    )
    match field:
        case "connections":
            given["connections"] = {"x": {"addresses": [address]}}
        case "vault-address":
            given["kubernetes"]["aws-credentials"][field] = address
        case _:
            given[field] = address
    return given


@pytest.mark.parametrize(
    "field", ["connections", "minio-endpoint", "http-proxy", "https-proxy", "vault-address"]
)
@given(address=_ADDRESSES | some.text())
@hypothesis.settings(max_examples=150)
def test_whatever_is_taken_for_an_address_becomes_policies_that_a_cluster_accepts(
    field: str, address: str
) -> None:
    try:
        settings = parse(_with_address(field, address))
    except ManyFaults:
        return
    for policy in network.policies(settings):
        object_schema.check(policy)
        for rule in (*policy["spec"]["ingress"], *policy["spec"]["egress"]):
            assert all(1 <= each["port"] <= 65_535 for each in rule["ports"])


def test_what_is_reached_through_a_proxy_is_not_reached_past_it() -> None:
    given = ALL["production"] | {"https-proxy": "http://10.9.9.9:3128"}
    worker = next(
        p for p in network.policies(parse(given)) if p["metadata"]["name"] == names.WORKER
    )
    open_ports = {
        port["port"]
        for rule in worker["spec"]["egress"]
        for peer in rule["to"]
        if peer.get("ipBlock", {}).get("cidr") == "0.0.0.0/0"
        for port in rule["ports"]
    }
    assert open_ports == set()


def egress_at(settings: Settings, port: int) -> dict[str, Any]:
    """Whom each kind of pod may reach at this port."""
    return {
        policy["metadata"]["name"]: rule["to"]
        for policy in network.policies(settings)
        for rule in policy["spec"]["egress"]
        if rule["ports"] == [{"protocol": "TCP", "port": port}]
    }


def test_runs_that_read_from_vault_may_reach_it_and_no_other_pod_may() -> None:
    assert egress_at(with_a_field_of_vault("production"), 8200).keys() == {names.WORKER}
    block = {"ipBlock": {"cidr": "10.20.40.0/28"}}
    targets = {"vault": [{"cidrs": [block["ipBlock"]["cidr"]], "ports": [8200]}]}
    narrowed = with_a_field_of_vault("production", egress=targets)
    assert egress_at(narrowed, 8200) == {names.WORKER: [block]}


def test_egress_to_vault_that_nobody_asks_opens_nothing() -> None:
    targets = {"vault": [{"cidrs": ["10.20.40.0/28"], "ports": [8200]}]}
    given = copy.deepcopy(ALL["production"])
    del given["connections"]["lab"]
    given["kubernetes"]["egress"] |= targets
    assert egress_at(parse(given), 8200) == {}


def test_a_deployment_can_choose_no_other_rights_image_or_namespace() -> None:
    template = pools.platform_template(settings_of("production"), RELEASE)
    free = set(re.findall(r"{{ (\w+) }}", json.dumps(template["job_configuration"])))
    assert free == set(template["variables"]["properties"])
    assert not free & {"image", "service_account_name", "namespace", "image_pull_policy"}


_EXTRA: Final = some.dictionaries(
    some.from_regex(r"\A[A-Z][A-Z0-9_]{2,9}\Z").filter(
        lambda name: not re.match("DATABASE_URL|PREFECT|CLINICAL|POD_NAME|STORAGE", name)
    ),
    some.sampled_from(["text", "0", "secret:own/key", "$(HOME)"]),
    max_size=3,
)


@given(extra=_EXTRA, component=some.sampled_from(["server", "worker", "jobs", "migration"]))
def test_an_operators_variables_are_in_the_pods_of_their_component_and_no_other(
    extra: dict[str, str], component: str
) -> None:
    try:
        settings = parse(
            {"kubernetes": {"registry": "r", "components": {component: {"environment": extra}}}}
        )
    except ManyFaults as refused:  # a name that says it is a secret, in clear
        assert "in clear" in str(refused)  # noqa: PT017
        return
    of = {"server": names.SERVER, "worker": names.WORKER, "jobs": names.PLATFORM_JOB}
    plain = dict(pod_templates(parse({"kubernetes": {"registry": "r"}})))
    for name, pod in pod_templates(settings):
        found = {each["name"]: each for each in pod["spec"]["containers"][0]["env"]}
        if name == of.get(component, names.MIGRATION):
            for variable, value in extra.items():
                assert ("value" in found[variable]) == (not value.startswith("secret:"))
        else:
            assert pod == plain[name]
