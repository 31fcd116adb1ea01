"""What Google Cloud Storage answers, and the errors that its answers become."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
import requests
from google.api_core.exceptions import GoogleAPICallError, from_http_response, from_http_status
from google.auth.exceptions import DefaultCredentialsError, RefreshError, TransportError
from google.cloud.storage.exceptions import DataCorruption

from envelope_codec.datastore import gcs_error as gcs
from envelope_codec.datastore.gcs_credentials import CredentialsUnavailable
from envelope_codec.datastore.gcs_error import NameRefused, names_bucket, translate
from envelope_codec.datastore.reasons import MAYBE_MISSING
from envelope_codec.errors import StoreRefused, StoreUnavailable

REFUSED, OUTAGE = StoreRefused, StoreUnavailable
HTML = "<html>hush</html>"


def answer(status: int, reason: str = "", message: str = "hush", **headers: str) -> GoogleAPICallError:
    body = {"error": {"code": status, "message": message, "errors": [{"reason": reason, "message": message}]}}
    return plain(status, json.dumps(body), content_type="application/json", **headers)


def plain(status: int, text: str, **headers: str) -> GoogleAPICallError:
    response = requests.Response()
    response.status_code, response._content = status, text.encode()
    response.headers.update({name.replace("_", "-"): value for name, value in headers.items()})
    response.request = requests.Request("GET", "https://hush.example/").prepare()
    made: GoogleAPICallError = from_http_response(response)  # type: ignore[no-untyped-call,unused-ignore]
    return made


def refresh(*said: Any, retryable: bool = False) -> CredentialsUnavailable:
    return CredentialsUnavailable(RefreshError(*said, retryable=retryable))  # type: ignore[no-untyped-call,unused-ignore]


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (answer(404, "notFound", "The specified bucket does not exist."), REFUSED, gcs.NO_BUCKET),
        (answer(403, "forbidden", "hush does not have storage.objects.create access"), REFUSED, gcs.FORBIDDEN),
        (plain(403, "hush does not have access", X_GUploader_UploadID="1"), REFUSED, gcs.FORBIDDEN),
        (answer(403, "forbidden", "Request had insufficient authentication scopes. hush"), REFUSED, gcs.NARROW),
        (answer(403, "accountDisabled"), REFUSED, gcs.SUSPENDED),
        (answer(403, "forbidden", "The billing account for hush is disabled"), REFUSED, gcs.SUSPENDED),
        (answer(403, "forbidden", "Request is prohibited by organization's policy. hush"), REFUSED, gcs.PERIMETER),
        (answer(403, "retentionPolicyNotMet"), REFUSED, gcs.RETAINED),
        (answer(403, "objectUnderActiveHold"), REFUSED, gcs.RETAINED),
        (answer(400, "required", "Bucket is a requester pays bucket. hush"), REFUSED, gcs.PAYS),
        (answer(403, "forbidden", "Permission denied on Cloud KMS key. hush"), REFUSED, gcs.KMS),
        (answer(400, "somethingNew"), REFUSED, gcs.OTHER),
        (NameRefused(), REFUSED, gcs.INVALID),
        (answer(401, "authError", "Invalid Credentials"), OUTAGE, gcs.REJECTED),
        (answer(429, "rateLimitExceeded"), OUTAGE, gcs.NO_ANSWER),
        (answer(408), OUTAGE, gcs.NO_ANSWER),
        (answer(503, "backendError"), OUTAGE, gcs.NO_ANSWER),
        (plain(502, HTML), OUTAGE, gcs.NO_ANSWER),
        *[(plain(status, HTML), OUTAGE, gcs.NOT_GCS) for status in (301, 400, 401, 403, 404, 407, 412, 413)],
        (plain(403, '{"message": "hush"}'), OUTAGE, gcs.NOT_GCS),
        (DataCorruption(None, "hush"), OUTAGE, gcs.CHECKSUM),  # type: ignore[no-untyped-call,unused-ignore]
        (requests.ConnectionError("hush"), OUTAGE, gcs.NO_ANSWER),
        (TimeoutError("hush"), OUTAGE, gcs.NO_ANSWER),
        (
            CredentialsUnavailable(DefaultCredentialsError("Your default credentials were not found. hush")),  # type: ignore[no-untyped-call,unused-ignore]
            OUTAGE,
            gcs.NO_CREDENTIALS,
        ),
        (
            CredentialsUnavailable(DefaultCredentialsError("File hush was not found.")),  # type: ignore[no-untyped-call,unused-ignore]
            OUTAGE,
            gcs.UNREADABLE,
        ),
        (refresh("invalid_grant: hush", {"error": "hush"}), OUTAGE, gcs.REFUSED),
        (refresh("Unable to acquire impersonated credentials", "hush"), OUTAGE, gcs.NOT_IMPERSONATED),
        (refresh("hush", retryable=True), OUTAGE, gcs.UNREACHABLE),
        (TransportError("hush"), OUTAGE, gcs.UNREACHABLE),  # type: ignore[no-untyped-call,unused-ignore]
    ],
)
def test_each_answer(error: Exception, kind: type[Exception], said: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    found = translate(error, "put")
    assert (type(found), found.operation) == (kind, "put")
    assert found.reason == (said if kind is OUTAGE else f"the bucket refused: {said}")
    assert "hush" not in str(found) + caplog.text


def test_who_may_not_list_learns_nothing_of_a_missing_object() -> None:
    denied = answer(403, "forbidden", "Permission 'storage.objects.get' denied on resource (or it may not exist).")
    found = translate(denied, "get")
    assert (found.code, found.reason) == (MAYBE_MISSING, f"the bucket refused: {gcs.MAYBE_FORBIDDEN}")
    assert translate(denied, "put").code is None
    assert translate(answer(403, "forbidden"), "get").code is None


def test_a_missing_bucket_is_told_from_a_missing_object_by_words_if_there_are_any() -> None:
    assert names_bucket(plain(404, "The specified bucket does not exist."))
    assert not names_bucket(plain(404, "No such object: bucket/hush"))
    assert not names_bucket(from_http_status(404, "Not Found"))  # type: ignore[no-untyped-call,unused-ignore]


def test_the_log_has_the_reason_of_what_is_not_known(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    translate(answer(400, "somethingNew"), "put")
    assert "400 somethingNew" in caplog.text
