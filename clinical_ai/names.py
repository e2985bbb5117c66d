"""Every name, label and path that two places have to agree on."""

from typing import Final

PRODUCT: Final = "clinical-ai-prefect"
NAMESPACE: Final = "clinical-ai"
SERVICE_USER: Final = "clinical-ai"  # runs everything when root installs

# Processes (locally) and Kubernetes objects share these names.
POSTGRES: Final = f"{PRODUCT}-postgres"
SERVER: Final = f"{PRODUCT}-server"
WORKER: Final = f"{PRODUCT}-worker"
PLATFORM_WORKER: Final = f"{PRODUCT}-platform-worker"
ROLL: Final = f"{PRODUCT}-roll"

# Kubernetes only.
FIELD_MANAGER: Final = PRODUCT  # owns the fields that we apply to Kubernetes objects
INVENTORY: Final = f"{PRODUCT}-inventory"  # the ConfigMap that lists what we applied
RIGHTS_INVENTORY: Final = f"{INVENTORY}-bootstrap"  # the same of accounts and rights
CLUSTER_LEASE: Final = f"{PRODUCT}-change"  # whoever holds it may change the platform
BREAK_GLASS: Final = f"{PRODUCT}-break-glass"  # the ConfigMap that stops all self-management
SCALE_MANAGER: Final = f"{PRODUCT}-scale"  # owns `replicas` until somebody else scales
JOURNAL: Final = f"{PRODUCT}-journal"  # ConfigMap: which pools are held, and why
LEDGER: Final = f"{PRODUCT}-ledger"  # ConfigMap: what was applied, when and by whom
GOOD_OBJECTS: Final = f"{PRODUCT}-good-objects"  # ConfigMap: the objects last found good together
CONFIGURATION: Final = f"{PRODUCT}-config"
MIGRATION: Final = f"{PRODUCT}-migration"
PLATFORM_JOB: Final = f"{PRODUCT}-platform-job"
POD_CHECK: Final = f"{PRODUCT}-check"
PLATFORM_NAMES: Final = (SERVER, WORKER, PLATFORM_WORKER, PLATFORM_JOB, MIGRATION)
EXTERNAL_SECRETS: Final = f"{PRODUCT}-external-secrets"
VAULT: Final = f"{PRODUCT}-vault"
WORKER_CONTAINER: Final = "prefect-worker"
OWNER_LABEL: Final = f"{PRODUCT}/owner"  # with the value of who keeps the object:
KEPT_BY_BOOTSTRAP: Final = "bootstrap"
KEPT_BY_DEPLOY: Final = "deploy-self"
# Pods are replaced when one of these changes.
CONFIGURATION_ANNOTATION: Final = f"{PRODUCT}/configuration"
AGENT_ANNOTATION: Final = f"{PRODUCT}/vault-agent"
REVISION_ANNOTATION: Final = f"{PRODUCT}/database-revision"  # of Prefect's database, on the server
IMAGE_USER: Final = 10_001
IMAGE_CODE: Final = "/app"
SECRETS_FOLDER: Final = f"/etc/{PRODUCT}/secrets"  # mounted: NAME/KEY
TRUST_FOLDER: Final = f"/etc/{PRODUCT}/trust"
VAULT_TOKEN: Final = "/var/run/secrets/vault/token"  # noqa: S105 - a file, mounted for Vault alone
NAMESPACE_VARIABLE: Final = "CLINICAL_AI_NAMESPACE"
SECRETS_VARIABLE: Final = "CLINICAL_AI_SECRETS"
IMAGE_VARIABLE: Final = "CLINICAL_AI_IMAGE"
CONTENT_VARIABLE: Final = "CLINICAL_AI_CONTENT"
SETTINGS_VARIABLE: Final = "CLINICAL_AI_SETTINGS"

API_PORT: Final = 4200
HEALTH_PORT: Final = 8080  # of workers in a cluster

DATABASE: Final = "cai_data"
PREFECT_SCHEMA: Final = "prefect"
DATABASE_ROLE: Final = "clinical_ai"
PREFECT_ROLE: Final = "prefect"
SOURCES_TABLE: Final = "cai_defined_sources"
DESTINATIONS_TABLE: Final = "cai_defined_destinations"

POOL: Final = "default"
PLATFORM_POOL: Final = "platform"
QUEUE: Final = "default"
WORKERS: Final = {POOL: WORKER, PLATFORM_POOL: PLATFORM_WORKER}  # of each pool
WORKLOADS: Final = (SERVER, PLATFORM_WORKER, WORKER)  # of a cluster, in the order they come up

# Secrets: NAME/KEY, a Kubernetes Secret or a file of the state folder's `secrets/`.
SECRETS: Final = f"{PRODUCT}-secrets"
DATABASE_URL: Final = f"secret:{SECRETS}/database-url"
PREFECT_DATABASE_URL: Final = f"secret:{SECRETS}/prefect-database-url"
MINIO_ACCESS_KEY: Final = f"secret:{SECRETS}/minio-access-key"
MINIO_SECRET_KEY: Final = f"secret:{SECRETS}/minio-secret-key"
AWS_CREDENTIALS: Final = f"{NAMESPACE}-aws-credentials"
AWS_ACCESS_KEY_ID: Final = f"secret:{AWS_CREDENTIALS}/aws-access-key-id"
AWS_SECRET_ACCESS_KEY: Final = f"secret:{AWS_CREDENTIALS}/aws-secret-access-key"
API_AUTH: Final = f"secret:{PRODUCT}-api/auth-string"
ENCRYPTION_KEY: Final = f"secret:{PRODUCT}-encryption/key"
SUPERUSER_PASSWORD: Final = f"secret:{POSTGRES}/password"
OWN_SECRETS: Final = (DATABASE_URL, API_AUTH, ENCRYPTION_KEY)  # a key of each that always is

SETTINGS_BLOCK_TYPE: Final = "clinical-ai-settings"
SETTINGS_BLOCK: Final = "platform"
API_VARIABLE: Final = "CLINICAL_AI_REGISTER_API"  # where variables and blocks are looked up
AUTH_VARIABLE: Final = "CLINICAL_AI_REGISTER_AUTH"
REGISTRATION: Final = "clinical-ai-registration"  # the limit whose slot is the lease
REGISTERING: Final = "clinical_ai_registering"  # the variable that tells who has it
OWNER_PREFIX: Final = "owner:"  # of the tag that says which file a deployment belongs to
OWNER_TAG: Final = f"{OWNER_PREFIX}{PRODUCT}"
EVENT_PREFIX: Final = "clinical-ai"
ZOMBIE_AUTOMATION: Final = f"{PRODUCT}: runs without a heartbeat"
HOLD_AUTOMATION: Final = f"{PRODUCT}: a pool that is held for a change"

DEPLOY_SELF: Final = "deploy/self"
DRIFT: Final = "drift"  # the schedule of deploy/self that looks for it
REGISTER: Final = "register/flows"
VERIFY: Final = "verify/platform"
CANARY: Final = "canary/default"
PLATFORM_CANARY: Final = "canary/platform"
PIPELINE: Final = "run-connector-pipeline/run_connector_pipeline"

DEMONSTRATION_BUCKET: Final = "demonstration"
STATE_VARIABLE: Final = "CLINICAL_AI_STATE"
PORT_VARIABLE: Final = "CLINICAL_AI_PORT"
