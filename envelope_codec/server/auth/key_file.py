"""The file that an issuer's keys are in, if they are not on the web."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from cryptography.x509 import load_pem_x509_certificate
from jwt.exceptions import PyJWKSetError

from envelope_codec.errors import ConfigurationError
from envelope_codec.server.auth.issuer import Issuer
from envelope_codec.server.auth.remote_keys import RemoteKeys
from envelope_codec.server.auth.verification_keys import Jwks, SingleKey, VerificationKeys

_SHORTEST_SECRET = 32  # bytes
_KEY_CLASSES = (RSAPublicKey, EllipticCurvePublicKey, Ed25519PublicKey)


def load_keys(issuer: Issuer) -> VerificationKeys:
    """Return the keys of ``issuer``. Those of a file are loaded now, those on the web when they are needed.

    Raises:
        ConfigurationError: their file can't be read, or holds none.
    """
    if issuer.jwks_url is not None:
        return RemoteKeys(issuer.jwks_url)
    if issuer.secret_file is not None:
        return SingleKey(_parse_secret(_read(issuer.secret_file), issuer.secret_file))
    path = issuer.key_file or ""
    data = _read(path)
    if data.lstrip().startswith(b"{"):
        return _parse_jwks(data, path)
    return SingleKey(_parse_public_key(data, path))


def load_client_secret(path: str) -> str:
    """Return the secret of this server as a client of an issuer. Raises `ConfigurationError` if there is none."""
    try:
        secret = _read(path).decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        secret = ""
    if not secret or not secret.isprintable():
        raise ConfigurationError(f"server.auth: {path!r} holds no secret in one line of text")
    return secret


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ConfigurationError(f"server.auth: can't read {path!r}: {error.strerror}") from None


def _parse_secret(data: bytes, path: str) -> bytes:
    secret = data.removesuffix(b"\n").removesuffix(b"\r")
    if len(secret) < _SHORTEST_SECRET or secret.lstrip().startswith((b"-----BEGIN", b"{")):
        raise ConfigurationError(f"server.auth: {path!r} holds no secret of {_SHORTEST_SECRET} bytes or more")
    return secret


def _parse_jwks(data: bytes, path: str) -> Jwks:
    try:
        return Jwks.parse(json.loads(data))
    except (ValueError, RecursionError, PyJWKSetError) as error:
        raise ConfigurationError(f"server.auth: {path!r} is no JWKS with public keys: {error}") from None


def _parse_public_key(data: bytes, path: str) -> Any:
    try:
        if b"-----BEGIN CERTIFICATE-----" in data:
            key: Any = load_pem_x509_certificate(data).public_key()
        else:
            key = load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm):
        raise ConfigurationError(
            f"server.auth: {path!r} holds no JWKS, and no public key or certificate in PEM"
        ) from None
    if not isinstance(key, _KEY_CLASSES):
        raise ConfigurationError(f"server.auth: {path!r} holds a key of a kind that signs no tokens")
    return key
