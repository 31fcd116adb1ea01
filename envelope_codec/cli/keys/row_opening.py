"""Unwrapping what a keystore's row holds, as readers do."""

from __future__ import annotations

from collections.abc import Callable

from envelope_codec.envelope import Recipient, unlock_head
from envelope_codec.errors import KeyNotConfigured
from envelope_codec.keys.calls import translate_error
from envelope_codec.keys.keyset import KeySet
from envelope_codec.keystore_row import KeystoreRow
from envelope_codec.kms import MasterKey, WrappedSecret, unwrap_with


def accepts(master: MasterKey, key_id: str) -> bool:
    """Whether ``master`` takes ``key_id`` for its own. May ask a KMS. Raises `EnvelopeError` if that fails."""
    try:
        return master.accepts(key_id)
    except Exception as error:
        failure = translate_error(error, "unwrap", master)
    raise failure


def readers_of(opening: Callable[[str], KeySet | None], row: KeystoreRow, recipient: Recipient) -> list[MasterKey]:
    """List the master keys of the row's namespace that take this recipient for their own.

    Args:
        opening: gives the master keys that open for a namespace.
        row: has the namespace.
        recipient: of the row.

    Raises:
        KeyNotConfigured: there are none.
    """
    keys = opening(row.namespace)
    readers = [one for one in keys.opening(recipient.key_id) if accepts(one, recipient.key_id)] if keys else []
    if not readers:
        raise KeyNotConfigured("the master key is not configured for the row's namespace", operation="unwrap")
    return readers


def unwrap_row(master: MasterKey, row: KeystoreRow, recipient: Recipient) -> bytes:
    """Return the secret, once it has led to the row's id.

    Raises:
        EnvelopeError: the KMS did not do it, or what it gave leads elsewhere.
    """
    secret = b""
    wrapped = WrappedSecret(recipient.key_id, recipient.key_version, recipient.ciphertext)
    try:
        secret = unwrap_with(master, wrapped, row.kms_context).secret
        unlock_head(row.head, row.id, secret)
        return secret
    except Exception as error:
        failure = translate_error(error, "unwrap", master)
        failure.operation = "unwrap"
    finally:
        secret = b""
    raise failure
