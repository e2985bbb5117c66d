"""What only S3's adapter promises: each refusal has its remedy, proxies and trust are ours."""

import logging
import socket
import ssl
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import pytest
from botocore import exceptions as botocore
from pydantic import SecretStr

from clinical_ai.adapters.s3 import S3Store, open_s3
from clinical_ai.adapters.s3_access import Access, access_of, connect
from clinical_ai.adapters.s3_errors import failed, refused
from clinical_ai.errors import NeedsOperator, PlatformError, Transient
from clinical_ai.settings import parse
from tests.support.fakes import MemorySecrets
from tests.support.s3 import Keys, S3Server

CANARY: Final = "erika-mustermann-1964"
SECRETS: Final = {"secret:s/access": "access-canary", "secret:s/secret": "secret-canary"}


def store_of(server: S3Server, keys: Keys | None = None) -> S3Store:
    keys = keys or server.admin
    return S3Store(Access(keys.access, keys.secret, endpoint=server.url))


def everything_shown(error: BaseException) -> str:
    assert error.__cause__ is None
    return "".join(traceback.format_exception(error)) + repr(error)


def fault_of(use: Callable[[], object]) -> str:
    with pytest.raises(NeedsOperator) as met:
        use()
    shown = everything_shown(met.value)
    assert CANARY not in shown
    return str(met.value)


def test_each_refusal_of_a_key_has_its_own_remedy_and_shows_no_key(
    s3_server: S3Server, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    admin = s3_server.admin
    unknown = Keys("x", SecretStr("AKIACANARYCANARY0000"), admin.secret)
    wrong = Keys("x", admin.access, SecretStr("secret-canary"))
    told = fault_of(lambda: store_of(s3_server, unknown).buckets())
    assert "InvalidAccessKeyId. the access key is unknown or was revoked" in told
    told += fault_of(lambda: store_of(s3_server, wrong).buckets())
    assert "SignatureDoesNotMatch. the secret key does not belong to the access key" in told
    shown = told + caplog.text
    for key in (admin.access, admin.secret, unknown.access, wrong.secret):
        assert key.get_secret_value() not in shown


def test_a_revoked_key_is_refused(s3_server: S3Server) -> None:
    keys = s3_server.user([{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}])
    store = store_of(s3_server, keys)
    assert store.buckets() == []
    s3_server.revoke(keys)
    assert "InvalidAccessKeyId" in fault_of(store.buckets)


def test_what_the_policy_forbids_is_refused_without_the_objects_name(s3_server: S3Server) -> None:
    store_of(s3_server).ensure_bucket("raw")
    keys = s3_server.user([{"Effect": "Allow", "Action": "s3:ListBucket", "Resource": "*"}])
    store = store_of(s3_server, keys)
    assert list(store.list("raw")) == []
    told = fault_of(lambda: store.put("raw", CANARY, b"1"))
    assert "AccessDenied. let the key's policy allow" in told
    assert "AccessDenied" in fault_of(lambda: store.open("raw", CANARY))


def test_a_bucket_that_may_not_be_looked_at_is_not_taken_for_absent(s3_server: S3Server) -> None:
    store_of(s3_server).ensure_bucket("raw")
    keys = s3_server.user([{"Effect": "Allow", "Action": "s3:CreateBucket", "Resource": "*"}])
    told = fault_of(lambda: store_of(s3_server, keys).ensure_bucket("raw"))
    assert "HTTP 403. let the key's policy allow s3:ListBucket" in told


def test_no_key_is_shown_by_anything_that_holds_it(s3_server: S3Server) -> None:
    access = Access(s3_server.admin.access, s3_server.admin.secret, endpoint=s3_server.url)
    store = S3Store(access)
    store.buckets()
    shown = f"{access!r} {store!r} {vars(store)}"
    assert s3_server.admin.secret.get_secret_value() not in shown
    assert s3_server.admin.access.get_secret_value() not in shown


def test_many_objects_are_listed_over_pages(
    s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOTO_S3_DEFAULT_MAX_KEYS", "4")
    store = store_of(s3_server)
    store.ensure_bucket("raw")
    names = [f"{number:04}" for number in range(10)]
    for name in names:
        store.put("raw", name, b"")
    assert s3_server.client().list_objects_v2(Bucket="raw")["IsTruncated"]
    assert [found.name for found in store.list("raw")] == names


def test_an_object_is_not_read_before_it_is_asked_for(s3_server: S3Server) -> None:
    store = store_of(s3_server)
    store.ensure_bucket("raw")
    store.put("raw", "big", b"0123456789" * 1_000_000)
    with store.open("raw", "big") as stream:
        assert stream.read(10) == b"0123456789"
        assert sum(len(piece) for piece in iter(lambda: stream.read(1 << 16), b"")) == 9_999_990


def test_another_region_gets_its_bucket_there(s3_server: S3Server) -> None:
    keys = s3_server.admin
    access = Access(keys.access, keys.secret, region="eu-central-1", endpoint=s3_server.url)
    S3Store(access).ensure_bucket("raw")
    place = s3_server.client().get_bucket_location(Bucket="raw")["LocationConstraint"]
    assert place == "eu-central-1"


def test_the_callers_own_environment_changes_nothing(
    s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = s3_server.user([{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}])
    for name in ("HTTP_PROXY", "http_proxy", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "theirs")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "theirs")
    assert store_of(s3_server, keys).buckets() == []
    aws = connect(Access(SecretStr("never used before"), SecretStr("b")))
    assert aws.meta.endpoint_url == "https://s3.amazonaws.com"


def test_a_profile_that_does_not_exist_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "absent")
    access = Access(SecretStr("never used before"), SecretStr("b"), endpoint="http://h")
    assert "unset AWS_PROFILE" in fault_of(S3Store(access).buckets)


def test_requests_go_through_the_proxy_of_the_settings(s3_server: S3Server) -> None:
    keys = s3_server.admin
    with answering(200, b"<ListAllMyBucketsResult><Buckets/></ListAllMyBucketsResult>") as proxy:
        through = Access(
            keys.access,
            keys.secret,
            endpoint="http://s3.invalid:9000",
            proxies=(("http", proxy.url),),
        )
        assert S3Store(through).buckets() == []
        assert proxy.asked == ["http://s3.invalid:9000/"]


@pytest.mark.parametrize("no_proxy", ["127.0.0.1", "example.org, 127.0.0.1", "*", ".0.0.1"])
def test_hosts_of_no_proxy_are_reached_directly(s3_server: S3Server, no_proxy: str) -> None:
    keys = s3_server.admin
    access = Access(
        keys.access,
        keys.secret,
        endpoint=s3_server.url,
        proxies=(("http", "http://127.0.0.1:1"),),
        no_proxy=no_proxy,
    )
    assert S3Store(access).buckets() == []


def test_a_proxy_that_is_away_is_transient(s3_server: S3Server) -> None:
    keys = s3_server.admin
    access = Access(
        keys.access,
        keys.secret,
        endpoint=s3_server.url,
        proxies=(("http", "http://127.0.0.1:1"),),
        no_proxy="other.example.org",
    )
    with pytest.raises(Transient, match="proxy"):
        S3Store(access).buckets()


def test_a_storage_that_is_away_is_transient_and_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        store = S3Store(Access(SecretStr("a"), SecretStr("b"), endpoint=url))
        with pytest.raises(Transient, match=url):
            store.open("raw", CANARY)


def test_an_object_cut_short_on_its_way_is_transient_and_never_a_shorter_object() -> None:
    with answering(200, b"x" * 100, length=200) as server:
        store = S3Store(Access(SecretStr("a"), SecretStr("b"), endpoint=server.url))
        with store.open("raw", CANARY) as stream, pytest.raises(Transient) as met:
            stream.read()
        assert CANARY not in everything_shown(met.value)


def test_a_storage_that_is_not_trusted_needs_an_operator() -> None:
    met = failed(botocore.SSLError(endpoint_url="https://x", error=ssl.SSLError()), "storage")
    assert isinstance(met, NeedsOperator)
    assert "ca-bundle" in met.remedy


def test_a_ca_bundle_that_is_not_there_is_told(tmp_path: Path) -> None:
    access = Access(SecretStr("a"), SecretStr("b"), ca_bundle=str(tmp_path / "absent.pem"))
    assert "correct ca-bundle" in fault_of(S3Store(access).buckets)


def test_the_ca_bundle_of_the_settings_is_the_one_trusted(tmp_path: Path) -> None:
    bundle = tmp_path / "ca.pem"
    bundle.write_text("")
    client = connect(Access(SecretStr("a"), SecretStr("b"), ca_bundle=str(bundle)))
    assert str(client._endpoint.http_session._verify) == str(bundle)


@pytest.mark.parametrize(
    ("code", "status"), [("SlowDown", 503), ("InternalError", 500), ("unknown", 502), ("", 429)]
)
def test_an_overloaded_storage_is_transient(code: str, status: int) -> None:
    assert isinstance(refused(client_error(code, status), "bucket raw"), Transient)


@pytest.mark.parametrize(
    ("code", "status", "told"),
    [
        ("NoSuchBucket", 404, "make the bucket"),
        ("RequestTimeTooSkewed", 403, "clock"),
        ("PermanentRedirect", 301, "aws-region"),
        ("ExpiredToken", 400, "correct the access key"),
        ("NeverSeenBefore", 400, "look the code up"),
    ],
)
def test_a_refusal_gives_its_code_and_a_remedy(code: str, status: int, told: str) -> None:
    met = refused(client_error(code, status), "bucket raw")
    assert isinstance(met, NeedsOperator)
    assert code in met.problem
    assert told in met.remedy
    assert CANARY not in everything_shown(met)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (botocore.ConnectTimeoutError(endpoint_url=f"http://h/raw/{CANARY}"), Transient),
        (botocore.ReadTimeoutError(endpoint_url=f"http://h/raw/{CANARY}"), Transient),
        (botocore.ConnectionClosedError(endpoint_url=f"http://h/raw/{CANARY}"), Transient),
        (botocore.ParamValidationError(report=CANARY), NeedsOperator),
        (botocore.NoCredentialsError(), NeedsOperator),
        (botocore.InvalidRegionError(region_name=CANARY), NeedsOperator),
    ],
)
def test_a_request_without_an_answer_shows_no_objects_name(
    error: botocore.BotoCoreError, kind: type[PlatformError]
) -> None:
    met = failed(error, "bucket raw")
    assert isinstance(met, kind)
    assert CANARY not in everything_shown(met)


def test_development_reaches_its_endpoint_with_the_keys_behind_the_references() -> None:
    settings = parse(
        {
            "minio-endpoint": "http://minio:9000",
            "minio-access-key": "secret:s/access",
            "minio-secret-key": "secret:s/secret",
            "https-proxy": "http://proxy:3128",
            "no-proxy": "minio",
        }
    )
    access = access_of(settings, MemorySecrets(SECRETS))
    assert (access.endpoint, access.no_proxy) == ("http://minio:9000", "minio")
    assert access.proxies == (("https", "http://proxy:3128"),)
    assert access.access_key.get_secret_value() == "access-canary"
    assert access.secret_key.get_secret_value() == "secret-canary"


def test_production_reaches_aws_in_its_region() -> None:
    settings = parse(
        {
            "storage-environment": "production",
            "aws-region": "eu-west-1",
            "aws-access-key-id": "secret:s/access",
            "aws-secret-access-key": "secret:s/secret",
        }
    )
    access = access_of(settings, MemorySecrets(SECRETS))
    assert (access.endpoint, access.region) == (None, "eu-west-1")
    client = connect(access)
    assert client.meta.endpoint_url == "https://s3.eu-west-1.amazonaws.com"


def test_a_reference_without_a_value_is_told_before_anything_is_sent() -> None:
    settings = parse({"minio-endpoint": "http://minio:9000"})
    with pytest.raises(NeedsOperator, match="minio-access-key"):
        open_s3(settings, MemorySecrets())


def client_error(code: str, status: int) -> botocore.ClientError:
    answer: Any = {
        "Error": {"Code": code, "Message": CANARY, "Key": CANARY},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }
    return botocore.ClientError(answer, "GetObject")


class _Answering(ThreadingHTTPServer):
    asked: list[str]
    url: str


@contextmanager
def answering(status: int, body: bytes, *, length: int | None = None) -> Iterator[_Answering]:
    """A server on the loopback that gives the same answer to everything."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server.asked.append(self.path)
            self.send_response(status)
            self.send_header("content-length", str(len(body) if length is None else length))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Say nothing."""

    with _Answering(("127.0.0.1", 0), Answer) as server:
        server.asked, server.url = [], f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
