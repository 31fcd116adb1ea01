"""Master keys in AWS KMS: a key ARN, an alias ARN, or ``awskms:///ARN?option=value``."""

from __future__ import annotations

from envelope_codec_aws._master_key import AwsKms

__all__ = ["AwsKms"]
