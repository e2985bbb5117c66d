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

API_PORT: Final = 4200

DATABASE: Final = "cai_data"
PREFECT_SCHEMA: Final = "prefect"
DATABASE_ROLE: Final = "clinical_ai"
PREFECT_ROLE: Final = "prefect"
SOURCES_TABLE: Final = "cai_defined_sources"
DESTINATIONS_TABLE: Final = "cai_defined_destinations"

POOL: Final = "default"
PLATFORM_POOL: Final = "platform"
QUEUE: Final = "default"

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

DEPLOY_SELF: Final = "deploy/self"
REGISTER: Final = "register/flows"
VERIFY: Final = "verify/platform"
CANARY: Final = "canary/default"
PIPELINE: Final = "run-connector-pipeline/run_connector_pipeline"

DEMONSTRATION_BUCKET: Final = "demonstration"
STATE_VARIABLE: Final = "CLINICAL_AI_STATE"
PORT_VARIABLE: Final = "CLINICAL_AI_PORT"
