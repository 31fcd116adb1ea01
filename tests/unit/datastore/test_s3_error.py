"""What S3 answers, and the errors that its answers become."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from botocore.exceptions import (
    ClientError,
    ConnectionClosedError,
    EndpointConnectionError,
    FlexibleChecksumError,
    ParamValidationError,
)

from envelope_codec.aws.credentials_error import CredentialsUnavailable
from envelope_codec.aws.meanings import NO_ROLE
from envelope_codec.datastore.reasons import MAYBE_MISSING
from envelope_codec.datastore.s3_error import code_of, translate
from envelope_codec.datastore.s3_rules import BucketRules
from envelope_codec.errors import PayloadMissing, StoreRefused, StoreUnavailable

REFUSED, OUTAGE = StoreRefused, StoreUnavailable


def answer(code: str, status: int, message: str = "hush", **metadata: str) -> ClientError:
    response: Any = {"Error": {"Code": code, "Message": message}}
    response["ResponseMetadata"] = {"HTTPStatusCode": status, **metadata}
    return ClientError(response, "PutObject")


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (answer("NoSuchBucket", 404), REFUSED, "does not exist"),
        (answer("AccessDenied", 403), REFUSED, "permission"),
        (answer("AccessDenied", 403, "not authorized to perform: kms:GenerateDataKey on hush"), REFUSED, "the KMS key"),
        (answer("KMS.NotFoundException", 400), REFUSED, "is missing, disabled"),
        (answer("KMS.DisabledException", 400), REFUSED, "is missing, disabled"),
        (answer("KMS.ThrottlingException", 400), OUTAGE, "did not answer"),
        (answer("PermanentRedirect", 301), REFUSED, "another region"),
        (answer("QuotaExceeded", 507), REFUSED, "full"),
        (answer("NotImplemented", 501), REFUSED, "does not do"),
        (answer("BadDigest", 400), REFUSED, "checksums"),
        (answer("InvalidArgument", 400, "x-amz-sdk-checksum hush"), REFUSED, "checksums"),
        (answer("SomethingNew", 400), REFUSED, "the log has its code"),
        (answer("SlowDown", 503), OUTAGE, "did not answer"),
        (answer("SomethingNew", 500), OUTAGE, "did not answer"),
        (answer("ExpiredToken", 400), OUTAGE, "credentials"),
        (answer("403", 403), OUTAGE, "not one of S3"),
        (answer("403", 403, RequestId="r"), REFUSED, "permission"),
        (ParamValidationError(report="hush"), REFUSED, "not valid"),
        (FlexibleChecksumError(error_msg="hush"), OUTAGE, "checksum"),
        (EndpointConnectionError(endpoint_url="hush"), OUTAGE, "did not answer"),
        (ConnectionClosedError(endpoint_url="hush"), OUTAGE, "did not answer"),
        (CredentialsUnavailable(NO_ROLE, "hush"), OUTAGE, NO_ROLE.text),
    ],
)
def test_each_answer(error: Exception, kind: type[Exception], said: str) -> None:
    found = translate(error, "put")
    assert (type(found), found.operation) == (kind, "put")
    assert said in str(found)
    assert "hush" not in str(found)


@pytest.mark.parametrize(("code", "maybe"), [("AccessDenied", MAYBE_MISSING), ("403", None)])
def test_another_owner_is_told_where_one_is_asked_for(code: str, maybe: str | None) -> None:
    found = translate(answer(code, 403, RequestId="r"), "put", BucketRules(owner="111122223333"))
    assert (type(found), found.code) == (REFUSED, maybe)
    assert "bucket_owner" in str(found)
    assert "1111" not in str(found)
    assert "bucket_owner" not in str(translate(answer(code, 403, RequestId="r"), "put"))


def test_a_missing_object_is_missing_only_where_it_is_read() -> None:
    assert type(translate(answer("NoSuchKey", 404), "get")) is PayloadMissing
    assert type(translate(answer("NoSuchKey", 404), "put")) is REFUSED


def test_the_log_has_the_code_of_what_is_not_known(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    translate(answer("SomethingNew", 400), "put")
    assert "SomethingNew" in caplog.text
    assert "hush" not in caplog.text


def test_only_answers_have_a_code() -> None:
    assert code_of(answer("NoSuchKey", 404)) == "NoSuchKey"
    assert code_of(OSError("hush")) == ""
