"""What errors of botocore mean where credentials are looked for, and what a log is told of them."""

from __future__ import annotations

import pytest
from botocore import exceptions as sdk

from envelope_codec.aws import meanings
from envelope_codec.aws.credentials_error import CredentialsUnavailable, describe
from envelope_codec.provider import Meaning


def answer(status: int, code: str, operation: str = "AssumeRole") -> sdk.ClientError:
    response = {"Error": {"Code": code, "Message": "hush"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return sdk.ClientError(response, operation)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("error", "meaning"),
    [
        (sdk.NoCredentialsError(), meanings.NOT_FOUND),
        (sdk.ProfileNotFound(profile="p"), meanings.NO_CONFIGURATION),
        (sdk.SSOTokenLoadError(error_msg="hush"), meanings.NO_LOGIN),
        (sdk.ConnectTimeoutError(endpoint_url="u"), meanings.SILENT),
        (sdk.EndpointConnectionError(endpoint_url="u"), meanings.UNREACHABLE),
        (answer(403, "AccessDenied"), meanings.NO_ROLE),
        (answer(403, "AccessDenied", "GetRoleCredentials"), meanings.REFUSED),
        (answer(400, "ExpiredTokenException"), meanings.SESSION_OVER),
        (answer(400, "ExpiredTokenException", "AssumeRoleWithWebIdentity"), meanings.REFUSED),
        (answer(403, "RegionDisabledException"), meanings.NO_TOKEN_REGION),
        (answer(500, "InternalFailure"), meanings.BROKEN),
        (answer(429, "Throttling"), meanings.BROKEN),
        (ValueError("hush"), meanings.BROKEN),
    ],
)
def test_each_error_has_a_meaning(error: Exception, meaning: Meaning) -> None:
    found = CredentialsUnavailable.of(error)
    assert (found.meaning, str(found)) == (meaning, meaning.text)
    again = CredentialsUnavailable.of(found)
    assert again is not found
    assert (again.meaning, again.said) == (found.meaning, found.said)


def test_a_log_gets_no_text_that_may_hold_a_secret() -> None:
    assert describe(answer(403, "AccessDenied")) == "AssumeRole: AccessDenied"
    assert describe(ValueError("hush")) == "ValueError"
    assert describe(FileNotFoundError(2, "No such file", "/token")) == "FileNotFoundError: No such file (/token)"
    process = sdk.CredentialRetrievalError(provider="custom-process", error_msg="hush")
    assert "hush" not in describe(process)
    assert "custom-process" in describe(process)
