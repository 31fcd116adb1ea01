"""Providers for the conformance suite: one that keeps every promise, and others that break one each.

Their KMS is in this process.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from envelope_codec.errors import EnvelopeError
from envelope_codec.kms import Unwrapped, WrappedSecret, context_bytes
from envelope_codec.provider import ErrorTable, Failed, Meaning, Row, asks_kms, meanings

NONCE = 12


class SdkError(Exception):
    """An error of the SDK."""


@dataclass
class StoredKey:
    """A key of the KMS."""

    meaning: Meaning | None = None
    versions: list[bytes] = field(default_factory=lambda: [os.urandom(32)])


KEYS: dict[str, StoredKey] = {}
LOG = logging.getLogger("unruly")
ERRORS = ErrorTable(LOG, (Row(InvalidTag, meanings.BAD_CIPHERTEXT), Row(OSError, meanings.UNREACHABLE)))


class Good:
    """A master key that keeps every promise."""

    def __init__(self, name: str, endpoint: str | None, timeout: float) -> None:
        self._name = name
        self._endpoint = endpoint
        self._timeout = timeout
        self.closed = False

    @property
    def key_id(self) -> str:
        return f"unruly://{self._name}"

    def accepts(self, key_id: str) -> bool:
        return key_id == self.key_id

    def bound(self, context: Mapping[str, str]) -> bytes:
        return context_bytes(context)

    def connect(self) -> StoredKey:
        if self._endpoint is not None:
            host, _, port = self._endpoint.rpartition(":")
            with socket.create_connection((host, int(port)), self._timeout) as connection:
                if not connection.recv(1):
                    raise ConnectionResetError
        key = KEYS[self._name]
        if key.meaning is not None:
            raise Failed(key.meaning)
        return key

    @asks_kms("wrap", ERRORS)
    def wrap(self, secret: bytes, context: Mapping[str, str]) -> WrappedSecret:
        key, nonce = self.connect(), os.urandom(NONCE)
        sealed = AESGCM(key.versions[-1]).encrypt(nonce, secret, self.bound(context))
        return WrappedSecret(self.key_id, str(len(key.versions)), nonce + sealed)

    @asks_kms("unwrap", ERRORS)
    def unwrap(self, wrapped: WrappedSecret, context: Mapping[str, str]) -> Unwrapped:
        return self.open(wrapped, context)

    def open(self, wrapped: WrappedSecret, context: Mapping[str, str]) -> Unwrapped:
        versions = dict(enumerate(self.connect().versions, 1))
        for number, material in versions.items():
            if wrapped.key_version == str(number):
                return Unwrapped(self.decrypt(material, wrapped, context), str(number))
        raise Failed(meanings.BAD_CIPHERTEXT)

    def decrypt(self, material: bytes, wrapped: WrappedSecret, context: Mapping[str, str]) -> bytes:
        if len(wrapped.ciphertext) < NONCE + 16:
            raise Failed(meanings.BAD_CIPHERTEXT)
        nonce, sealed = wrapped.ciphertext[:NONCE], wrapped.ciphertext[NONCE:]
        return AESGCM(material).decrypt(nonce, sealed, self.bound(context))

    def close(self) -> None:
        self.closed = True


class BindsNothing(Good):
    """It leaves the context to others."""

    def bound(self, context: Mapping[str, str]) -> bytes:
        return b""


class BindsNoNames(Good):
    """It joins what it should encode, so that bytes may move from a name to a value."""

    def bound(self, context: Mapping[str, str]) -> bytes:
        return "".join(name + value for name, value in sorted(context.items())).encode()


class TakesOutageForRefusal(Good):
    """It says that the KMS refused when it could not be reached."""

    def connect(self) -> StoredKey:
        try:
            return super().connect()
        except OSError:
            raise Failed(meanings.NOT_PERMITTED) from None


class TakesRefusalForOutage(Good):
    """It says that a disabled key could not be reached."""

    def connect(self) -> StoredKey:
        if KEYS[self._name].meaning is not None:
            raise Failed(meanings.UNREACHABLE)
        return super().connect()


class ProvesWhatTheRecordSays(Good):
    """It tries every version, and then says that the recorded one opened."""

    def open(self, wrapped: WrappedSecret, context: Mapping[str, str]) -> Unwrapped:
        for material in self.connect().versions:
            try:
                return Unwrapped(self.decrypt(material, wrapped, context), wrapped.key_version)
            except InvalidTag:
                continue
        raise Failed(meanings.BAD_CIPHERTEXT)


class ForgetsOldVersions(Good):
    """It opens with the latest version alone."""

    def open(self, wrapped: WrappedSecret, context: Mapping[str, str]) -> Unwrapped:
        versions = self.connect().versions
        return Unwrapped(self.decrypt(versions[-1], wrapped, context), str(len(versions)))


class AcceptsAnyKey(Good):
    """It takes records of other keys for its own."""

    def accepts(self, key_id: str) -> bool:
        return key_id.startswith("unruly://")


class TellsNames(Good):
    """It puts the key id in the text of an error, which stands in histories in clear."""

    def unwrap(self, wrapped: WrappedSecret, context: Mapping[str, str]) -> Unwrapped:
        try:
            return super().unwrap(wrapped, context)
        except EnvelopeError as error:
            told = type(error)(f"{error} ({self.key_id})", operation="unwrap", key_id=self.key_id)
        raise told


class LetsErrorsThrough(Good):
    """It lets the errors of its SDK leave."""

    def wrap(self, secret: bytes, context: Mapping[str, str]) -> WrappedSecret:
        if self.closed:
            raise SdkError("closed")
        return super().wrap(secret, context)


class CarriesErrors(Good):
    """It hides the error of its SDK behind its own, where error reporters find it with its frames."""

    def unwrap(self, wrapped: WrappedSecret, context: Mapping[str, str]) -> Unwrapped:
        try:
            return self.open(wrapped, context)
        except (Failed, OSError, InvalidTag) as error:
            raise ERRORS.look_up(error, "unwrap").make_error(operation="unwrap", key_id=self.key_id) from None


class LogsSecrets(Good):
    """It logs what it sends, for debugging."""

    def wrap(self, secret: bytes, context: Mapping[str, str]) -> WrappedSecret:
        LOG.debug("wrapping %s", secret.hex())
        return super().wrap(secret, context)


class SharesOneBuffer(Good):
    """It is for one thread at a time."""

    def wrap(self, secret: bytes, context: Mapping[str, str]) -> WrappedSecret:
        self._secret = secret
        threading.Event().wait(0.001)  # as long as a network takes: the other threads come meanwhile
        return super().wrap(self._secret, context)


class ClosesOnce(Good):
    """It fails when it is closed twice."""

    def close(self) -> None:
        if self.closed:
            raise SdkError("closed")
        super().close()


class GoodHarness:
    """Keys of a provider of this module."""

    kind: ClassVar[type[Good]] = Good
    tells_versions = True

    def create_key(self) -> str:
        name = str(uuid.uuid4())
        KEYS[name] = StoredKey()
        return name

    def open(self, uri: str, *, endpoint: str | None = None, read_timeout: float | None = None) -> Good:
        return self.kind(uri, endpoint, read_timeout or 5.0)

    def rotate(self, uri: str) -> None:
        KEYS[uri].versions.append(os.urandom(32))

    def disable(self, uri: str) -> None:
        KEYS[uri].meaning = meanings.DISABLED

    def enable(self, uri: str) -> None:
        KEYS[uri].meaning = None

    def schedule_deletion(self, uri: str) -> None:
        KEYS[uri].meaning = meanings.UNUSABLE


def harness_of(provider: type[Good]) -> type[GoodHarness]:
    """The harness of one provider."""
    return type(f"{provider.__name__}Harness", (GoodHarness,), {"kind": provider})
