"""An issuer of tokens: a JWKS on loopback whose keys can be changed, and what it signs with them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key as generate_rsa_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from tests.support.jwks_listener import Answer, listening

AUDIENCE = "codec"


class Key:
    """A key pair and its id."""

    def __init__(self, kid: str, algorithm: str = "ES256") -> None:
        self.kid = kid
        self.algorithm = algorithm
        self.private = _private(kid, algorithm)

    @property
    def jwk(self) -> dict[str, Any]:
        """The public key, as a JWKS holds it."""
        found = jwt.get_algorithm_by_name(self.algorithm).to_jwk(self.private.public_key(), as_dict=True)
        return {**found, "kid": self.kid, "use": "sig", "alg": self.algorithm}

    @property
    def public_pem(self) -> bytes:
        """The public key, as it may be known to everyone."""
        pem: bytes = self.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        return pem


class Issuer:
    """An issuer.

    Attributes:
        name: its ``iss``.
        jwks_url: where its keys are.
        keys: that its JWKS holds.
        fetches: how often the JWKS was asked for.
        down: while True, it answers with an error.
    """

    def __init__(self, name: str = "https://login.example.com/") -> None:
        self.name = name
        self.keys = [Key("first")]
        self.fetches = 0
        self.down = False
        self.jwks_url = ""

    def token(self, key: Key | None = None, headers: dict[str, Any] | None = None, **claims: Any) -> str:
        """A token of ``ada``, for the codec and some minutes unless ``claims`` say otherwise; None leaves one out."""
        key = key or self.keys[-1]
        given = {"kid": key.kid, **(headers or {})}
        told = {name: value for name, value in given.items() if value is not None}
        return jwt.encode(self.claims(**claims), key.private, key.algorithm, told)

    def claims(self, **changes: Any) -> dict[str, Any]:
        """What a token says."""
        now = int(time.time())
        said = {"iss": self.name, "aud": AUDIENCE, "sub": "ada", "iat": now, "exp": now + 600, **changes}
        return {name: value for name, value in said.items() if value is not None}

    def bearer(self, **claims: Any) -> dict[str, str]:
        """A header with such a token."""
        return {"Authorization": f"Bearer {self.token(**claims)}"}

    @property
    def settings(self) -> dict[str, Any]:
        """The codec server's settings for it."""
        return {"issuer": self.name, "audience": AUDIENCE, "jwks_url": self.jwks_url}


@contextmanager
def issuing(name: str = "https://login.example.com/") -> Iterator[Issuer]:
    """An issuer whose JWKS is served until the end."""
    issuer = Issuer(name)

    def answer() -> Answer:
        issuer.fetches += 1
        body = json.dumps({"keys": [key.jwk for key in issuer.keys]}).encode()
        headers = {"Content-Type": "application/json", "Content-Length": str(len(body))}
        return Answer(503 if issuer.down else 200, body, headers)

    with listening(answer) as listener:
        issuer.jwks_url = listener.url
        yield issuer


@lru_cache(maxsize=64)
def _private(kid: str, algorithm: str) -> Any:
    if algorithm.startswith("ES"):
        return generate_private_key(SECP256R1())
    return Ed25519PrivateKey.generate() if algorithm == "EdDSA" else generate_rsa_key(65_537, 2_048)


def private_pem(key: Key) -> bytes:
    """The private key, in PEM."""
    pem: bytes = key.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return pem
