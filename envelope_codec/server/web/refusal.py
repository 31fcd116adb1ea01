"""The answer to a request that is refused: a status, a code for programs, a sentence for people."""

from __future__ import annotations

import json
from collections.abc import Mapping

from starlette.datastructures import Headers
from starlette.responses import Response

from envelope_codec.errors import EnvelopeError

RETRY_SECONDS = 5

OUTAGE = 503
OUTAGE_FOR_BROWSERS = 424
"""Stands for `OUTAGE` in answers to pages: Temporal's Web UI asks three times where the status is 5xx, and at once."""

# Names of the failures of single payloads. Others are class names of the library's errors.
NOT_ALLOWED = "NotAllowed"
NOT_AN_ENVELOPE = "NotAnEnvelope"
BAD_REFERENCE = "BadReference"
STORAGE_UNAVAILABLE = "StorageUnavailable"
KMS_UNAVAILABLE = "KmsUnavailable"
TOO_MANY_REFUSED = "TooManyRefused"
TOO_MANY_BYTES = "TooManyBytes"

_FAILURES = {
    NOT_ALLOWED: (403, "not_allowed", "You may not do this in the namespace that sealed the payload."),
    NOT_AN_ENVELOPE: (400, "not_an_envelope", "What the reference leads to was not sealed by this codec."),
    BAD_REFERENCE: (400, "bad_reference", "The payload is no reference that this server can follow."),
    STORAGE_UNAVAILABLE: (503, "storage_unavailable", "The payload could not be fetched from its store."),
    "StoreUnavailable": (503, "storage_unavailable", "The payload could not be fetched from its store."),
    KMS_UNAVAILABLE: (503, "kms_unavailable", "The KMS did not answer in time. Try again."),
    TOO_MANY_REFUSED: (429, "too_many_refused", "A KMS has refused too many payloads of yours. Try again later."),
    TOO_MANY_BYTES: (429, "too_many_bytes", "What the payloads hold is too large together. Ask for less at once."),
    "KeyDenied": (400, "key_denied", "The KMS refuses the master key of the payload."),
    "KeyNotConfigured": (400, "key_not_configured", "This server has no master key for the payload."),
    "MalformedEnvelope": (400, "malformed_envelope", "The payload is no valid envelope, or one of a later version."),
    "InvalidCiphertext": (400, "invalid_ciphertext", "The payload is not what was sealed, or not for this key."),
}
_OTHER = (400, "not_openable", "The payload can't be opened.")


class Refusal(Exception):
    """An error that ends a request, and its answer.

    Args:
        status: of HTTP.
        code: for programs.
        message: for people; never content, a key id, or a provider's words.
        headers: to send along.
        close: whether the connection must end, because the body was not read to its end.
    """

    def __init__(
        self, status: int, code: str, message: str, *, headers: Mapping[str, str] | None = None, close: bool = False
    ) -> None:
        super().__init__(code)
        self.status = status
        self.code = code
        self.message = message
        self.headers = {**({"Connection": "close"} if close else {}), **(headers or {})}
        if status in (429, 503):
            self.headers.setdefault("Retry-After", str(RETRY_SECONDS))

    def response(self, request_id: str, request: Headers) -> Response:
        """Return the answer that is sent to a request with these headers."""
        document = {"error": self.code, "message": self.message, "request_id": request_id}
        to_page = self.status == OUTAGE and "origin" in request
        status = OUTAGE_FOR_BROWSERS if to_page else self.status
        return Response(json.dumps(document), status, self.headers, "application/json")


def refusal_of(failures: Mapping[str, int]) -> Refusal:
    """Return the refusal of a request whose payloads failed, by the names of their failures.

    An outage counts before a limit, a limit before a missing permission, and that before everything else.
    """
    known = sorted((_FAILURES.get(kind, _OTHER) for kind in failures), key=lambda found: -found[0])
    return Refusal(*known[0])


def failure_of(error: EnvelopeError) -> str:
    """Return the name of a payload's failure: that of the nearest class that has an answer of its own."""
    names = [kind.__name__ for kind in type(error).__mro__]
    return next((name for name in names if name in _FAILURES), names[0])
