"""The meaning of errors of MongoDB: which part is at fault, and whether the same call may succeed later."""

from __future__ import annotations

import logging

from bson.errors import BSONError
from pymongo.errors import DocumentTooLarge, InvalidOperation, OperationFailure, WriteConcernError

from envelope_codec.errors import EnvelopeError, StoreRefused, StoreUnavailable

_log = logging.getLogger("envelope_codec.datastore.mongodb")

# https://www.mongodb.com/docs/manual/reference/error-codes/: those codes of the server that may pass
_PASSING = {6, 7, 50, 64, 89, 91, 189, 262, 9001, 10107, 11600, 11602, 13435, 13436}
_REFUSED = "the server refused, and its log may say why"
_LOGIN = "the server refused the login: wrong user or password, or another authSource"
_PERMISSION = "permission on the collection is missing"
_NAME = "the server does not take the name of the database or the collection"
_FULL = "the server is full: its disk or its quota"
_REASONS = {
    **dict.fromkeys((11, 18, 8000, 334), _LOGIN),
    **dict.fromkeys((13, 31, 33, 8), _PERMISSION),
    **dict.fromkeys((26, 73, 72, 48), _NAME),
    **dict.fromkeys((14031, 12501, 8001), _FULL),
    121: "the collection has a rule that refuses what is stored",
    352: "the server does not know what was asked for: it is too old, or not MongoDB",
    59: "the server does not know what was asked for: it is too old, or not MongoDB",
}


def translate(error: Exception, operation: str) -> EnvelopeError:
    """Return the error to raise for ``error``, which came up in ``operation``. The log has its class and code."""
    _log.debug("MongoDB %s failed: %s %s", operation, type(error).__name__, getattr(error, "code", None) or "")
    passing = isinstance(error, WriteConcernError) or getattr(error, "code", None) in _PASSING
    if isinstance(error, OperationFailure) and not passing:
        return StoreRefused(_REASONS.get(error.code or 0, _REFUSED), operation=operation)
    if isinstance(error, (DocumentTooLarge, InvalidOperation, BSONError)):
        return StoreRefused(_REFUSED, operation=operation)
    return StoreUnavailable("the server did not answer", operation=operation)
