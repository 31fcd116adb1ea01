"""The forms that Transit sends and takes: base64, replies, and ciphertexts like ``vault:vN:BASE64``."""

from __future__ import annotations

import base64
import re
from typing import Any

import requests

from envelope_codec.provider import Failed, meanings
from envelope_codec_vault._hints import NOT_TRANSIT

_CIPHERTEXT = re.compile(r"vault:v([1-9][0-9]*):([0-9A-Za-z+/]+={0,2})")


def encode(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def decode(text: str) -> bytes | None:
    """Decode canonical base64; None if it is something else."""
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:
        return None
    return data if encode(data) == text else None


def read_version(ciphertext: str) -> str | None:
    """Read the key version that a ciphertext names; None if it is not spelled just as Transit spells it.

    Vault reads more than it writes (leading zeros, stray bits at the end of the base64), so that several texts would
    open to one secret.
    """
    match = _CIPHERTEXT.fullmatch(ciphertext)
    return match[1] if match is not None and decode(match[2]) is not None else None


def get_text(reply: Any, name: str) -> str:
    """Get a text from the data of a reply, which hvac gives as a dict, or as a response if it has no JSON.

    Raises:
        Failed: it has none.
    """
    if isinstance(reply, requests.Response) and reply.status_code == requests.codes.no_content:
        # A key-value engine stores what it is sent at any path below it, and says nothing. What it got is a fresh
        # secret, which nothing will ever be sealed with.
        raise Failed(NOT_TRANSIT)
    data = reply.get("data") if isinstance(reply, dict) else None
    value = data.get(name) if isinstance(data, dict) else None
    if not isinstance(value, str):
        raise Failed(meanings.NO_ANSWER)
    return value
