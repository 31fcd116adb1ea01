"""What DynamoDB answers, and the errors that its answers become."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, ParamValidationError

from envelope_codec.aws.credentials_error import CredentialsUnavailable
from envelope_codec.aws.meanings import NO_ROLE
from envelope_codec.datastore.dynamodb_error import translate
from envelope_codec.errors import StoreRefused, StoreUnavailable

REFUSED, OUTAGE = StoreRefused, StoreUnavailable


@pytest.mark.parametrize(
    ("status", "code", "kind", "said"),
    [
        (400, "ResourceNotFoundException", REFUSED, "table does not exist"),
        (400, "AccessDeniedException", REFUSED, "permission"),
        (400, "ValidationException", REFUSED, "another key"),
        (400, "SomethingNew", REFUSED, "log has its code"),
        (400, "UnrecognizedClientException", OUTAGE, "credentials"),
        (400, "ExpiredTokenException", OUTAGE, "credentials"),
        (400, "ProvisionedThroughputExceededException", OUTAGE, "no more requests"),
        (400, "ThrottlingException", OUTAGE, "no more requests"),
        (400, "ResourceInUseException", OUTAGE, "being made"),
        (500, "InternalServerError", OUTAGE, "did not answer"),
        (503, "", OUTAGE, "did not answer"),
    ],
)
def test_each_answer(
    status: int, code: str, kind: type[Exception], said: str, caplog: pytest.LogCaptureFixture
) -> None:
    answer: Any = {"Error": {"Code": code, "Message": "hush"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    told = translate(ClientError(answer, "PutItem"), "put")
    assert (type(told), told.operation) == (kind, "put")
    assert said in str(told)
    assert "hush" not in f"{told} {caplog.text}"


def test_no_answer() -> None:
    assert type(translate(EndpointConnectionError(endpoint_url="http://hush"), "get")) is OUTAGE
    assert type(translate(OSError("hush"), "get")) is OUTAGE
    assert type(translate(CredentialsUnavailable(NO_ROLE, "hush"), "get")) is OUTAGE
    assert type(translate(ParamValidationError(report="hush"), "get")) is REFUSED
