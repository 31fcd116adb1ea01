"""Master keys in AWS KMS: a key ARN, an alias ARN, or ``awskms:///ARN?option=value``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from envelope_codec_aws._master_key import AwsKms

__all__ = ["AwsKms"]


def __getattr__(name: str) -> Any:
    """Load the SDK only when the class is asked for: the facts of this package are read without it."""
    if name == "AwsKms":
        from envelope_codec_aws._master_key import AwsKms

        return AwsKms
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
