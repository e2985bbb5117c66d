"""Variables that extra environment may not give: with another value a promise would not hold.

Which image, database, schema or password is used, who migrates, how long a run may be silent, and
what watches over it, is no question of extra environment. Prefect reads its variables in any case,
some by an older name too, and a whole group of them as JSON, which goes before the single ones.
"""

import re
from typing import Final

_DATABASE: Final = (  # of Prefect's, what may be tuned
    r"(CONNECTION_|MIGRATION_)?TIMEOUT"
    r"|SQLALCHEMY_(POOL_\w+|MAX_OVERFLOW)"
    r"|SQLALCHEMY_CONNECT_ARGS_(APPLICATION_NAME|(PREPARED_)?STATEMENT_CACHE_SIZE|TLS_\w+)"
)
_SERVICES: Final = (  # that start runs, see them end, and free what they held
    "CANCELLATION_CLEANUP|CLEANUP_RECONCILER|EVENT_PERSISTER|FOREMAN|LATE_RUNS"
    "|PAUSE_EXPIRATIONS|REPOSSESSOR|SCHEDULER|TASK_RUN_RECORDER|TRIGGERS"
)
_PAGES: Final = "API_URL|ENABLED|SERVE_BASE|STATIC_DIRECTORY"
_TAKEN: Final = re.compile(
    "|".join(
        [
            r"DATABASE_URL|STORAGE_ENVIRONMENT|POD_NAME|CLINICAL_AI_\w+",
            r"DO_NOT_TRACK|RUNTIME__DLTHUB_TELEMETRY|PREFECT_SERVER_ANALYTICS_ENABLED",
            r"PREFECT_HOME|PREFECT_PROFILES_PATH|PREFECT_API(_\w+)?|PREFECT_SERVER",
            rf"PREFECT_SERVER_DATABASE(_(?!({_DATABASE})\Z)\w+)?",
            r"PREFECT_SERVER_ENCRYPTION_KEY",
            r"PREFECT_SERVER_API"
            r"(_(AUTH_STRING|HOST|PORT|BASE_PATH|DEFAULT_LIMIT|CSRF_PROTECTION_ENABLED))?",
            r"PREFECT_SERVER_CSRF_PROTECTION_ENABLED",
            r"PREFECT_SERVER_CONCURRENCY(_LEASE_STORAGE)?",
            # How often silence is looked for, and how long it is remembered.
            r"PREFECT_(SERVER_)?EVENTS(_(PROACTIVE_GRANULARITY|EXPIRED_BUCKET_BUFFER))?",
            rf"PREFECT_SERVER_SERVICES(_({_SERVICES})(_ENABLED)?|_REPOSSESSOR_LOOP_SECONDS)?",
            rf"PREFECT_SERVER_UI(_(V2_ENABLED|{_PAGES}))?|PREFECT_UI_({_PAGES})",
            r"PREFECT_FLOWS|PREFECT_(FLOWS|RUNNER)_HEARTBEAT_FREQUENCY",
            r"PREFECT_WORKER(_(QUERY_SECONDS|HEARTBEAT_SECONDS|WEBSERVER(_\w+)?))?",
            r"PREFECT_INTEGRATIONS(_KUBERNETES(_WORKER|_OBSERVER)?)?",
            r"PREFECT_INTEGRATIONS_KUBERNETES_WORKER_"
            r"(API_\w+|CREATE_SECRET_FOR_API_KEY|STORE_ENV_AS_SECRET)",
            r"PREFECT_KUBERNETES_WORKER_STORE_PREFECT_API_IN_SECRET",
            r"PREFECT_INTEGRATIONS_KUBERNETES_OBSERVER_"
            r"(ENABLED|NAMESPACES|ADDITIONAL_LABEL_FILTERS|REPLICATE_POD_EVENTS)",
        ]
    ),
    re.IGNORECASE,
)


def is_taken(name: str) -> bool:
    """Whether the platform alone decides the value of this variable."""
    return _TAKEN.fullmatch(name) is not None
