"""Keys in files: a JWKS, a public key, a certificate, a secret; and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from envelope_codec import ConfigurationError
from envelope_codec.server.auth.issuer import Issuer
from envelope_codec.server.auth.key_file import load_keys
from envelope_codec.server.auth.remote_keys import RemoteKeys
from tests.support.certificates import write_certificate
from tests.support.token_issuer import Key, private_pem


def issuer(**settings: Any) -> Issuer:
    return Issuer(issuer="i", audience=("a",), **settings)


async def test_each_form_is_loaded(tmp_path: Path) -> None:
    file, key = tmp_path / "keys", Key("first")
    file.write_text(json.dumps({"keys": [key.jwk]}))
    keys = load_keys(issuer(key_file=str(file)))
    assert await keys.find("first") is not None
    assert await keys.find("second") is None
    file.write_bytes(key.public_pem)
    assert await load_keys(issuer(key_file=str(file))).find("any") is not None
    write_certificate(file, tmp_path / "private")
    assert await load_keys(issuer(key_file=str(file))).find(None) is not None
    file.write_bytes(b"x" * 32 + b"\r\n")
    assert await load_keys(issuer(secret_file=str(file))).find(None) == b"x" * 32
    assert isinstance(load_keys(issuer(jwks_url="https://login.example.com/")), RemoteKeys)


def test_what_is_no_key_is_named(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    with pytest.raises(ConfigurationError, match=r"server\.auth: can't read .*keys"):
        load_keys(issuer(key_file=str(file)))
    for text in (b"x" * 31, b"-----BEGIN PUBLIC KEY-----" + b"x" * 32, b'{"k": "' + b"x" * 32):
        file.write_bytes(text)
        with pytest.raises(ConfigurationError, match="holds no secret of 32 bytes"):
            load_keys(issuer(secret_file=str(file)))
    for text, said in ((b"{}", "is no JWKS"), (b"{", "is no JWKS"), (b"text", "holds no JWKS, and no public key")):
        file.write_bytes(text)
        with pytest.raises(ConfigurationError, match=said):
            load_keys(issuer(key_file=str(file)))
    file.write_bytes(private_pem(Key("first")))
    with pytest.raises(ConfigurationError, match="holds no JWKS, and no public key"):
        load_keys(issuer(key_file=str(file)))
