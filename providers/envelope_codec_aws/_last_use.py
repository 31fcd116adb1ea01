"""When AWS KMS last used a key, as it tells it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from envelope_codec.kms import LastUse

if TYPE_CHECKING:
    from mypy_boto3_kms.client import KMSClient


def ask_last_usage(kms: KMSClient, key_id: str) -> Mapping[str, Any] | None:
    """Ask AWS. None with a botocore that does not know the call."""
    ask: Any = getattr(kms, "get_key_last_usage", None)
    reply: Mapping[str, Any] | None = ask(KeyId=key_id) if ask is not None else None
    return reply


def read_last_use(reply: Mapping[str, Any]) -> LastUse:
    """Read the reply."""
    usage = reply.get("KeyLastUsage") or {}
    return LastUse(
        _seconds(usage.get("Timestamp")),
        str(usage.get("Operation", "")),
        str(usage.get("CloudTrailEventId", "")),
        _seconds(reply.get("TrackingStartDate")),
    )


def _seconds(moment: Any) -> float | None:
    return moment.timestamp() if isinstance(moment, datetime) else None
