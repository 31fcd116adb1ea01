"""The keystore that a configuration names, for commands."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from envelope_codec.cli.keystore_hint import keystore_hint
from envelope_codec.config import EnvelopeConfig
from envelope_codec.errors import ConfigurationError, EnvelopeError
from envelope_codec.keystore import KeystoreUrl
from envelope_codec.keystore_client import KeystoreClient
from envelope_codec.keystore_role import Role

_SECONDS = 30.0


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


def explain(url: KeystoreUrl, error: EnvelopeError, role: Role = Role.rewrap) -> str:
    """Say what ``error`` is, which the keystore raised, and what to do so that it serves ``role``."""
    return f"the keystore: {error}. To do: {keystore_hint(url.scheme, error, role)}"
