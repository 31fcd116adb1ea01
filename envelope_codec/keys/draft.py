"""A draft: a new secret, and the record that it is for, before any master key has wrapped it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from envelope_codec.envelope import (
    SECRET_LENGTH,
    Purpose,
    Recipient,
    Record,
    build_record,
    commit,
    kms_context,
    record_head,
)
from envelope_codec.kms import MasterKey


class Draft:
    """A new secret with all of its record but the recipients. Every record that is made begins as one.

    Args:
        purpose: what the secret is for.
        created: Unix seconds.
        context: names and values to bind, ``temporal-namespace`` among them.
        secret: 32 bytes; a new random one if None.

    Attributes:
        key: the key that the secret yields: a wrapping key, or in direct mode a data key.
        id: the record's id, which commits to the secret.
        kms_context: what each KMS binds to the wrapped secret.

    Raises:
        MalformedEnvelope: the context breaks a rule of the format.
    """

    def __init__(
        self, purpose: Purpose, created: int, context: Mapping[str, str], *, secret: bytes | None = None
    ) -> None:
        self._secret = os.urandom(SECRET_LENGTH) if secret is None else secret
        self._head = record_head(purpose, created, context)
        self.key, self.id = commit(self._secret, self._head)
        self.kms_context = kms_context(purpose, context.items(), self.id)

    def wrap_by(self, master: MasterKey) -> Record:
        """Have ``master`` wrap the secret: return the record with this one recipient. Makes one KMS call.

        Raises:
            EnvelopeError: as the provider raised it.
            MalformedEnvelope: the provider's answer does not fit into a record.
        """
        wrapped = master.wrap(self._secret, self.kms_context)
        return self.record([Recipient(wrapped.key_id, wrapped.key_version, wrapped.ciphertext)])

    def record(self, recipients: Iterable[Recipient]) -> Record:
        """Return the record with these recipients, checked as a reader checks it.

        Raises:
            MalformedEnvelope: a recipient breaks a bound, or two have one key id.
        """
        return build_record(self._head, self.id, recipients)
