"""Extra environment undoes no promise, by whichever name Prefect reads it; tuning stays free."""

from collections.abc import Iterator
from typing import Any, Final

import pytest
from prefect.settings.models.root import Settings as PrefectSettings
from prefect_kubernetes.settings import KubernetesSettings
from pydantic import AliasChoices, BaseModel

from clinical_ai.taken_variables import is_taken
from tests.support.kubernetes_examples import ALL, pod_templates, settings_of


def names_in(model: type[BaseModel], path: str, groups: tuple[str, ...]) -> Iterator[Any]:
    """Each of Prefect's settings, with all names that it is read by, the groups around it too."""
    prefix = str(model.model_config.get("env_prefix", ""))
    for field, info in model.model_fields.items():
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
            inside = (*groups, f"{prefix}{field}".upper())
            yield from names_in(info.annotation, f"{path}{field}.", inside)
        else:
            alias = info.validation_alias
            older = alias.choices if isinstance(alias, AliasChoices) else []
            own = [f"{prefix}{field}", *(each for each in older if isinstance(each, str))]
            yield f"{path}{field}", {name.upper() for name in own}, set(groups)


PREFECT: Final[dict[str, tuple[set[str], set[str]]]] = {
    path: (own, groups)
    for model, start, around in (
        (PrefectSettings, "", ()),
        (
            KubernetesSettings,
            "kubernetes.",
            ("PREFECT_INTEGRATIONS", "PREFECT_INTEGRATIONS_KUBERNETES"),
        ),
    )
    for path, own, groups in names_in(model, start, around)
}
DECIDED: Final = [
    *("home", "profiles_path", "api.url", "api.auth_string"),
    *(f"server.database.{each}" for each in ("connection_url", "driver", "host", "port", "user")),
    *(f"server.database.{each}" for each in ("name", "password", "echo", "migrate_on_start")),
    "server.database.sqlalchemy.connect_args.search_path",
    *(f"server.api.{each}" for each in ("auth_string", "host", "port", "base_path")),
    *("server.api.default_limit", "server.api.csrf_protection_enabled"),
    *("server.concurrency.lease_storage", "server.analytics_enabled"),
    *(f"server.ui.{each}" for each in ("enabled", "v2_enabled", "api_url", "serve_base")),
    "server.ui.static_directory",
    *(f"server.services.{each}.enabled" for each in ("scheduler", "triggers", "event_persister")),
    *(f"server.services.{each}.enabled" for each in ("foreman", "late_runs", "repossessor")),
    *(f"server.services.{each}.enabled" for each in ("task_run_recorder", "pause_expirations")),
    *("server.services.cancellation_cleanup.enabled", "flows.heartbeat_frequency"),
    *("server.events.proactive_granularity", "server.events.expired_bucket_buffer"),
    "server.services.repossessor.loop_seconds",
    *("worker.query_seconds", "worker.heartbeat_seconds"),
    *("worker.webserver.host", "worker.webserver.port"),
    *("kubernetes.worker.api_auth_string_secret_name", "kubernetes.worker.store_env_as_secret"),
    *("kubernetes.worker.create_secret_for_api_key", "kubernetes.observer.enabled"),
    *("kubernetes.observer.namespaces", "kubernetes.observer.additional_label_filters"),
]
TUNED: Final = [
    *(f"server.database.{each}" for each in ("timeout", "connection_timeout", "migration_timeout")),
    *(f"server.database.sqlalchemy.{each}" for each in ("pool_size", "pool_timeout")),
    *("server.database.sqlalchemy.max_overflow", "server.database.sqlalchemy.pool_recycle"),
    "server.database.sqlalchemy.connect_args.statement_cache_size",
    "server.database.sqlalchemy.connect_args.tls.ca_file",
    *("server.api.keepalive_timeout", "server.services.scheduler.max_runs"),
    *("server.services.db_vacuum.enabled", "server.services.late_runs.after_seconds"),
    *("logging.level", "logging.extra_loggers", "worker.prefetch_seconds"),
]
# What the platform sets, and an operator may give another value: nothing is promised of it.
OVERRIDDEN: Final = {
    *("HOME", "TMPDIR", "LANG", "PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE", "PYTHONTZPATH"),
    *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"),
    *("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "AWS_CA_BUNDLE"),
    *("PREFECT_LOGGING_LEVEL", "PREFECT_LOGGING_EXTRA_LOGGERS", "PREFECT_CLI_COLORS"),
    *("PREFECT_SERVER_DATABASE_CONNECTION_TIMEOUT", "PREFECT_SERVER_REGISTER_BLOCKS_ON_START"),
}


@pytest.mark.parametrize("setting", DECIDED)
def test_what_the_platform_decides_is_taken_by_every_name_that_prefect_reads(setting: str) -> None:
    own, groups = PREFECT[setting]
    for name in own | groups:
        assert is_taken(name), name
        assert is_taken(name.lower()), name


@pytest.mark.parametrize("setting", TUNED)
def test_what_an_operator_may_tune_is_free(setting: str) -> None:
    own, _ = PREFECT[setting]
    free = {name for name in own if not name.startswith("PREFECT_API_")}
    assert free
    assert not any(map(is_taken, free))


def test_no_setting_of_prefect_is_free_by_one_name_and_taken_by_another() -> None:
    """But for the older PREFECT_API_*, of which most are the client's: all of them are taken."""
    for own, _ in PREFECT.values():
        assert len({is_taken(name) for name in own if not name.startswith("PREFECT_API_")}) <= 1, (
            own
        )


@pytest.mark.parametrize("name", ALL)
def test_each_variable_that_the_platform_sets_is_taken_or_known_to_be_free(name: str) -> None:
    own = ALL[name]["kubernetes"].get("components", {})
    given = {each for component in own.values() for each in component.get("environment", {})}
    for _, template in pod_templates(settings_of(name)):
        found = {each["name"] for each in template["spec"]["containers"][0]["env"]}
        assert {each for each in found - given if not is_taken(each)} <= OVERRIDDEN
