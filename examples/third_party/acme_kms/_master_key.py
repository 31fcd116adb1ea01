"""`AcmeKms`: a master key in Acme's KMS."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from typing import Any

from acme_kms._connection import Connection
from acme_kms._errors import ERRORS
from acme_kms._facts import FACTS
from acme_kms._key_id import key_id_of
from envelope_codec.errors import ConfigurationError
from envelope_codec.kms import Unwrapped, WrappedSecret, context_bytes
from envelope_codec.provider import READ_TIMEOUT, Failed, asks_kms, check_url, meanings, parse_options, seconds


class AcmeKms:
    """A key of Acme's KMS.

    Args:
        name: of the key.
        endpoint: URL of the KMS; else ``ACME_KMS``.
        token_file: file with a token; it is read at each call.
        read_timeout: seconds for a reply, default 5.

    Raises:
        ConfigurationError: an option is wrong or missing.
    """

    def __init__(
        self,
        name: str,
        *,
        endpoint: str | None = None,
        token_file: str | None = None,
        read_timeout: float | None = None,
    ) -> None:
        self._name = name
        self._key_id = key_id_of(name)
        url = endpoint or os.environ.get("ACME_KMS")
        if not url:
            raise ConfigurationError("no address of Acme's KMS: set ACME_KMS or endpoint=https://HOST")
        self._connection = Connection(
            check_url("endpoint", url), token_file, seconds("read_timeout", read_timeout, READ_TIMEOUT)
        )

    @classmethod
    def from_uri(cls, uri: str, /) -> AcmeKms:
        """Make the master key of ``acmekms://KEY?option=value``; the options are the constructor's."""
        parsed, options = parse_options(uri, FACTS)
        if parsed.path:
            raise ConfigurationError(f"key URI {parsed.shown!r} must hold a key and no path: acmekms://KEY")
        return cls(parsed.authority, **options)

    def __repr__(self) -> str:
        return f"AcmeKms({self._key_id!r})"

    @property
    def key_id(self) -> str:
        """``acmekms://KEY``."""
        return self._key_id

    def accepts(self, key_id: str) -> bool:
        """Whether ``key_id`` is this key's own, letter by letter."""
        return key_id == self._key_id

    @asks_kms("wrap", ERRORS)
    def wrap(self, secret: bytes, context: Mapping[str, str]) -> WrappedSecret:
        """Encrypt under the newest version of the key."""
        reply = self._connection.ask("encrypt", {"plaintext": _encode(secret), **self._question(context)})
        return WrappedSecret(self._key_id, _text(reply, "version"), _decode(_text(reply, "ciphertext")))

    @asks_kms("unwrap", ERRORS)
    def unwrap(self, wrapped: WrappedSecret, context: Mapping[str, str]) -> Unwrapped:
        """Decrypt with the recorded version and no other, so that a success proves this version."""
        if not self.accepts(wrapped.key_id):
            raise Failed(meanings.OTHER_KEY)
        question = {"ciphertext": _encode(wrapped.ciphertext), "version": wrapped.key_version}
        reply = self._connection.ask("decrypt", {**question, **self._question(context)})
        return Unwrapped(_decode(_text(reply, "plaintext")), wrapped.key_version)

    def close(self) -> None:
        """End its use. Final: a later call gets `KmsUnavailable`."""
        self._connection.close()

    def _question(self, context: Mapping[str, str]) -> dict[str, str]:
        return {"key": self._name, "context": _encode(context_bytes(context))}


def _text(reply: Mapping[str, Any], name: str) -> str:
    text = reply.get(name)
    if not isinstance(text, str):
        raise Failed(meanings.NO_ANSWER)
    return text


def _encode(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _decode(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise Failed(meanings.NO_ANSWER) from None
