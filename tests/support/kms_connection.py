"""One process's connection to a KMS, which can be cut while other processes reach the same KMS."""

from __future__ import annotations

from collections.abc import Mapping

from envelope_codec.errors import KmsUnavailable
from envelope_codec.kms import MasterKey, Unwrapped, WrappedSecret


class KmsConnection:
    """A `MasterKey` that asks another one, unless it is cut.

    Attributes:
        cut: while True, every call raises `KmsUnavailable`.
        refused: calls that it has refused so far.
    """

    def __init__(self, kms: MasterKey, *, cut: bool = False) -> None:
        self._kms = kms
        self.cut = cut
        self.refused = 0

    @property
    def key_id(self) -> str:
        return self._kms.key_id

    def accepts(self, key_id: str) -> bool:
        return self._kms.accepts(key_id)

    def wrap(self, secret: bytes, context: Mapping[str, str]) -> WrappedSecret:
        self._check("wrap")
        return self._kms.wrap(secret, context)

    def unwrap(self, wrapped: WrappedSecret, context: Mapping[str, str]) -> Unwrapped:
        self._check("unwrap")
        return self._kms.unwrap(wrapped, context)

    def close(self) -> None:
        pass

    def _check(self, operation: str) -> None:
        if self.cut:
            self.refused += 1
            raise KmsUnavailable("the KMS did not answer", operation=operation, key_id=self.key_id)
