"""Errors of this library.

::

    EnvelopeError
    ├── ConfigurationError    a setting is wrong; raised at construction, names the setting and the fix
    ├── MalformedEnvelope     the bytes are not a valid envelope, or a later version of it
    ├── InvalidCiphertext     well-formed, but does not authenticate: changed, or sealed under another key or context
    │   └── TooLarge          a datastore has more bytes than were stored (in `envelope_codec.store`)
    ├── ContextMismatch       sealed for another namespace than the one it turned up in
    ├── KeyNotConfigured      no master key of this envelope is configured for the namespace that sealed it
    ├── EncryptionRequired    not an envelope, and ``require_encryption`` is on
    ├── KeyDenied             the KMS answered and refused: disabled, deleted, permission withdrawn
    ├── KmsUnavailable        the KMS did not give an answer: time-out, throttling, 5xx, expired credentials
    ├── StoreUnavailable      the datastore did not give an answer
    ├── StoreRefused          the datastore answered and refused: permission, a missing table or bucket
    │   └── RowConflict       a keystore's row is of another revision (in `envelope_codec.keystore`; callers handle it)
    ├── PayloadMissing        the datastore has nothing under a reference, or nothing any more
    └── ExtensionFailed       a codec, driver or selector that the application brought raised something

Only `KmsUnavailable` and `StoreUnavailable` are retryable. ``str(error)`` holds no key ids, key bytes, plaintext,
endpoints or raw replies of a provider, because Temporal's SDK stores error texts in workflow history in clear; the key
id is an attribute, for logs. `ConfigurationError` alone may name settings and key ids.

None of these derives from Temporal's ``FailureError``: one of those, raised while decoding, fails a workflow for
good.
"""

from __future__ import annotations

from typing import ClassVar

from typing_extensions import Self


class EnvelopeError(Exception):
    """Any error that this library raises on purpose.

    Args:
        reason: fixed text; never a key id, an endpoint, secret bytes or a provider's own words.
        operation: what was done when it failed: ``wrap``, ``unwrap``, ``seal`` or ``open``; None if it is not known.
        key_id: the master key concerned; None if there is none. Not part of ``str(error)``.

    Attributes:
        setting: the setting that names this master key, where it is known. For logs, like the key id.
        code: a stable short name of the reason, such as ``throttled``, where the provider gives one. Programs compare
            this attribute; the text is for people.
    """

    retryable: ClassVar[bool] = False
    """Whether the same call may succeed later although nobody changes anything."""

    def __init__(self, reason: str, *, operation: str | None = None, key_id: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.operation = operation
        self.key_id = key_id
        self.setting: str | None = None
        self.code: str | None = None

    def fresh(self) -> Self:
        """Return a copy without traceback, for handing one outcome to many callers."""
        copy = type(self)(self.reason, operation=self.operation, key_id=self.key_id)
        copy.setting = self.setting
        copy.code = self.code
        return copy

    def __reduce__(self) -> tuple[object, ...]:
        return (_restore, (type(self), self.reason, self.operation, self.key_id, self.code))


def _restore(
    kind: type[EnvelopeError], reason: str, operation: str | None, key_id: str | None, code: str | None = None
) -> EnvelopeError:
    error = kind(reason, operation=operation, key_id=key_id)
    error.code = code
    return error


class ConfigurationError(EnvelopeError):
    """A setting, a key URI or an installation is wrong. Raised at construction; names the setting and the fix."""


class MalformedEnvelope(EnvelopeError):
    """The bytes are not a valid envelope of a version that this library knows."""


class InvalidCiphertext(EnvelopeError):
    """Well-formed, but it does not authenticate: changed, or made under another key or another context."""


class ContextMismatch(EnvelopeError):
    """The envelope was sealed for another Temporal namespace than the one it turned up in."""


class KeyNotConfigured(EnvelopeError):
    """None of the envelope's master keys is configured for the namespace that sealed it."""


class EncryptionRequired(EnvelopeError):
    """A payload is not an envelope, and ``require_encryption`` is on."""


class KeyDenied(EnvelopeError):
    """The KMS answered and refused: the key is disabled, deleted or of the wrong kind, or permission is missing."""


class KmsUnavailable(EnvelopeError):
    """The KMS gave no answer: time-out, throttling, server error, expired credentials. The key may be in order."""

    retryable: ClassVar[bool] = True


class StoreUnavailable(EnvelopeError):
    """The datastore gave no answer: time-out, connection lost, throttling, server error."""

    retryable: ClassVar[bool] = True


class StoreRefused(EnvelopeError):
    """The datastore answered and refused: no permission, no such table or bucket, read-only, full."""


class PayloadMissing(EnvelopeError):
    """The datastore has nothing under a reference, or nothing any more."""


class ExtensionFailed(EnvelopeError):
    """A codec, storage driver or driver selector of the application failed. The log has the words of its error."""
