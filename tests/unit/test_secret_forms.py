"""Of a secret in a text nothing is left, in whichever form it stands there; the rest is."""

import json
import re
from collections.abc import Callable
from time import process_time
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as some

from clinical_ai.adapters.deployment_reasons import first_line
from clinical_ai.secret_forms import without_secrets

PEM = "-----BEGIN RSA PRIVATE KEY-----\n{}\nabcd==\n-----END RSA PRIVATE KEY-----"
# What looks like the next parameter or another address ends one that stands in no quotes.
words = (
    some.text("aZ9-_.+/=@#$%!&;,:|", max_size=20)
    .map(lambda text: f"x{text}HUNTER")
    .filter(lambda text: not re.search(r"[&;][\w.-]+=|://", text))
)
phrases = some.text("aZ9 -_.+/=@#$%!&;,:|'\"\\[{}]", max_size=20).map(lambda text: f"{text}HUNTER")
encoded = phrases.map(lambda text: quote(text, safe=""))
letters = some.text("aZ9_-", min_size=16, max_size=40).map(lambda text: f"{text}HUNTER")
names = some.sampled_from(
    ["password", "DB_PASSWORD", "token", "client_secret", "api-key", "aws_secret_access_key"]
)
Form = Callable[[str, str], str]


def single(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


FORMS: list[tuple[some.SearchStrategy[str], Form]] = [
    (encoded, lambda name, it: f"http://x/y?user=u&{name}={it}&next=REST"),
    (encoded, lambda name, it: f"http://x/y?{name}={it} REST"),
    (encoded, lambda _, it: f"http://x/y?sig={it}&next=REST"),
    (encoded, lambda _, it: f"http://x/y?X-Amz-Signature={it}&next=REST"),
    (words, lambda _, it: f"postgresql://u:{it}@REST/x"),
    (words, lambda _, it: f"redis://:{it}@REST:1"),
    (words, lambda name, it: f"host=db {name}={it} REST"),
    (words, lambda name, it: f"UID=u;{name}={it};DB=REST"),
    (words, lambda name, it: f"{name} = {it}\nREST"),
    (words, lambda name, it: f"run --{name} {it} REST"),
    (words, lambda name, it: f"run --{name}={it} REST"),
    (words, lambda name, it: f"- --{name}\n    - {it}\n    - REST"),
    (words, lambda name, it: f"a: b\n{name}: {it} and more\nREST: c"),
    (words, lambda name, it: f"{name}: |\n  a\n\n  {it}\nREST: c"),
    (words, lambda _, it: f"Authorization: Digest a, {it}\nHost: REST"),
    (letters, lambda _, it: f'curl -H "Authorization: Basic {it}" REST'),
    (letters, lambda _, it: f"X-Header: Bearer {it} REST"),
    (phrases, lambda name, it: f"{json.dumps({name: it, 'next': 'REST'})}"),
    (phrases, lambda name, it: json.dumps(json.dumps({name: it, "next": "REST"}))),
    (phrases, lambda name, it: f"{json.dumps(['--' + name, it, 'REST'])}"),
    (phrases, lambda name, it: f"connect({name}={json.dumps(it)}, next=REST)"),
    (phrases, lambda name, it: f"{name}: {single(it)}\nnext: REST"),
    (letters, lambda _, it: f"{PEM.format(it)} REST"),
    (letters, lambda _, it: f"eyJhbGciOi.eyJzdWIi.{it} REST"),
    (letters, lambda _, it: f"xoxb-{it} REST"),
    (letters, lambda _, it: f"hvs.{it} REST"),
    (letters, lambda _, it: f"AKIAABCDEFGHIJKLMNOP with aws_secret_access_key={it} REST"),
]


@pytest.mark.parametrize(("secrets", "form"), FORMS)
@given(data=some.data())
def test_all_of_it_is_hidden_and_nothing_behind(
    data: some.DataObject, secrets: some.SearchStrategy[str], form: Form
) -> None:
    text = form(data.draw(names), data.draw(secrets))
    told = without_secrets(text)
    assert "HUNTER" not in told
    assert "AKIA" not in told
    assert "***" in told
    assert "REST" in told
    assert without_secrets(told) == told


def test_a_value_that_breaks_off_is_hidden_to_its_end() -> None:
    for text in (
        "password='b HUNTER",
        '{"token": "b HUNTER',
        PEM[:40] + "HUNTER",
        "--token 'b HUNTER",
    ):
        assert "HUNTER" not in without_secrets(text)


def test_an_error_that_is_shortened_shows_no_half_of_a_secret() -> None:
    address = f"postgresql://u:{'hunter2' * 40}@db/x"
    assert first_line(ValueError(address)) == "ValueError: postgresql://***@db/x"


@pytest.mark.parametrize(
    "text",
    [
        "secretName: clinical-ai-prefect-secrets",
        "secret: {secretName: a}",
        'secret:\n  secretName: "a"',
        '"secretKeyRef": {"name": "clinical-ai-prefect-secrets", "key": "database-url"}',
        "clinical-ai-prefect-secrets/database-url is there",
        "DATABASE_URL=secret:clinical-ai-prefect-secrets/database-url",
        '{"credentials": "secret:connection-lab/credentials", "token": "", "a": 1}',
        "lab.token: vault:secret/data/x#token",
        "uninstall with `--secrets` removes them; `token` is empty",
        "secret:NAME/KEY, vault:secret/data/x#token and file:/run/secrets/password",
        "automountServiceAccountToken: false",
        '"serviceAccountToken": {"path": "token"}',
        "passwordless: yes, token_ttl=5, MAX_TOKENS=5, imagePullSecrets: a",
        "DB_PASSWORD_FILE=/run/password --password-file /x",
        "no password was given; the token is wrong",
        "https://user@example.org:8443/x?a=b",
        "std::token::Kind",
        "registry:5000/x@sha256:abc",
    ],
)
def test_what_only_names_a_secret_is_shown(text: str) -> None:
    assert without_secrets(text) == text


AGAIN = [
    *("eyJ-", "://a:b", "://a:@", "password", "password=", "password=''", "a", " ", "\n"),
    *("--token\n", "-----BEGIN ", "\\", "\\'", "''", "[", "&a"),
]


@pytest.mark.parametrize("start", ["", "password=", "password: ", "password='", "--token "])
@pytest.mark.parametrize("again", AGAIN)
def test_a_long_text_takes_a_time_in_proportion(start: str, again: str) -> None:
    text = start + again * (100_000 // len(again))
    began = process_time()
    without_secrets(text)
    assert process_time() - began < 2
