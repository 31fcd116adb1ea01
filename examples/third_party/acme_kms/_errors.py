"""What an error of the KMS means: no answer, a refusal, or a bad ciphertext.

A refusal (`KeyDenied`) is the KMS's own decision about this key: it evicts keys at once. Whatever says nothing about
the key is no answer (`KmsUnavailable`): it is retried, and keys at hand serve for a while.
"""

from __future__ import annotations

import json
import logging
import ssl
from http.client import HTTPException
from urllib.error import HTTPError, URLError

from acme_kms import _hints as hints
from envelope_codec.provider import ErrorTable, Meaning, Row, meanings

_BY_STATUS = {
    401: hints.CREDENTIALS_REJECTED,
    403: hints.NOT_PERMITTED,
    404: meanings.NOT_FOUND,
    409: hints.DISABLED,
    410: hints.DELETED,
    429: meanings.THROTTLED,
}


def _meaning_of_reply(error: HTTPError, operation: str) -> Meaning:
    if "acme-kms" not in error.headers:
        return meanings.NO_ANSWER  # a proxy or a gateway spoke, which knows nothing about the key
    if error.code == 400:
        # What wrap sends is always well-formed. What unwrap sends is what somebody stored.
        return meanings.BAD_CIPHERTEXT if operation == "unwrap" else meanings.REFUSED
    return meanings.SERVER_ERROR if error.code >= 500 else _BY_STATUS.get(error.code, meanings.NO_ANSWER)


def _meaning_of_way(error: URLError, _: str) -> Meaning:
    if isinstance(error.reason, TimeoutError):
        return meanings.TIMED_OUT
    return meanings.NO_TLS if isinstance(error.reason, ssl.SSLError) else meanings.UNREACHABLE


ERRORS = ErrorTable(
    logging.getLogger("acme_kms"),
    (
        Row(HTTPError, _meaning_of_reply, lambda error: f"HTTP status {error.code}"),
        Row(URLError, _meaning_of_way, lambda error: f"URLError: {error.reason}"),
        Row(TimeoutError, meanings.TIMED_OUT),
        Row((OSError, HTTPException), meanings.UNREACHABLE),
        Row(json.JSONDecodeError, meanings.NO_ANSWER),
    ),
)
