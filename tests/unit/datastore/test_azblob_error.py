"""What Azure Blob Storage answers, and the errors that its answers become."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest
import requests
from azure.core.exceptions import (
    ClientAuthenticationError,
    HttpResponseError,
    IncompleteReadError,
    ServiceRequestError,
    ServiceResponseError,
)
from urllib3.exceptions import NameResolutionError

from envelope_codec.datastore import azblob_error as azure
from envelope_codec.datastore.azblob_credentials import CredentialsUnavailable, NoKeyGiven
from envelope_codec.datastore.azblob_error import code_of, translate
from envelope_codec.errors import StoreRefused, StoreUnavailable

REFUSED, OUTAGE = StoreRefused, StoreUnavailable
UNRESOLVED = NameResolutionError("hush", None, OSError("hush"))  # type: ignore[arg-type]


def answer(status: int, code: str | None = None, **headers: str) -> HttpResponseError:
    given = {"x-ms-request-id": "1", **headers} if code is not None else headers
    response: Any = SimpleNamespace(status_code=status, headers=given, reason="hush")
    error = HttpResponseError("hush", response=response)
    error.error_code = code  # type: ignore[attr-defined]  # as the SDK sets it
    return error


def network(inner: Exception) -> ServiceRequestError:
    return ServiceRequestError("hush", error=inner)


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (answer(404, "ContainerNotFound"), REFUSED, azure.NO_CONTAINER),
        (answer(409, "ContainerBeingDeleted"), REFUSED, azure.NO_CONTAINER),
        (answer(404, "ResourceNotFound"), REFUSED, azure.NO_ACCOUNT),
        (answer(403, "AccountIsDisabled"), REFUSED, azure.NO_ACCOUNT),
        (answer(403, "AuthorizationPermissionMismatch"), REFUSED, azure.FORBIDDEN),
        (answer(403, "InsufficientAccountPermissions"), REFUSED, azure.FORBIDDEN),
        (answer(403, "AuthorizationFailure"), REFUSED, azure.FIREWALL),
        (answer(403, "KeyBasedAuthenticationNotPermitted"), REFUSED, azure.NO_KEYS),
        (answer(409, "BlobArchived"), REFUSED, azure.ARCHIVED),
        (answer(409, "BlobImmutableDueToPolicy"), REFUSED, azure.RETAINED),
        (answer(412, "LeaseIdMissing"), REFUSED, azure.RETAINED),
        (answer(400, "InvalidResourceName"), REFUSED, azure.INVALID),
        (answer(400, "SomethingNew"), REFUSED, azure.OTHER),
        (answer(403, "AuthenticationFailed"), OUTAGE, azure.REJECTED),
        (answer(401, "InvalidAuthenticationInfo"), OUTAGE, azure.REJECTED),
        (answer(401, "SomethingNew"), OUTAGE, azure.REJECTED),
        (answer(429, "TooManyRequests"), OUTAGE, azure.NO_ANSWER),
        (answer(503, "ServerBusy"), OUTAGE, azure.NO_ANSWER),
        (answer(500), OUTAGE, azure.NO_ANSWER),
        *[(answer(status), OUTAGE, azure.NOT_AZURE) for status in (301, 400, 401, 403, 404, 407, 409, 413)],
        (ValueError("hush"), OUTAGE, azure.NOT_AZURE),
        (network(requests.ConnectionError("hush")), OUTAGE, azure.NO_ANSWER),
        (network(requests.exceptions.SSLError("hush")), OUTAGE, azure.NO_TLS),
        (network(requests.ConnectionError(UNRESOLVED)), OUTAGE, azure.NO_NAME),
        (ServiceResponseError("hush"), OUTAGE, azure.NO_ANSWER),
        (IncompleteReadError("hush"), OUTAGE, azure.NO_ANSWER),
        (TimeoutError("hush"), OUTAGE, azure.NO_ANSWER),
        (CredentialsUnavailable(ClientAuthenticationError("hush")), OUTAGE, azure.NO_CREDENTIALS),
        (CredentialsUnavailable(ClientAuthenticationError("AADSTS7000215: hush")), OUTAGE, azure.REFUSED),
        (CredentialsUnavailable(ServiceRequestError("hush")), OUTAGE, azure.UNREACHABLE),
        (CredentialsUnavailable(FileNotFoundError("hush")), OUTAGE, azure.NO_KEY),
        (CredentialsUnavailable(NoKeyGiven()), OUTAGE, azure.LOCAL),
    ],
)
def test_each_answer(error: Exception, kind: type[Exception], said: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    found = translate(error, "put")
    assert (type(found), found.operation) == (kind, "put")
    assert found.reason == (said if kind is OUTAGE else f"the container refused: {said}")
    assert "hush" not in str(found) + caplog.text


def test_the_log_has_the_code_of_what_is_not_known(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    translate(answer(400, "SomethingNew"), "put")
    assert "SomethingNew" in caplog.text


def test_only_answers_have_a_code() -> None:
    assert code_of(answer(404, "BlobNotFound")) == "BlobNotFound"
    assert code_of(ValueError()) == ""
