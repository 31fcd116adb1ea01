"""The keystore that a configuration names, for commands."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from types import MappingProxyType

from envelope_codec.cli.store_hint import store_hint
from envelope_codec.config import EnvelopeConfig
from envelope_codec.errors import ConfigurationError, EnvelopeError
from envelope_codec.keystore import KeystoreUrl
from envelope_codec.keystore_client import KeystoreClient

_SECONDS = 30.0

_PERMISSIONS: Mapping[str, str] = MappingProxyType(
    {
        "s3": "s3:PutObject, s3:GetObject and s3:ListBucket",
        **dict.fromkeys(("postgresql", "sqlite", "mysql", "mariadb"), "SELECT, INSERT and UPDATE"),
        **dict.fromkeys(("redis", "rediss"), "GET, SCAN and scripts (EVALSHA, EVAL)"),
        "mongodb": "find, insert and update",
        "file": "read and write",
    }
)


def keystore_url(config: EnvelopeConfig) -> KeystoreUrl:
    """Return the URL of the configured keystore.

    Raises:
        ConfigurationError: none is configured.
    """
    if not isinstance(config.keystore, str):
        raise ConfigurationError("keystore: not set")
    return KeystoreUrl(config.keystore)


@asynccontextmanager
async def open_keystore(url: KeystoreUrl) -> AsyncIterator[KeystoreClient]:
    """Open the keystore, limit the time of each of its calls, and close it afterwards."""
    client = KeystoreClient(url, seconds=_SECONDS)
    try:
        yield client
    finally:
        await client.aclose()


def keystore_hint(url: KeystoreUrl, error: EnvelopeError) -> str:
    """Say what to do about ``error``, which the keystore raised. Empty for an error that says so itself."""
    if isinstance(error, ConfigurationError):
        return ""
    hint = store_hint(url.scheme, error, writes=False, permission=_PERMISSIONS.get(url.scheme))
    return hint.replace("envelope-codec storage ddl", "envelope-codec keystore ddl")
