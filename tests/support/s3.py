"""An S3 that checks who asks: moto with authentication on, on the loopback."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any, Final

import httpx
import pytest
from pydantic import SecretStr

_number: Final = count(1)
_EVERYTHING: Final = [{"Effect": "Allow", "Action": "*", "Resource": "*"}]


@dataclass(frozen=True)
class Keys:
    """An access key of one user."""

    user: str
    access: SecretStr
    secret: SecretStr


@dataclass(frozen=True)
class S3Server:
    """Where it listens, and the keys of one who may do everything."""

    url: str
    admin: Keys

    def client(self, service: str = "s3") -> Any:
        """A boto3 client of the administrator."""
        return _client(service, self.url, self.admin)

    def user(self, statements: list[dict[str, Any]]) -> Keys:
        """A new user whom a policy of these statements allows something."""
        return _user(self.client("iam"), statements)

    def revoke(self, keys: Keys) -> None:
        """The key is refused from now on."""
        self.client("iam").delete_access_key(
            UserName=keys.user, AccessKeyId=keys.access.get_secret_value()
        )

    def clear(self) -> None:
        """No bucket is left."""
        client = self.client()
        for bucket in (one["Name"] for one in client.list_buckets()["Buckets"]):
            for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket):
                for found in page.get("Contents", ()):
                    client.delete_object(Bucket=bucket, Key=found["Key"])
            client.delete_bucket(Bucket=bucket)


@pytest.fixture(scope="session")
def _s3_server() -> Iterator[S3Server]:
    from moto.server import ThreadedMotoServer  # two seconds that most tests need not wait

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    nobody = Keys("nobody", SecretStr("unchecked"), SecretStr("unchecked"))
    admin = _user(_client("iam", url, nobody), _EVERYTHING)
    # From here on every request is checked; moto wants this plain text.
    httpx.post(
        f"{url}/moto-api/reset-auth", content="0", headers={"content-type": "text/plain"}, timeout=5
    ).raise_for_status()
    yield S3Server(url, admin)
    server.stop()


@pytest.fixture
def s3_server(_s3_server: S3Server) -> Iterator[S3Server]:
    """The server, without a bucket."""
    yield _s3_server
    _s3_server.clear()


def _user(iam: Any, statements: list[dict[str, Any]]) -> Keys:
    name = f"user-{next(_number)}"
    iam.create_user(UserName=name)
    policy = json.dumps({"Version": "2012-10-17", "Statement": statements})
    iam.put_user_policy(UserName=name, PolicyName="given", PolicyDocument=policy)
    key = iam.create_access_key(UserName=name)["AccessKey"]
    return Keys(name, SecretStr(key["AccessKeyId"]), SecretStr(key["SecretAccessKey"]))


def _client(service: str, url: str, keys: Keys) -> Any:
    import boto3

    return boto3.client(
        service,
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id=keys.access.get_secret_value(),
        aws_secret_access_key=keys.secret.get_secret_value(),
    )
