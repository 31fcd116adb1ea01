"""The meaning of errors of Redis: which part is at fault, and whether the same call may succeed later."""

from __future__ import annotations

import logging
from collections.abc import Callable

from redis.exceptions import (
    AskError,
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    ClusterCrossSlotError,
    ClusterError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as RedisConnectionError

from envelope_codec.datastore.reasons import NO_PERMISSION
from envelope_codec.errors import EnvelopeError, StoreRefused, StoreUnavailable

_log = logging.getLogger("envelope_codec.datastore.redis")


def translate(error: Exception, operation: str) -> EnvelopeError:
    """Return the error to raise for ``error``, which came up in ``operation``. The log has its class."""
    _log.debug("Redis %s failed: %s", operation, type(error).__name__)
    if isinstance(error, ReadOnlyError):
        return StoreUnavailable("the server takes no writes: it is a replica, or read-only", operation=operation)
    text = str(error)
    for kind, words, make_error in _MEANINGS:
        if isinstance(error, kind) and (not words or words in text):
            return make_error(operation)
    return StoreUnavailable("the server did not answer", operation=operation)


_NO_PERMISSION = "permission is missing: for a command, or for keys with the prefix"

_MakeError = Callable[[str], EnvelopeError]


def _refuse(reason: str, code: str | None = None) -> _MakeError:
    def make_error(operation: str) -> EnvelopeError:
        error = StoreRefused(reason, operation=operation)
        error.code = code
        return error

    return make_error


def _unavailable(reason: str) -> _MakeError:
    return lambda operation: StoreUnavailable(reason, operation=operation)


# https://redis.io/docs/latest/develop/reference/protocol-spec/: redis-py has classes for some codes, and for others the
# code in the text. The first row that fits counts.
_MEANINGS: tuple[tuple[type[Exception], str, _MakeError], ...] = (
    (AuthenticationError, "", _refuse("the server refused the login: wrong user or password")),
    (AuthorizationError, "", _refuse("the server refused the login: wrong user or password")),
    (
        NoPermissionError,
        "",
        _refuse("permission is missing: for a command, or for keys with the prefix", NO_PERMISSION),
    ),
    (OutOfMemoryError, "", _refuse("the server is out of memory")),
    (BusyLoadingError, "", _unavailable("the server is starting: it loads its data")),
    (RedisConnectionError, "max number of clients", _unavailable("the server has too many connections")),
    (RedisError, "NOREPLICAS", _unavailable("the server has not enough replicas to take writes")),
    (RedisError, "MISCONF", _unavailable("the server can't save its data: look at its disk")),
    (RedisError, "BUSY", _unavailable("the server is busy with a script")),
    (TryAgainError, "", _unavailable("the server did not answer")),
    (AskError, "", _refuse("the server belongs to a Redis Cluster, which is not supported")),
    (ClusterCrossSlotError, "", _refuse("the server belongs to a Redis Cluster, which is not supported")),
    (ClusterError, "", _unavailable("the server did not answer")),
    (ResponseError, "WRONGTYPE", _refuse("what is there under the id is of another kind")),
    (ResponseError, "DB index", _refuse("the server has no database of that number")),
    (ResponseError, "unknown command", _refuse("the server does not know a command that is needed")),
    (ResponseError, "", _refuse("the server refused, and its log may say why")),
)
