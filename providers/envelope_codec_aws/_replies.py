"""Parts of replies of AWS KMS that not every version of boto3, and not every server, has."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from envelope_codec.kms import LastUse

if TYPE_CHECKING:
    from mypy_boto3_kms.client import KMSClient

_MATERIAL = re.compile(r"[0-9a-f]{64}")  # https://docs.aws.amazon.com/kms/latest/APIReference/API_Decrypt.html


def material_in(reply: Mapping[str, Any], name: str) -> str:
    """Return the id of key material that AWS tells under ``name``, or "". The reply to Encrypt has none as yet."""
    told = reply.get(name)
    return told if isinstance(told, str) and _MATERIAL.fullmatch(told) else ""


def ask_last_usage(kms: KMSClient, key_id: str) -> Mapping[str, Any] | None:
    """Ask when ``key_id`` was used last. None with a botocore that does not know the call."""
    ask: Any = getattr(kms, "get_key_last_usage", None)
    reply: Mapping[str, Any] | None = ask(KeyId=key_id) if ask is not None else None
    return reply


def last_use_in(reply: Mapping[str, Any]) -> LastUse:
    """Return what the reply to `ask_last_usage` says."""
    usage = reply.get("KeyLastUsage") or {}
    return LastUse(
        _seconds(usage.get("Timestamp")),
        str(usage.get("Operation", "")),
        str(usage.get("CloudTrailEventId", "")),
        _seconds(reply.get("TrackingStartDate")),
    )


def _seconds(moment: Any) -> float | None:
    return moment.timestamp() if isinstance(moment, datetime) else None
