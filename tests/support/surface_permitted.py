"""Two namespaces that call each other by Nexus: the keys and the permissions that each side needs."""

from __future__ import annotations

from collections.abc import Mapping

from envelope_codec import EnvelopeConfig, KeyDenied, NamespaceKeys, Unwrapped, WrappedSecret
from envelope_codec.testing import FakeKms


class Permitted:
    """A master key (a `MasterKey`) as one of its users has it.

    Args:
        kms: the master key.
        wrap: the namespace in whose context the user may encrypt; None for no permission to encrypt.
        unwrap: the namespace in whose context the user may decrypt.
    """

    def __init__(self, kms: FakeKms, *, wrap: str | None = None, unwrap: str) -> None:
        self._kms, self._wrap, self._unwrap = kms, wrap, unwrap
        self.key_id, self.accepts, self.close = kms.key_id, kms.accepts, kms.close

    def wrap(self, secret: bytes, context: Mapping[str, str]) -> WrappedSecret:
        self._check(context, self._wrap)
        return self._kms.wrap(secret, context)

    def unwrap(self, wrapped: WrappedSecret, context: Mapping[str, str]) -> Unwrapped:
        self._check(context, self._unwrap)
        return self._kms.unwrap(wrapped, context)

    def _check(self, context: Mapping[str, str], allowed: str | None) -> None:
        if context["temporal-namespace"] != allowed:
            raise KeyDenied("no permission")


def nexus_sides(
    calling: str, calling_key: FakeKms, handling: str, handling_key: FakeKms
) -> tuple[EnvelopeConfig, EnvelopeConfig]:
    """The configurations of the side that calls and of the side that handles, with least permissions.

    Each seals with its own key, for its own namespace, and opens with the other's key what was sealed for the other's
    namespace: as one of the keys there (the side that calls), or as the only one (the side that handles).
    """
    caller = Permitted(calling_key, wrap=calling, unwrap=calling)
    handler = Permitted(handling_key, wrap=handling, unwrap=handling)
    return (
        EnvelopeConfig(
            namespaces={
                calling: NamespaceKeys(key=caller),
                handling: NamespaceKeys(key=caller, decrypt_keys=(Permitted(handling_key, unwrap=handling),)),
            },
            require_encryption=True,
            startup_jitter=0,
        ),
        EnvelopeConfig(
            namespaces={
                handling: NamespaceKeys(key=handler),
                calling: NamespaceKeys(key=Permitted(calling_key, unwrap=calling)),
            },
            require_encryption=True,
            startup_jitter=0,
        ),
    )
