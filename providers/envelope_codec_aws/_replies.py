"""Parts of replies of AWS KMS that not every version of boto3, and not every server, has."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_MATERIAL = re.compile(r"[0-9a-f]{64}")  # https://docs.aws.amazon.com/kms/latest/APIReference/API_Decrypt.html


def material_in(reply: Mapping[str, Any], name: str) -> str:
    """Return the id of key material that AWS tells under ``name``, or "". The reply to Encrypt has none as yet."""
    told = reply.get(name)
    return told if isinstance(told, str) and _MATERIAL.fullmatch(told) else ""
