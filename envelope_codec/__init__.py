"""Envelope encryption for Temporal payloads, with master keys that never leave your KMS."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

# isort: off
if TYPE_CHECKING:
    from envelope_codec.temporal.codec import EnvelopeCodec
    from envelope_codec.config import EnvelopeConfig, NamespaceKeys
    from envelope_codec.errors import ConfigurationError, ContextMismatch, EncryptionRequired, EnvelopeError
    from envelope_codec.errors import ExtensionFailed, InvalidCiphertext, KeyDenied, KeyNotConfigured, KmsUnavailable
    from envelope_codec.errors import MalformedEnvelope, PayloadMissing, StoreRefused, StoreUnavailable
    from envelope_codec.keys.keyring import Keyring
    from envelope_codec.keys.keyset import SealingContext
    from envelope_codec.kms import MasterKey, Unwrapped, WrappedSecret
    from envelope_codec.observe import Event, Observer
    from envelope_codec.plugin import EnvelopePlugin, envelope_data_converter
# isort: on

__version__ = "0.1.0"

# fmt: off
__all__ = [
    "ConfigurationError", "ContextMismatch", "EncryptionRequired", "EnvelopeCodec", "EnvelopeConfig", "EnvelopeError",
    "EnvelopePlugin", "Event", "ExtensionFailed", "InvalidCiphertext", "KeyDenied", "KeyNotConfigured", "Keyring",
    "KmsUnavailable", "MalformedEnvelope", "MasterKey", "NamespaceKeys", "Observer", "PayloadMissing", "SealingContext",
    "StoreRefused", "StoreUnavailable", "Unwrapped", "WrappedSecret", "envelope_data_converter",
]
_HOMES = {  # a name that is not here is an error class
    "EnvelopeCodec": "temporal.codec", "EnvelopeConfig": "config", "NamespaceKeys": "config", "Event": "observe",
    "Keyring": "keys.keyring", "SealingContext": "keys.keyset", "MasterKey": "kms", "Unwrapped": "kms",
    "WrappedSecret": "kms", "Observer": "observe", "EnvelopePlugin": "plugin", "envelope_data_converter": "plugin",
}
# fmt: on


def __getattr__(name: str) -> Any:
    """Load a name when it is used. Providers and commands that need no Temporal SDK don't wait for it."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{_HOMES.get(name, 'errors')}"), name)
    return value
