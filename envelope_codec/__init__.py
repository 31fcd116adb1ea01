"""Envelope encryption for Temporal payloads, with master keys that never leave your KMS."""

from envelope_codec.codec import EnvelopeCodec
from envelope_codec.config import EnvelopeConfig, NamespaceKeys
from envelope_codec.errors import (
    ConfigurationError,
    ContextMismatch,
    EncryptionRequired,
    EnvelopeError,
    InvalidCiphertext,
    KeyDenied,
    KeyNotConfigured,
    KmsUnavailable,
    MalformedEnvelope,
)
from envelope_codec.keyring import Keyring
from envelope_codec.kms import MasterKey, WrappedSecret
from envelope_codec.observe import Event, Observer
from envelope_codec.plugin import EnvelopePlugin, envelope_data_converter

__version__ = "0.1.0"

# fmt: off
__all__ = [
    "ConfigurationError", "ContextMismatch", "EncryptionRequired", "EnvelopeCodec", "EnvelopeConfig", "EnvelopeError",
    "EnvelopePlugin", "Event", "InvalidCiphertext", "KeyDenied", "KeyNotConfigured", "Keyring", "KmsUnavailable",
    "MalformedEnvelope", "MasterKey", "NamespaceKeys", "Observer", "WrappedSecret", "envelope_data_converter",
]
