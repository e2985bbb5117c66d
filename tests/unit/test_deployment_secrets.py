"""Secrets in job variables are found by name and by form; names of secrets are none."""

from typing import Any

import pytest

from clinical_ai.adapters.deployment_secrets import find_secrets
from clinical_ai.secret_forms import without_secrets

NAMES = [
    "DB_PASS",
    "DB_PWD",
    "AWS_ACCESS_KEY_ID",
    "SECRET_KEY",
    "SECRET_KEY_BASE",
    "DB_PASSWORD_PROD",
    "PASSWORD_2",
    "API_KEYS",
    "TOKENS",
    "MY_SECRETS",
    "ENCRYPTION_KEY",
    "SIGNING_KEY",
    "CREDS",
    "AUTHORIZATION",
    "apiKey",
    "db-password",
]
VALUES = [
    "AKIAABCDEFGHIJKLMNOP",
    "Bearer eyJhbGciOi",
    "Basic dXNlcjpwYXNz",
    "ghp_abcdefghijklmnopqrst",
    "xoxb-1234",
    "sk-proj-abcdefghijklmnop",
    "eyJabc.eyJdef.x",
    "-----BEGIN RSA PRIVATE KEY-----",
    "host=db password=canary",
    "UID=u;PWD=canary",
    "postgres://:canary@db",
    "https://ghp_abcdefghijklmnopqrst@example.org",
    "http://x?api_key=1",
    "run --password canary",
]


@pytest.mark.parametrize(
    "variables",
    [
        *({"env": {name: "canary"}} for name in NAMES),
        *({"a": value} for value in VALUES),
        {"env": [{"name": "DB_PASSWORD", "value": "canary"}]},
        {"env": ["DB_PASSWORD=canary"]},
        {"secret": ["canary"]},
        {"credentials": {"user": "u", "value": "canary"}},
        {"password": 12345},
        {"command": ["run", "--password", "canary"]},
        {"{{ prefect.blocks.secret.db }}": "x"},
        {"a": "{{ prefect.blocks.secret.db }}"},
        {"env": {"A": "{{ $DB_PASSWORD }}"}},
        {"command": "run {{$API_KEY}} --now"},
        {"a": ["{{ prefect.variables.team-token }}"]},
        {"env": {"A": {"$ref": {"block_document_id": "1"}}}},
    ],
)
def test_a_secret_is_found_and_not_repeated(variables: Any) -> None:
    found = list(find_secrets(variables, ("v",)))
    assert found
    assert "canary" not in str([problem for _, problem in found])


@pytest.mark.parametrize(
    "variables",
    [
        {"imagePullSecret": "x", "image_pull_secret": "x", "image": "localhost:5000/x:1"},
        {"env": {"SECRET_NAME": "x", "DB_PASSWORD_FILE": "/x", "MAX_TOKENS": "5", "COMPASS": "x"}},
        {"env": [{"name": "P", "valueFrom": {"secretKeyRef": {"name": "s", "key": "password"}}}]},
        {"url": "https://x.y/z?a=b", "command": "python -m x --rows 5", "token": "", "a": None},
        {"env": ["A=b", "URL=https://x.y/?q=1"], "stream_output": True, "volumes": ["/a:/b"]},
        {"a": "{{ $DB_PASSWORD_FILE }}", "b": "{{ $MAX_TOKENS }}", "c": "{{ ctx.flow.token }}"},
        {"a": "{{ prefect.variables.x }}", "env": {"AUTH_MODE": "basic"}},
    ],
)
def test_what_only_names_a_secret_is_none(variables: Any) -> None:
    assert list(find_secrets(variables, ("v",))) == []


def test_a_message_is_told_without_what_looks_like_a_secret() -> None:
    text = "no route to postgresql://u:canary@db/x with Bearer canarycanary"
    assert without_secrets(text) == "no route to postgresql://***@db/x with ***"
