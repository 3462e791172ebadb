"""A store is written to at times only, and denied credentials of S3 are noticed."""

from __future__ import annotations

import json
import os
import uuid

import fsspec
import httpx
import pytest

from service.errors import StoreReadOnly
from service.store.files.remote_files import open_files
from service.store.files.write_probe import EVERY_S, PROBE, RETRY_S, WriteProbe


def test_it_writes_rarely_and_tells_what_the_last_write_told() -> None:
    now, writes, denied = [0.0], [0], [False]

    class Denying:
        def put(self, key: str, data: bytes) -> None:
            assert key == PROBE
            writes[0] += 1
            if denied[0]:
                raise StoreReadOnly("denied")

        def remove(self, key: str) -> None:
            assert key == PROBE

    probe = WriteProbe(Denying(), clock=lambda: now[0])
    for _ in range(3):
        probe.check()
    assert writes == [1]
    denied[0] = True
    now[0] = EVERY_S - 1
    probe.check()
    now[0] = EVERY_S
    for _ in range(3):
        with pytest.raises(StoreReadOnly):
            probe.check()
    assert writes == [2]
    denied[0] = False
    now[0] = EVERY_S + RETRY_S
    probe.check()
    assert writes == [3]


def test_a_store_is_left_as_it_was(url: str) -> None:
    files = open_files(url)
    files.check()
    assert list(files.walk()) == []


def test_credentials_of_s3_that_may_only_read(s3: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Moto's own check of policies decides."""
    import boto3

    endpoint = os.environ["AWS_ENDPOINT_URL"]
    bucket = uuid.uuid4().hex
    fsspec.filesystem("s3").mkdir(bucket)
    policy = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": ["s3:ListBucket", "s3:GetObject"], "Resource": "*"}],
    }
    iam = boto3.client("iam", region_name="us-east-1")
    iam.create_user(UserName=bucket)
    iam.put_user_policy(UserName=bucket, PolicyName="read", PolicyDocument=json.dumps(policy))
    key = iam.create_access_key(UserName=bucket)["AccessKey"]

    def checked_from(n: str) -> None:
        """Policies are checked after ``n`` more requests."""
        httpx.post(f"{endpoint}/moto-api/reset-auth", content=n.encode(), headers={"Content-Type": "text/plain"})

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])
    checked_from("0")
    try:
        files = open_files(f"s3://{bucket}/atlas")
        assert files.names("") == []
        with pytest.raises(StoreReadOnly, match="could not be written: Permission denied"):
            files.check()
    finally:
        checked_from("inf")
